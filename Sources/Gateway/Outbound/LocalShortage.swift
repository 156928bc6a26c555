import CWaybill
import Glibc
import Log

/// A lack on this host, which says nothing about the other side of a connection.
package enum LocalShortage {
    /// Whether a system call failed with this number for want of descriptors, memory or ports.
    static func isOne(_ number: Int32) -> Bool { [EMFILE, ENFILE, ENOMEM, ENOBUFS].contains(number) }

    /// Whether it is what a read of the log failed for. A file that may not be opened is none: that lasts until somebody changes
    /// it, and what is tried again without being counted would fill the log meanwhile.
    package static func isOne(_ error: any Error) -> Bool {
        guard let error = error as? LogError, error.isTransient else { return false }
        return error.errno.map { isOne($0) } ?? false
    }

    /// Whether a descriptor cannot be had now. Asked before something is put on record as begun that could only fail.
    static var isNow: Bool {
        let descriptor = waybill_open("/dev/null", O_RDONLY | O_CLOEXEC, 0)
        if descriptor < 0 { return isOne(errno) }
        close(descriptor)
        return false
    }
}
