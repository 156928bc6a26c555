package import Log

/// How many requests a second one client may make, and how many at once.
package struct RequestRate: Hashable, Sendable {
    package let perSecond: Int
    package let burst: Int

    package init(perSecond: Int) {
        self.perSecond = max(1, perSecond)
        burst = max(2_000, 10 * self.perSecond)
    }

    /// Seconds in which an empty bucket is full again.
    var window: Int { (burst + perSecond - 1) / perSecond }
}

/// A token bucket, kept as the moment at which it is full again (the generic cell rate algorithm of ITU-T I.371). Pure.
package struct TokenBucket: Sendable {
    package enum Answer: Equatable, Sendable {
        /// - Parameter remaining: how many more there are.
        case taken(remaining: Int)
        /// - Parameter wait: until there is one.
        case empty(wait: Duration)
    }

    private var fullAt = BootTime(nanoseconds: 0)

    package init() {}

    package func isFull(at now: BootTime) -> Bool { fullAt <= now }

    package mutating func take(at now: BootTime, _ rate: RequestRate) -> Answer {
        let one = Duration.nanoseconds(1_000_000_000 / Int64(rate.perSecond))
        let missing = fullAt.since(now)
        let room = one * rate.burst - missing
        guard room >= one else { return .empty(wait: one - room) }
        fullAt = max(fullAt, now).advanced(by: one)
        return .taken(remaining: Int((room - one) / one))
    }

    /// Until it is full again.
    package func reset(at now: BootTime) -> Duration { fullAt.since(now) }
}
