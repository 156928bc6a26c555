/// Copies of the files of a log.
package enum LogCopy {
    /// A file as it was copied.
    package struct File: Sendable, Equatable {
        package let name: String
        package let size: UInt64
        package let digest: Digest

        package init(name: String, size: UInt64, digest: Digest) {
            self.name = name
            self.size = size
            self.digest = digest
        }
    }

    /// Ends the name of a file that is not whole yet.
    package static let partSuffix = MediaFiles.partSuffix

    /// Copies one file and takes the digest of what was read. The copy has its name once it is whole and on disk.
    package static func copy(
        _ source: String,
        to target: String,
        storage: any Storage = PosixStorage()
    ) throws(LogError) -> (size: UInt64, digest: Digest) {
        try copy(try storage.open(source, .read), source, to: target, storage)
    }

    /// The same of a file that is open.
    ///
    /// - Parameter source: what errors call it.
    static func copy(
        _ input: any StorageFile,
        _ source: String,
        to target: String,
        _ storage: any Storage
    ) throws(LogError) -> (size: UInt64, digest: Digest) {
        try whole(target, storage) { (output) throws(LogError) -> (size: UInt64, digest: Digest) in
            try read(input, source, into: output)
        }
    }

    /// Writes a new file under a name that says that it is not whole, and gives it its own once it is on disk; that name is
    /// durable when the directory is synced. A file that cannot be finished is removed: it must not keep a full disk full.
    static func whole<Value>(
        _ path: String,
        _ storage: any Storage,
        _ write: (any StorageFile) throws(LogError) -> Value
    ) throws(LogError) -> Value {
        let part = path + partSuffix
        let file = try storage.open(part, .create)
        do throws(LogError) {
            let value = try write(file)
            try file.sync()
            file.releaseCache()
            try storage.rename(part, to: path)
            return value
        } catch {
            try? storage.remove(part)
            throw error
        }
    }

    /// The size and digest of a file.
    package static func digest(
        of path: String,
        storage: any Storage = PosixStorage()
    ) throws(LogError) -> (size: UInt64, digest: Digest) {
        try read(try storage.open(path, .read), path, into: nil)
    }

    private static func read(
        _ input: any StorageFile,
        _ path: String,
        into output: (any StorageFile)?
    ) throws(LogError) -> (size: UInt64, digest: Digest) {
        let size = try input.size
        let buffer = ReusedBuffer()
        defer { withExtendedLifetime(buffer) {} }
        let memory = buffer.reserve(1 << 20)
        var stream = SHA256Stream()
        var offset = 0
        while offset < size {
            let count = try input.read(into: memory, at: offset)
            if count == 0 { throw LogError(.inputOutput, "\(path) became shorter while it was read; try again") }
            let bytes = UnsafeRawBufferPointer(rebasing: memory[..<min(count, size - offset)])
            stream.update(bytes)
            try output?.write(bytes, at: offset)
            offset += bytes.count
        }
        return (UInt64(size), stream.finish())
    }

    /// Whether a file of this name is a segment.
    package static func isSegment(_ name: String) -> Bool { segmentNumber(name) != nil }

    /// The number of the segment that a file of this name holds; nil for any other file.
    package static func segmentNumber(_ name: String) -> UInt64? { LogPath.segmentNumber(name)?.number }

    /// Whether a file of this name is to become a segment, and is not part of a log yet.
    package static func isPrepared(_ name: String) -> Bool {
        name.hasPrefix(LogPath.preparedPrefix) && name.hasSuffix(LogPath.temporarySuffix)
    }

    /// Copies every segment before one, each under the name it has by now: a writer may be sealing them.
    ///
    /// - Parameter done: told of each file; what it throws ends the copying.
    package static func copySegments(
        of directory: String,
        before number: UInt64,
        to target: String,
        storage: any Storage = PosixStorage(),
        done: (File) throws(LogError) -> Void
    ) throws(LogError) {
        let listing = SegmentListing(storage: storage, directory: directory)
        for entry in try listing.load() where entry.header.number < number {
            let file = try listing.withPresentName(entry) { (entry) throws(LogError) -> File in
                let path = target + "/" + entry.header.fileName
                let (size, digest) = try copy(entry.path, to: path, storage: storage)
                return File(name: entry.header.fileName, size: size, digest: digest)
            }
            try done(file)
        }
    }
}

extension LogReader {
    /// Writes the newest segment of a copy that ends with `last`, a position where a group ends. Zeros take the place of what
    /// was written behind it.
    ///
    /// - Returns: the number of the segment, or nil when it was sealed in the moment: then a later end is to be taken.
    package func copyNewest(
        through last: LogPosition,
        to directory: String,
        storage: any Storage = PosixStorage()
    ) throws(LogError) -> UInt64? {
        guard let (found, _) = try catalog.segment(holding: last), case .written(let segment) = found else {
            return nil
        }
        defer { withExtendedLifetime(segment) {} }
        let bytes = segment.region.bytes
        guard let offset = segment.blockOffset(of: last),
            let block = Block(bytes, at: offset, nonce: segment.header.nonce)
        else { throw LogError(.corrupt, "the record at position \(last) is damaged; run waybill verify") }
        let header = segment.header
        try LogCopy.whole(directory + "/" + header.fileName, storage) { (file) throws(LogError) -> Void in
            try file.write(UnsafeRawBufferPointer(rebasing: bytes[..<(offset + block.alignedSize)]), at: 0)
            try file.truncate(to: header.size)
        }
        return header.number
    }

    /// The tree of all records up to the end.
    package func tree() throws -> MerkleFrontier {
        var frontier = treeBeforeNewest
        if end.rawValue > frontier.size {
            try scan(from: LogPosition(frontier.size + 1)) { frontier.append(entry: $0.storedDigest) }
        }
        return frontier
    }
}
