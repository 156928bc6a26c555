/// Somebody who sleeps until a record is durable.
struct Waiter: Sendable {
    /// What a waiter wakes up to: how it went, and who else is to be told of the same flight.
    ///
    /// Waking takes about as long as writing a record, so the thread that writes wakes one and goes on, and the woken wake
    /// the others.
    struct Landing: Sendable {
        let result: Result<Void, LogError>
        var others: ArraySlice<Waiter> = []
    }

    let continuation: CheckedContinuation<Landing, Never>

    /// Wakes all of them, or the first, who wakes the others.
    static func tell(_ waiters: ArraySlice<Waiter>, _ result: Result<Void, LogError>) {
        guard let first = waiters.first else { return }
        first.continuation.resume(returning: Landing(result: result, others: waiters.dropFirst()))
    }

    /// Wakes two of those that a woken waiter was given, who wake half of the rest each.
    static func tellOthers(_ landing: Landing) {
        let half = landing.others.startIndex + landing.others.count / 2
        tell(landing.others[..<half], landing.result)
        tell(landing.others[half...], landing.result)
    }
}
