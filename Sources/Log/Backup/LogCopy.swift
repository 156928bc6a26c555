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

    /// Copies one file, durable but for its name, and takes the digest of what was read.
    package static func copy(
        _ source: String,
        to target: String,
        storage: any Storage = PosixStorage()
    ) throws(LogError) -> (size: UInt64, digest: Digest) {
        let output = try storage.open(target, .create)
        let found = try read(source, storage, into: output)
        try output.sync()
        output.releaseCache()
        return found
    }

    /// The size and digest of a file.
    package static func digest(
        of path: String,
        storage: any Storage = PosixStorage()
    ) throws(LogError) -> (size: UInt64, digest: Digest) {
        try read(path, storage, into: nil)
    }

    private static func read(
        _ path: String,
        _ storage: any Storage,
        into output: (any StorageFile)?
    ) throws(LogError) -> (size: UInt64, digest: Digest) {
        let input = try storage.open(path, .read)
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
    package static func isSegment(_ name: String) -> Bool { LogPath.segmentNumber(name) != nil }

    /// Copies every segment before one, each under the name it has by now: a writer may be sealing them.
    ///
    /// - Parameter done: told of each file.
    package static func copySegments(
        of directory: String,
        before number: UInt64,
        to target: String,
        storage: any Storage = PosixStorage(),
        done: (File) -> Void
    ) throws(LogError) {
        let listing = SegmentListing(storage: storage, directory: directory)
        for entry in try listing.load() where entry.header.number < number {
            let file = try listing.withPresentName(entry) { (entry) throws(LogError) -> File in
                let path = target + "/" + entry.header.fileName
                let (size, digest) = try copy(entry.path, to: path, storage: storage)
                return File(name: entry.header.fileName, size: size, digest: digest)
            }
            done(file)
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
        let file = try storage.open(directory + "/" + segment.header.fileName, .create)
        try file.write(UnsafeRawBufferPointer(rebasing: bytes[..<(offset + block.alignedSize)]), at: 0)
        try file.truncate(to: segment.header.size)
        try file.sync()
        return segment.header.number
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
