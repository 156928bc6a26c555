/// A moment in UTC nanoseconds since 1970. Its arithmetic saturates, and `scripts/check-clocks` refuses any by hand: times come
/// from outside and from clocks that may have been anywhere.
package struct Timestamp: Hashable, Comparable, Sendable {
    package let nanoseconds: UInt64

    package init(_ nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static func < (a: Timestamp, b: Timestamp) -> Bool { a.nanoseconds < b.nanoseconds }

    package var wholeSeconds: UInt64 { nanoseconds / 1_000_000_000 }

    /// A time far beyond any date this system meets stands for "never" and is not passed.
    package func advanced(bySeconds seconds: UInt64) -> Timestamp {
        let (step, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? Timestamp(.max) : advanced(byNanoseconds: step)
    }

    package func advanced(byNanoseconds step: UInt64) -> Timestamp {
        let (sum, overflow) = nanoseconds.addingReportingOverflow(step)
        return Timestamp(overflow ? .max : sum)
    }

    /// Not before 1970.
    package func moved(backBySeconds seconds: UInt64) -> Timestamp {
        let (step, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? Timestamp(0) : moved(backByNanoseconds: step)
    }

    package func moved(backByNanoseconds step: UInt64) -> Timestamp { Timestamp(nanoseconds - min(nanoseconds, step)) }

    /// How long it is from `earlier` to this moment; zero when this is not the later one.
    package func since(_ earlier: Timestamp) -> Duration { .nanoseconds(Int64(clamping: nanoseconds(since: earlier))) }

    package func nanoseconds(since earlier: Timestamp) -> UInt64 {
        nanoseconds - min(nanoseconds, earlier.nanoseconds)
    }

    package func milliseconds(since earlier: Timestamp) -> UInt64 { nanoseconds(since: earlier) / 1_000_000 }
}
