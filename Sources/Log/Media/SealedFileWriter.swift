import Glibc

/// Streams one file of a message into sealed chunks (`SealedFileFormat`). Not Sendable: whoever owns it calls it from one
/// place at a time.
///
/// Nothing of the file is there under its own name before `finish` returns, and all of it afterwards, also after a crash. Until
/// then it lies under the name it was created with, and a crash leaves any part of it there. Its bytes are never on the disk in
/// clear. Memory stays the same however long the file is: one chunk in clear and one sealed, the first of which is overwritten
/// when the writer is finished, discarded, has failed, or goes.
///
/// A write or sync that failed is never repeated: from then on everything throws that first error, and only `discard` is of use.
package final class SealedFileWriter {
    /// Plaintext of each chunk but the last.
    package static let chunkBytes = 65_536

    /// What was appended so far, in bytes.
    package private(set) var plaintextBytes: UInt64 = 0

    private let storage: any Storage
    private let path: String
    /// What `discard` has to remove; nil when there is nothing, or all of it is wanted.
    private var leftover: String?
    /// Nil as soon as nothing may follow; with it the descriptor, the key and the plaintext go.
    private var sealer: ChunkSealer?
    /// Why nothing may follow.
    private var failure = LogError(.closed, "this file was finished or discarded already; begin another one")

    /// Creates the file, readable by its owner only, in a directory that exists. One that a crash left under this name is
    /// removed first.
    ///
    /// What the kernel sees: create, write of the header. Where the write fails, the file is removed.
    ///
    /// - Parameter message: position of the message's record.
    /// - Parameter index: which of the message's files this is, from 0.
    package init(
        _ path: String,
        storage: any Storage,
        reference: KeyReference,
        leaf: LeafKey,
        message: LogPosition,
        index: UInt32
    ) throws(LogError) {
        defer { Crypto.eraseStack() }
        self.storage = storage
        self.path = path
        let header = SealedFileHeader(reference: reference, leaf: leaf, message: message, index: index)
        let file = try SealedFileWriter.create(path, storage)
        do throws(LogError) {
            sealer = try ChunkSealer(file, header, leaf)
        } catch {
            try? storage.remove(path)
            throw error
        }
        leftover = path
    }

    private static func create(_ path: String, _ storage: any Storage) throws(LogError) -> any StorageFile {
        do throws(LogError) {
            return try storage.open(path, .create)
        } catch {
            guard error.errno == EEXIST else { throw error }
        }
        try storage.remove(path)
        return try storage.open(path, .create)
    }

    /// Adds any number of bytes. Each chunk that is full is written as soon as more follows; nothing is synced.
    package func append(_ bytes: UnsafeRawBufferPointer) throws(LogError) {
        let sealer = try running()
        do throws(LogError) {
            try sealer.append(bytes)
        } catch {
            throw end(with: error)
        }
        plaintextBytes += UInt64(bytes.count)
    }

    /// Seals the rest and gives the file its name, in the same directory, in place of any file that has it.
    ///
    /// What the kernel sees: write, fdatasync, rename, fsync of the directory.
    ///
    /// - Returns: Length of the plaintext, and SHA-256 of the whole file as stored, header and boxes.
    package func finish(as target: String) throws(LogError) -> (bytes: UInt64, digest: Digest) {
        let sealer = try running()
        do throws(LogError) {
            let digest = try sealer.finish()
            try storage.rename(path, to: target)
            leftover = target
            try storage.syncDirectory(storage.parent(of: target))
            leftover = nil
            self.sealer = nil
            return (plaintextBytes, digest)
        } catch {
            throw end(with: error)
        }
    }

    /// Closes the file and removes it, also one that `finish` named and could not make durable. Does nothing to a file that
    /// is finished. What cannot be removed is left to the next start, which removes it.
    package func discard() {
        sealer = nil
        guard let leftover else { return }
        self.leftover = nil
        try? storage.remove(leftover)
    }

    private func running() throws(LogError) -> ChunkSealer {
        guard let sealer else { throw failure }
        return sealer
    }

    private func end(with error: LogError) -> LogError {
        sealer = nil
        failure = error
        return error
    }
}

/// Descriptor, key and memory of a file that is being written. When it goes, nothing is left of key and plaintext.
private final class ChunkSealer {
    private let file: any StorageFile
    private let header: Digest
    private let key: LockedKeys
    /// The chunk that is being filled. It stays until more follows, for only then it is known not to be the last.
    private let plaintext = UnsafeMutableRawBufferPointer.allocate(
        byteCount: SealedFileWriter.chunkBytes,
        alignment: 16
    )
    private let box = UnsafeMutableRawBufferPointer.allocate(byteCount: SealedFileFormat.boxBytes, alignment: 16)
    private var filled = 0
    private var chunks = 0
    private var offset = 0
    private var stored = SHA256Stream()

    /// Writes the header.
    init(_ file: any StorageFile, _ header: SealedFileHeader, _ leaf: LeafKey) throws(LogError) {
        self.file = file
        self.header = header.digest
        key = header.key(leaf)
        header.encode(into: UnsafeMutableRawBufferPointer(rebasing: box[..<SealedFileHeader.size]))
        try write(SealedFileHeader.size)
    }

    deinit {
        Crypto.erase(plaintext)
        plaintext.deallocate()
        box.deallocate()
    }

    func append(_ bytes: UnsafeRawBufferPointer) throws(LogError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            if filled == plaintext.count { try seal(isLast: false) }
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(plaintext.count - filled))
            UnsafeMutableRawBufferPointer(rebasing: plaintext[filled...]).copyMemory(from: part)
            filled += part.count
            rest = rest.dropFirst(part.count)
        }
    }

    /// Seals and syncs; returns the digest of the whole file.
    func finish() throws(LogError) -> Digest {
        try seal(isLast: true)
        try file.sync()
        var whole = SHA256Stream()
        swap(&whole, &stored)
        return whole.finish()
    }

    private func seal(isLast: Bool) throws(LogError) {
        defer { Crypto.eraseStack() }
        let chunk = UnsafeRawBufferPointer(rebasing: plaintext[..<filled])
        withUnsafeBytes(of: key[0]) { key in
            SealedFileFormat.withAuthenticated(header, chunk: chunks, isLast: isLast) { authenticated in
                BoxSealer().seal(chunk, key: key, authenticated: authenticated, into: box)
            }
        }
        try write(filled + AEAD.overhead)
        chunks += 1
        filled = 0
    }

    /// Adds the first `count` bytes of `box` to the file.
    private func write(_ count: Int) throws(LogError) {
        let bytes = UnsafeRawBufferPointer(rebasing: box[..<count])
        try file.write(bytes, at: offset)
        stored.update(bytes)
        offset += count
    }
}
