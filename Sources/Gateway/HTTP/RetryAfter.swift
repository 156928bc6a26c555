package import Projections

/// What a server's `Retry-After` asks for (RFC 9110, section 10.2.3).
package enum RetryAfter {
    /// A date in it means the server's clock, which may show anything: it is compared with the `Date` beside it, and only where
    /// there is none with our own.
    package static func seconds(of response: OutgoingResponse, now: Timestamp) -> UInt64? {
        guard let value = response.header("retry-after") else { return nil }
        let date = response.header("date").flatMap { HTTPDate.parse($0, now: now) }.flatMap { UInt64(exactly: $0) }
        return seconds(value, now: date.map { Timestamp(0).advanced(bySeconds: $0) } ?? now)
    }

    /// Seconds from now, at most a day; 0 for a date that is over. Nil for what is neither a number of seconds nor a date.
    package static func seconds(_ value: String, now: Timestamp) -> UInt64? {
        let most = RetrySchedule.retryAfterMax
        if !value.isEmpty, value.utf8.allSatisfy({ (48...57).contains($0) }) {
            // What no number can hold is longer than a day.
            return min(UInt64(value) ?? most, most)
        }
        guard let date = HTTPDate.parse(value, now: now) else { return nil }
        // The begun second of now counts as still to come, so that nobody is asked too early.
        let wait = date - Int64(now.wholeSeconds)
        return min(UInt64(max(wait, 0)), most)
    }
}
