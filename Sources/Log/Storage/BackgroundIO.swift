/// How background work moves large files to and from the medium: past the cache of pages and in small pieces, one at a time.
/// Whatever it has in the disk's queue, the writer's next sync waits behind.
enum BackgroundIO {
    /// A transfer of this many bytes takes about as long as a sync of one group.
    static let piece = 256 << 10

    /// Fills the buffer from the start of `file`, which was opened `.readUncached`, and returns how many bytes there were.
    static func read(_ file: any StorageFile, into buffer: UnsafeMutableRawBufferPointer) throws(LogError) -> Int {
        var done = 0
        while done < buffer.count {
            let room = UnsafeMutableRawBufferPointer(rebasing: buffer[done...].prefix(piece))
            let count = try file.read(into: room, at: done)
            done += count
            if count < room.count { break }
        }
        return done
    }

    /// Writes bytes that lie anywhere to a file that was opened `.createUncached`. Their number and `offset` are multiples
    /// of 4096.
    static func write(
        _ bytes: UnsafeRawBufferPointer,
        to file: any StorageFile,
        at offset: Int,
        through memory: ReusedBuffer
    ) throws(LogError) {
        var done = 0
        while done < bytes.count {
            let part = UnsafeRawBufferPointer(rebasing: bytes[done...].prefix(piece))
            let aligned = memory.reserve(part.count)
            aligned.copyMemory(from: part)
            try file.write(UnsafeRawBufferPointer(aligned), at: offset + done)
            done += part.count
        }
    }
}
