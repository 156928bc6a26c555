import Glibc

/// Everything the log can refuse or fail with. Two errors are equal when their codes are: tests compare kinds, not prose.
public struct LogError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Stable codes; they appear in answers, process logs and documents.
    public enum Code: String, Sendable {
        /// Another process writes to this data directory.
        case locked = "log_locked"
        /// There is no room for the record. It was not accepted and nothing was changed.
        case diskFull = "disk_full"
        /// More bytes wait for the disk than the configuration allows. Nothing was accepted; try again.
        case overloaded = "log_overloaded"
        /// A write or sync failed. What was waiting may or may not be on disk; the process appends no more.
        case indeterminate = "log_indeterminate"
        /// The data directory, its lock or the newest segment was removed or replaced under the process, which stores nothing
        /// that anybody would find there. It appends no more.
        case directoryLost = "log_directory_lost"
        /// Others may read or write what only the gateway's user should.
        case openToOthers = "open_to_others"
        /// Bytes that had been acknowledged are missing or changed.
        case corrupt = "log_corrupt"
        /// A system call failed where nothing is in doubt (opening, listing, reading).
        case inputOutput = "log_io"
        /// The record is larger than the format allows.
        case recordTooLarge = "record_too_large"
        /// The position does not exist, or not yet.
        case notFound = "position_not_found"
        /// The log's end is not where the caller believed.
        case positionConflict = "position_conflict"
        /// Written by a version of the format that this build does not know.
        case unknownFormat = "log_format_unknown"
        /// The log was closed.
        case closed = "log_closed"
        /// The root key is missing, unreadable or not the one this log was written with.
        case keyUnavailable = "key_unavailable"
        /// The key was destroyed by a purge.
        case keyDestroyed = "key_destroyed"
    }

    public let code: Code
    /// What happened and what to do about it. Never contains message content.
    public let message: String
    /// The system's error number, where a system call failed.
    public let errno: Int32?
    /// Whether the call failed before it changed anything, for want of a descriptor, of memory or of a permission: the same
    /// call may succeed later, and nothing is in doubt.
    package let isTransient: Bool

    public init(_ code: Code, _ message: String, errno: Int32? = nil) {
        self.init(code, message, errno: errno, isTransient: false)
    }

    package init(_ code: Code, _ message: String, errno: Int32?, isTransient: Bool) {
        self.code = code
        self.message = message
        self.errno = errno
        self.isTransient = isTransient
    }

    /// What a call reports that opens, lists, names or removes, and so changes all or nothing.
    package init(before operation: String, _ message: String, errno number: Int32) {
        let isTransient = [EMFILE, ENFILE, ENOMEM, EACCES].contains(number)
        let code: Code = number == ENOSPC || number == EDQUOT ? .diskFull : .inputOutput
        self.init(code, "could not \(operation) \(message)", errno: number, isTransient: isTransient)
    }

    public static func == (a: LogError, b: LogError) -> Bool { a.code == b.code }

    public var description: String {
        errno.map { "\(code.rawValue): \(message) (errno \($0))" } ?? "\(code.rawValue): \(message)"
    }
}
