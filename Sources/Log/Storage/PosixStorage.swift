import CWaybill
import Glibc

/// The real disk.
package struct PosixStorage: Storage {
    package init() {}

    package func makeDirectory(_ path: String) throws(LogError) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw refusal("create directory", path) }
    }

    /// The number of the user whom a file or directory belongs to; nil where there is none, or it cannot be asked.
    package func owner(of path: String) -> UInt32? {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_uid : nil
    }

    package func freeBytes(_ directory: String) -> UInt64? {
        var status = statvfs()
        guard statvfs(directory, &status) == 0 else { return nil }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }

    package func list(_ directory: String) throws(LogError) -> [String] {
        guard let handle = opendir(directory) else { throw refusal("list", directory) }
        defer { closedir(handle) }
        var names: [String] = []
        while true {
            // The end and an error look alike but for errno, and a list that is too short would cost segments.
            errno = 0
            guard let entry = readdir(handle) else {
                if errno != 0 { throw failure("list", directory) }
                return names
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }

    package func open(_ path: String, _ mode: StorageMode) throws(LogError) -> any StorageFile {
        let flags =
            switch mode {
            case .read: O_RDONLY | O_CLOEXEC
            case .readUncached: O_RDONLY | O_CLOEXEC | waybill_direct
            case .readWrite: O_RDWR | O_CLOEXEC
            case .create: O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
            case .createUncached: O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | waybill_direct
            }
        let descriptor = waybill_open(path, flags, 0o600)
        // A file system in memory has nothing but its cache. It may have made the file before it said so.
        if descriptor < 0, errno == EINVAL, mode == .readUncached { return try open(path, .read) }
        if descriptor < 0, errno == EINVAL, mode == .createUncached {
            unlink(path)
            return try open(path, .create)
        }
        guard descriptor >= 0 else { throw refusal("open", path) }
        return PosixFile(descriptor: descriptor, path: path)
    }

    package func rename(_ source: String, to target: String) throws(LogError) {
        guard Glibc.rename(source, target) == 0 else { throw refusal("rename", source) }
    }

    package func renameNew(_ source: String, to target: String) throws(LogError) {
        guard waybill_rename_new(source, target) == 0 else { throw refusal("give its name to", source) }
    }

    package func remove(_ path: String) throws(LogError) {
        guard Glibc.remove(path) == 0 else { throw refusal("remove", path) }
    }

    package func syncDirectory(_ directory: String) throws(LogError) {
        try openDirectory(directory).sync()
    }

    package func openDirectory(_ directory: String) throws(LogError) -> any StorageDirectory {
        let descriptor = waybill_open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw refusal("open", directory) }
        return PosixDirectory(descriptor: descriptor, path: directory)
    }
}

/// The error for a call that has just failed on this thread and that changes all or nothing.
private func refusal(_ operation: String, _ path: String) -> LogError {
    let number = errno
    return LogError(before: operation, "\(path): \(String(cString: strerror(number)))", errno: number)
}

private final class PosixDirectory: StorageDirectory {
    private let descriptor: Int32
    private let path: String

    init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    func sync() throws(LogError) {
        guard fsync(descriptor) == 0 else { throw failure("sync directory", path) }
    }
}

/// Builds the error for the system call that has just failed on this thread.
private func failure(_ operation: String, _ path: String) -> LogError {
    let number = errno
    let reason = String(cString: strerror(number))
    let code: LogError.Code = number == ENOSPC || number == EDQUOT ? .diskFull : .inputOutput
    return LogError(code, "could not \(operation) \(path): \(reason)", errno: number)
}

private final class PosixFile: StorageFile {
    private let descriptor: Int32
    private let path: String

    init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    var size: Int {
        get throws(LogError) {
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { throw failure("inspect", path) }
            return Int(status.st_size)
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(LogError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = pread(
                descriptor,
                buffer.baseAddress.map { $0 + done },
                buffer.count - done,
                off_t(offset + done)
            )
            if count == 0 { break }
            guard count > 0 || errno == EINTR || usesCacheFromNow() else { throw failure("read", path) }
            done += max(count, 0)
            // The end of a file whose size is odd; asking further from there would be an error without the cache.
            if done % Block.size != 0, count > 0, done < buffer.count, try offset + done >= size { break }
        }
        return done
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(LogError) {
        var done = 0
        while done < bytes.count {
            let count = pwrite(
                descriptor,
                bytes.baseAddress.map { $0 + done },
                bytes.count - done,
                off_t(offset + done)
            )
            guard count > 0 || (count < 0 && (errno == EINTR || usesCacheFromNow())) else {
                throw failure("write", path)
            }
            done += max(count, 0)
        }
    }

    /// Gives up going past the cache where the file system knows how but not with pages of 4096 bytes, which it says by
    /// EINVAL. False when that is not what the call failed for; errno is then as it was.
    private func usesCacheFromNow() -> Bool {
        guard errno == EINVAL else { return false }
        defer { errno = EINVAL }
        return waybill_use_cache(descriptor) == 1
    }

    func sync() throws(LogError) {
        guard fdatasync(descriptor) == 0 else { throw failure("sync", path) }
    }

    var isLinked: Bool {
        var status = stat()
        return fstat(descriptor, &status) != 0 || status.st_nlink > 0
    }

    func releaseCache() { posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) }

    func truncate(to size: Int) throws(LogError) {
        guard ftruncate(descriptor, off_t(size)) == 0 else { throw failure("truncate", path) }
    }

    func map(length: Int) throws(LogError) -> MappedRegion {
        let base = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor, 0)
        guard let base, base != MAP_FAILED else { throw refusal("map", path) }
        let slot = watch(base, length)
        return MappedRegion(base, count: length) { base, count in
            waybill_forget_map(slot)
            munmap(base, count)
        }
    }

    /// So that a medium error, which in a map is a signal, has a name all the same.
    private func watch(_ base: UnsafeMutableRawPointer, _ length: Int) -> Int32 {
        guard let name = path.split(separator: "/").last, let segment = LogPath.segmentNumber(String(name)) else {
            return -1
        }
        return waybill_watch_map(base, length, segment.number, segment.isSealed ? 1 : 0)
    }
}
