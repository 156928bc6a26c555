/// The system calls the log needs, as a seam: the real disk stands behind it, or a simulated one that can fail.
///
/// Every method may be called from any thread. Paths are absolute or relative to the working directory.
package protocol Storage: Sendable {
    func makeDirectory(_ path: String) throws(LogError)
    /// Names in a directory, in no particular order, without `.` and `..`.
    func list(_ directory: String) throws(LogError) -> [String]
    func open(_ path: String, _ mode: StorageMode) throws(LogError) -> any StorageFile
    func rename(_ source: String, to target: String) throws(LogError)
    /// As `rename`, but fails when `target` exists: whatever went wrong before, no segment is ever replaced.
    func renameNew(_ source: String, to target: String) throws(LogError)
    /// Removes a file, or a directory that is empty.
    func remove(_ path: String) throws(LogError)
    /// What the file system of a directory has left for this process, in bytes; nil where nobody knows.
    func freeBytes(_ directory: String) -> UInt64?
    /// Makes creations, renames and removals in `directory` durable.
    func syncDirectory(_ directory: String) throws(LogError)
    /// The same at a later time, for which nothing has to be opened any more.
    func openDirectory(_ directory: String) throws(LogError) -> any StorageDirectory
}

/// One open directory.
package protocol StorageDirectory: AnyObject, Sendable {
    /// Makes creations, renames and removals in it durable.
    func sync() throws(LogError)
}

package enum StorageMode: Sendable {
    case read
    /// As `read`, but from the medium and not from the cache of pages, where the file system knows how. Reads begin at
    /// multiples of 4096, into memory that is aligned and as large.
    case readUncached
    case readWrite
    /// Creates the file, which must not exist, readable by its owner only.
    case create
    /// As `create`, but written past the cache of pages, where the file system knows how. What is written begins at
    /// multiples of 4096, in memory as on the medium, and is as long.
    case createUncached
}

/// One open file. Closing happens when the last reference goes: no caller has anything to do with a failed close,
/// because nothing is acknowledged without an earlier successful `sync`.
package protocol StorageFile: AnyObject, Sendable {
    var size: Int { get throws(LogError) }
    /// Fills the buffer from `offset` and returns how many bytes there were before the end of the file.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(LogError) -> Int
    /// Writes all bytes or throws.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(LogError)
    /// fdatasync(2): returns when data and size are on the medium.
    func sync() throws(LogError)
    func truncate(to size: Int) throws(LogError)
    /// Lets go of cached pages that are on the medium. A hint: it changes nothing that can be read.
    func releaseCache()
    /// A read-only shared map of the first `length` bytes; later writes through `write` are visible in it.
    func map(length: Int) throws(LogError) -> MappedRegion
    /// Whether some directory still names the file. What is written to it otherwise goes with this process.
    var isLinked: Bool { get }
}

extension Storage {
    package func freeBytes(_ directory: String) -> UInt64? { nil }

    /// Makes the directory if there is none, and its name durable: files synced inside a directory that is lost are lost.
    package func makeDurableDirectory(_ path: String) throws(LogError) {
        try makeDirectory(path)
        try syncDirectory(parent(of: path))
    }

    /// The directory that a path lies in; "." where the path names none.
    func parent(of path: String) -> String {
        var path = path[...]
        while path.count > 1, path.last == "/" { path.removeLast() }
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    package func readAll(_ path: String, limit: Int = 1 << 30) throws(LogError) -> [UInt8] {
        let buffer = ReusedBuffer()
        defer { withExtendedLifetime(buffer) {} }
        return [UInt8](try readAll(path, into: buffer, limit: limit))
    }

    /// The bytes of a whole file, valid until `buffer` is used again or goes; the caller keeps it.
    func readAll(
        _ path: String,
        into buffer: ReusedBuffer,
        limit: Int,
        _ mode: StorageMode = .read
    ) throws(LogError) -> UnsafeRawBufferPointer {
        let file = try open(path, mode)
        let size = try file.size
        guard size <= limit else {
            throw LogError(.inputOutput, "\(path) has \(size) bytes, more than the \(limit) that can be right")
        }
        let memory = buffer.reserve(Block.roundUp(size))
        let count =
            mode == .readUncached ? try BackgroundIO.read(file, into: memory) : try file.read(into: memory, at: 0)
        return UnsafeRawBufferPointer(rebasing: memory[..<min(count, size)])
    }

    /// The bytes of a whole file, in memory of their own.
    func load(_ path: String, limit: Int) throws(LogError) -> MappedRegion {
        let buffer = ReusedBuffer()
        let count = try readAll(path, into: buffer, limit: limit).count
        return buffer.region(count)
    }

    /// Replaces a small file so that a crash leaves the old or the new content, never a mixture.
    ///
    /// What the kernel sees: create temp, write, fdatasync, rename, fsync of the directory.
    package func replaceFile(_ path: String, with bytes: [UInt8]) throws(LogError) {
        let directory = parent(of: path)
        let temporary = path + ".tmp"
        let name = temporary.split(separator: "/").last.map(String.init) ?? temporary
        // Opened first: behind the rename nothing may fail that would succeed a moment later.
        let parent = try openDirectory(directory)
        if try list(directory).contains(name) { try remove(temporary) }
        let file = try open(temporary, .create)
        try file.writeAll(bytes, at: 0)
        try file.sync()
        try rename(temporary, to: path)
        try parent.sync()
    }
}

/// Memory for one file or pack after the other: fresh memory for each segment would cost as much as checking it.
final class ReusedBuffer {
    private var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    deinit { memory.deallocate() }

    /// The first `count` bytes that were reserved, which from here on belong to the region.
    func region(_ count: Int) -> MappedRegion {
        defer { memory = UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        let base = memory.baseAddress ?? .allocate(byteCount: 1, alignment: 4096)
        return MappedRegion(base, count: count) { base, _ in base.deallocate() }
    }

    func reserve(_ count: Int) -> UnsafeMutableRawBufferPointer {
        if count > memory.count {
            memory.deallocate()
            memory = .allocate(byteCount: count, alignment: 4096)
        }
        return UnsafeMutableRawBufferPointer(rebasing: memory[..<count])
    }
}

extension StorageFile {
    package func releaseCache() {}

    package func writeAll(_ bytes: [UInt8], at offset: Int) throws(LogError) {
        var result: Result<Void, LogError> = .success(())
        bytes.withUnsafeBytes { buffer in
            result = Result { () throws(LogError) -> Void in try write(buffer, at: offset) }
        }
        try result.get()
    }
}

/// Bytes of a file mapped into memory, unmapped with the last reference.
package final class MappedRegion: Sendable {
    private let address: UInt
    package let count: Int
    private let release: @Sendable (UnsafeMutableRawPointer, Int) -> Void

    package init(
        _ base: UnsafeMutableRawPointer,
        count: Int,
        release: @escaping @Sendable (UnsafeMutableRawPointer, Int) -> Void
    ) {
        // Kept as a number because pointers are not Sendable; the region itself never moves.
        self.address = UInt(bitPattern: base)
        self.count = count
        self.release = release
    }

    deinit {
        if let base = UnsafeMutableRawPointer(bitPattern: address) { release(base, count) }
    }

    /// Valid as long as the region is referenced.
    package var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: count)
    }
}
