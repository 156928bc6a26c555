import CWaybill
import Glibc

/// The locks that keep a data directory to one writing process (guarantee G6): one on the directory itself, which nobody can
/// put another in place of while it is held, and one on the file `lock`, which names the process and which earlier versions
/// take alone.
///
/// Both belong to descriptors, not to the process: another part of the same process cannot drop them by closing its own
/// descriptor, and the kernel drops them when the process dies, however it dies.
package final class DirectoryLock: Sendable {
    package static let fileName = LogPath.lock
    private let directory: String
    private let path: String
    private let folder: Int32
    private let file: Int32
    /// Which directory and which file were locked. Open, they keep their numbers.
    private let folderIdentity: FileIdentity
    private let fileIdentity: FileIdentity

    /// Takes the locks of a data directory.
    ///
    /// - Throws: `locked`, naming the holder's pid; `openToOthers` when the directory is not its owner's alone.
    package init(directory: String) throws(LogError) {
        try PrivateDirectory.claim(directory)
        let folder = waybill_open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard folder >= 0 else { throw DirectoryLock.failure("open", directory) }
        do throws(LogError) {
            try DirectoryLock.lockFolder(folder, directory)
            file = try DirectoryLock.lockFile(directory)
        } catch {
            close(folder)
            throw error
        }
        self.directory = directory
        path = directory + "/" + DirectoryLock.fileName
        self.folder = folder
        folderIdentity = FileIdentity(descriptor: folder)
        fileIdentity = FileIdentity(descriptor: file)
        let text = "\(getpid())\n"
        ftruncate(file, 0)
        _ = text.withCString { pwrite(file, $0, strlen($0), 0) }
    }

    deinit {
        close(file)
        close(folder)
    }

    /// Throws unless the path still leads to the directory that is locked, and `lock` in it to the file that is. Whoever finds
    /// another directory or another file there may write what this process does not see, or not find what it writes.
    func confirm() throws(LogError) {
        if folderIdentity.isElsewhere(directory, follow: true) {
            throw DirectoryLock.lost("the data directory", directory)
        }
        if fileIdentity.isElsewhere(path, follow: false) { throw DirectoryLock.lost("the lock file", path) }
    }

    /// - Parameter what: what was removed or replaced.
    static func lost(_ what: String, _ path: String) -> LogError {
        LogError(
            .directoryLost,
            "\(what) \(path) was removed or replaced while this process wrote there; it has stopped, so that nothing is "
                + "confirmed that would be lost. Put the directory back as it was, and start one process only"
        )
    }

    /// Whether some process holds the lock now; asking does not take it.
    static func isHeld(path: String) -> Bool {
        let descriptor = waybill_open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return waybill_lock_query(descriptor) == 1
    }

    /// Throws as taking the lock would, and makes no file: for who must leave a directory as it is until he knows what is in it.
    package static func refuseHeld(directory: String) throws(LogError) {
        let descriptor = waybill_open(directory + "/" + fileName, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        if waybill_lock_query(descriptor) == 1 { throw held(by: recordedHolder(descriptor)) }
    }

    // MARK: The two locks

    /// The lock on the directory. A file system that knows none on directories (NFS makes it a lock on bytes, which wants a
    /// descriptor for writing) leaves the file's.
    private static func lockFolder(_ folder: Int32, _ directory: String) throws(LogError) {
        guard flock(folder, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK else { return }
        let file = waybill_open(directory + "/" + fileName, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0)
        defer { if file >= 0 { close(file) } }
        throw held(by: file >= 0 ? recordedHolder(file) : nil)
    }

    private static func lockFile(_ directory: String) throws(LogError) -> Int32 {
        let path = directory + "/" + fileName
        // A link would make a file somewhere else, or empty one.
        let file = waybill_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else {
            if errno == ELOOP {
                let message = "\(path) is a symbolic link, which is not followed; remove it"
                throw LogError(.inputOutput, message, errno: ELOOP)
            }
            throw failure("open", path)
        }
        guard waybill_lock_exclusive(file) == 0 else {
            let holder = recordedHolder(file)
            close(file)
            throw held(by: holder)
        }
        return file
    }

    private static func failure(_ operation: String, _ path: String) -> LogError {
        let number = errno
        return LogError(before: operation, "\(path): \(String(cString: strerror(number)))", errno: number)
    }

    private static func held(by holder: String?) -> LogError {
        let process = holder ?? "(unknown, for its lock file is gone)"
        return LogError(
            .locked,
            "process \(process) already writes to this data directory; stop it first or use its socket"
        )
    }

    private static func recordedHolder(_ descriptor: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 32)
        let count = pread(descriptor, &buffer, buffer.count, 0)
        let digits = buffer.prefix(max(count, 0)).prefix { $0 >= 48 && $0 <= 57 }
        return digits.isEmpty ? "(unknown)" : String(decoding: digits, as: UTF8.self)
    }
}

/// What tells a file or directory from every other one that exists at the same time.
private struct FileIdentity: Sendable {
    private let device: dev_t
    private let number: ino_t

    init(descriptor: Int32) {
        var status = stat()
        // Of an open descriptor this cannot fail.
        fstat(descriptor, &status)
        device = status.st_dev
        number = status.st_ino
    }

    /// Whether `path` certainly leads somewhere else, or nowhere. Where that cannot be looked at now, nothing is certain.
    func isElsewhere(_ path: String, follow: Bool) -> Bool {
        var status = stat()
        guard fstatat(AT_FDCWD, path, &status, follow ? 0 : AT_SYMLINK_NOFOLLOW) == 0 else {
            return [ENOENT, ENOTDIR, ELOOP].contains(errno)
        }
        return status.st_dev != device || status.st_ino != number
    }
}
