package import Projections

/// What a server's `Retry-After` asks for (RFC 9110, section 10.2.3).
package enum RetryAfter {
    /// Seconds from now, at most a day; 0 for a date that is over. Nil for what is neither a number of seconds nor a date.
    package static func seconds(_ value: String, now: Timestamp) -> UInt64? {
        let most = RetrySchedule.retryAfterMax
        if !value.isEmpty, value.utf8.allSatisfy({ (48...57).contains($0) }) {
            // What no number can hold is longer than a day.
            return min(UInt64(value) ?? most, most)
        }
        guard let date = HTTPDate.parse(value, now: now) else { return nil }
        // The begun second of now counts as still to come, so that nobody is asked too early.
        let wait = date - Int64(now.nanoseconds / 1_000_000_000)
        return min(UInt64(max(wait, 0)), most)
    }
}
