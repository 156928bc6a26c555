/// Reads a file that `SealedFileWriter` wrote, any chunk at any time, from any thread.
///
/// Nothing of the file is believed before it is opened under its key. The last chunk is opened at once, which proves the
/// length: so a file that was cut is refused before anyone is told how long it is. The key stays in memory, and an open file
/// stays readable, until the reader goes; who destroys keys has to see to it that readers of theirs go too.
package final class SealedFileReader: Sendable {
    /// Length of the plaintext.
    package let bytes: UInt64
    /// At least 1: a file of nothing has one empty chunk.
    package var chunkCount: Int { shape.chunkCount }

    private let path: String
    private let file: any StorageFile
    private let header: Digest
    private let key: LockedKeys
    private let shape: SealedFileShape

    /// Opens the file of a message and looks for its key.
    ///
    /// - Parameter message: position of the message's record. The file of another one is refused.
    /// - Parameter index: which of the message's files it must be.
    /// - Parameter key: gives the key of a reference, or nil when it was destroyed. The reference is what the file says, and
    ///   nobody has proven it yet. What this throws comes through as it is.
    /// - Throws: `keyDestroyed` when `key` gives nil, which means that the message was purged; `corrupt` for any damage, and
    ///   for a file that belongs elsewhere; `unknownFormat`; `inputOutput`, with `ENOENT` when there is no such file.
    package init(
        _ path: String,
        storage: any Storage,
        message: LogPosition,
        index: UInt32,
        key: (KeyReference) throws -> LeafKey?
    ) throws {
        defer { Crypto.eraseStack() }
        let file = try storage.open(path, .read)
        let header = try SealedFileReader.readHeader(file, path)
        guard header.message == message, header.index == index else {
            throw SealedFileFormat.damaged(path, "is file \(header.index) of position \(header.message)")
        }
        let size = try file.size
        guard let shape = SealedFileShape(fileBytes: size) else {
            throw SealedFileFormat.damaged(path, "has \(size) bytes, which no whole file has")
        }
        guard let leaf = try key(header.reference) else {
            throw LogError(.keyDestroyed, "the key of \(path) was destroyed by a purge")
        }
        guard leaf.commitment == header.commitment else {
            throw SealedFileFormat.damaged(path, "does not commit to its key")
        }
        self.path = path
        self.file = file
        self.header = header.digest
        self.key = header.key(leaf)
        self.shape = shape
        bytes = UInt64(shape.bytes)
        _ = try chunk(shape.chunkCount - 1)
    }

    private static func readHeader(_ file: any StorageFile, _ path: String) throws(LogError) -> SealedFileHeader {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: SealedFileHeader.size, alignment: 16)
        defer { memory.deallocate() }
        let count = try file.read(into: memory, at: 0)
        return try SealedFileHeader(UnsafeRawBufferPointer(rebasing: memory[..<count]), path: path)
    }

    /// The plaintext of one chunk, from 0: 65,536 bytes, of the last one what is left.
    ///
    /// - Throws: `corrupt` when a bit of it has changed or it does not belong here; `inputOutput` when it cannot be read.
    package func chunk(_ number: Int) throws(LogError) -> [UInt8] {
        precondition(number >= 0 && number < chunkCount)
        let place = shape.box(number)
        let box = UnsafeMutableRawBufferPointer.allocate(byteCount: place.count, alignment: 16)
        defer { box.deallocate() }
        let count = try file.read(into: box, at: place.lowerBound)
        guard count == box.count, let plaintext = open(UnsafeRawBufferPointer(box), number) else {
            throw SealedFileFormat.damaged(path, "is damaged in chunk \(number) of \(chunkCount)")
        }
        return plaintext
    }

    private func open(_ box: UnsafeRawBufferPointer, _ number: Int) -> [UInt8]? {
        defer { Crypto.eraseStack() }
        return withUnsafeBytes(of: key[0]) { key in
            SealedFileFormat.withAuthenticated(header, chunk: number, isLast: number == chunkCount - 1) {
                AEAD.open(box, key: key, authenticated: $0)
            }
        }
    }
}
