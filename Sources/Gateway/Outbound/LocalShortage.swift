import CWaybill
import Glibc

/// A lack on this host, which says nothing about the other side of a connection.
enum LocalShortage {
    /// Whether a system call failed with this number for want of descriptors, memory or ports.
    static func isOne(_ number: Int32) -> Bool { [EMFILE, ENFILE, ENOMEM, ENOBUFS].contains(number) }

    /// Whether a descriptor cannot be had now. Asked before something is put on record as begun that could only fail.
    static var isNow: Bool {
        let descriptor = waybill_open("/dev/null", O_RDONLY | O_CLOEXEC, 0)
        if descriptor < 0 { return isOne(errno) }
        close(descriptor)
        return false
    }
}
