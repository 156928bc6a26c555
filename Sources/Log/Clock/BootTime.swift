import Glibc

/// A moment on the clock that counts since the machine started, sleep included. No setting of the wall clock moves it, so it is
/// what lengths of time are measured with.
package struct BootTime: Comparable, Hashable, Sendable {
    package let nanoseconds: UInt64

    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static var now: BootTime {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return BootTime(nanoseconds: UInt64(max(time.tv_sec, 0)) &* 1_000_000_000 &+ UInt64(max(time.tv_nsec, 0)))
    }

    package static func < (a: BootTime, b: BootTime) -> Bool { a.nanoseconds < b.nanoseconds }

    /// How long it is from `earlier` to this moment; zero when this is not the later one.
    package func since(_ earlier: BootTime) -> Duration {
        let (length, overflow) = nanoseconds.subtractingReportingOverflow(earlier.nanoseconds)
        return overflow ? .zero : .nanoseconds(Int64(clamping: length))
    }

    /// Stays within what the clock can show.
    package func advanced(by time: Duration) -> BootTime {
        let (seconds, attoseconds) = time.components
        guard seconds >= 0, attoseconds >= 0 else { return self }
        let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, carried) = nanoseconds.addingReportingOverflow(whole)
        let (end, carriedAgain) = sum.addingReportingOverflow(UInt64(attoseconds / 1_000_000_000))
        return BootTime(nanoseconds: overflow || carried || carriedAgain ? .max : end)
    }
}
