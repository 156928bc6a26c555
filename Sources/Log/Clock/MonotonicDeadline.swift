import Glibc

/// The end of a wait of pthread's, which knows the boot clock not everywhere, but the monotonic one.
enum MonotonicDeadline {
    static let clock = CLOCK_MONOTONIC

    static func after(_ timeout: Duration) -> timespec {
        var now = timespec()
        clock_gettime(clock, &now)
        let (seconds, attoseconds) = max(timeout, .zero).components
        let nanoseconds = Int(now.tv_nsec) + Int(attoseconds / 1_000_000_000)
        let (end, overflow) = (now.tv_sec + nanoseconds / 1_000_000_000).addingReportingOverflow(Int(seconds))
        return timespec(tv_sec: overflow ? .max : end, tv_nsec: nanoseconds % 1_000_000_000)
    }
}
