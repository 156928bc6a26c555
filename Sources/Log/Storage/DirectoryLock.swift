import CWaybill
import Glibc

/// The lock that keeps a data directory to one writing process (guarantee G6).
///
/// An open-file-description lock belongs to this descriptor, not to the process: another part of the same process
/// cannot drop it by closing its own descriptor, and the kernel drops it when the process dies, however it dies.
package final class DirectoryLock: Sendable {
    package static let fileName = LogPath.lock
    private let descriptor: Int32

    /// Takes the lock of a data directory or throws `locked`, naming the holder's pid.
    package convenience init(directory: String) throws(LogError) {
        try self.init(path: directory + "/" + DirectoryLock.fileName)
    }

    /// The same by the path of the file.
    init(path: String) throws(LogError) {
        let descriptor = waybill_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw LogError(.inputOutput, "could not open \(path): \(String(cString: strerror(errno)))", errno: errno)
        }
        guard waybill_lock_exclusive(descriptor) == 0 else {
            let held = DirectoryLock.held(descriptor)
            close(descriptor)
            throw held
        }
        self.descriptor = descriptor
        let text = "\(getpid())\n"
        ftruncate(descriptor, 0)
        _ = text.withCString { pwrite(descriptor, $0, strlen($0), 0) }
    }

    deinit { close(descriptor) }

    /// Whether some process holds the lock now; asking does not take it.
    static func isHeld(path: String) -> Bool {
        let descriptor = waybill_open(path, O_RDWR | O_CLOEXEC, 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return waybill_lock_query(descriptor) == 1
    }

    /// Throws as taking the lock would, and makes no file: for who must leave a directory as it is until he knows what is in it.
    package static func refuseHeld(directory: String) throws(LogError) {
        let descriptor = waybill_open(directory + "/" + fileName, O_RDWR | O_CLOEXEC, 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        if waybill_lock_query(descriptor) == 1 { throw held(descriptor) }
    }

    private static func held(_ descriptor: Int32) -> LogError {
        LogError(
            .locked,
            "process \(recordedHolder(descriptor)) already writes to this data directory; stop it first or use its socket"
        )
    }

    private static func recordedHolder(_ descriptor: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 32)
        let count = pread(descriptor, &buffer, buffer.count, 0)
        let digits = buffer.prefix(max(count, 0)).prefix { $0 >= 48 && $0 <= 57 }
        return digits.isEmpty ? "(unknown)" : String(decoding: digits, as: UTF8.self)
    }
}
