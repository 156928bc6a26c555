import DequeModule
package import Log

/// Messages that are to be purged after their one attempt, or after their time; their purge is yet to be requested.
package struct PurgeWatches: Sendable, Equatable {
    struct Watch: Sendable, Equatable {
        let client: LogPosition
        let conversation: LogPosition
        /// Nil for a send: nothing but its outcome ends it.
        let deadline: Timestamp?
        /// What has not had its attempt: deliveries, or the send itself.
        var attempts: Set<LogPosition> = []
    }

    private var rows: [LogPosition: Watch] = [:]
    /// Those that wait for no attempt any more. Kept beside the rows, as are the deadlines, because both are asked for many
    /// times a second.
    private var ready: Set<LogPosition> = []
    /// Those with a deadline, the earliest first: all are given the same time. The first one is still watched.
    private var deadlines: Deque<LogPosition> = []

    package static func == (a: PurgeWatches, b: PurgeWatches) -> Bool { a.rows == b.rows }

    /// Whether a message is watched.
    package func contains(_ message: LogPosition) -> Bool { rows[message] != nil }

    /// Whether the time of a message is over, so that nothing of it may leave any more.
    package func isOver(_ message: LogPosition, _ now: Timestamp) -> Bool {
        rows[message]?.deadline.map { $0 <= now } ?? false
    }

    /// Whether a message came in and waits for its one attempt.
    package func isInbound(_ message: LogPosition) -> Bool { rows[message]?.deadline != nil }

    /// Messages whose purge is to be requested by now, at most `limit`.
    package func overdue(_ now: Timestamp, limit: Int) -> [LogPosition] {
        let late = deadlines.prefix { rows[$0]?.deadline.map { $0 <= now } ?? true }
        let waiting = late.filter { rows[$0] != nil && !ready.contains($0) }
        return Array((Array(ready.prefix(limit)) + waiting).prefix(limit))
    }

    // MARK: Fold

    mutating func add(_ message: LogPosition, _ watch: Watch) {
        if watch.deadline != nil { deadlines.append(message) }
        rows[message] = watch
        if watch.attempts.isEmpty { ready.insert(message) }
    }

    mutating func remove(where isMeant: (LogPosition, Watch) -> Bool) {
        for (message, watch) in rows where isMeant(message, watch) { remove(message) }
    }

    mutating func remove(_ message: LogPosition) {
        rows[message] = nil
        ready.remove(message)
        while let first = deadlines.first, rows[first] == nil { deadlines.removeFirst() }
    }

    /// Waits for one attempt more. A send has no deadline, so it waits for nothing but its own outcome.
    mutating func begin(_ attempt: LogPosition, of message: LogPosition) {
        guard attempt == message || rows[message]?.deadline != nil else { return }
        guard rows[message]?.attempts.insert(attempt).inserted == true else { return }
        ready.remove(message)
    }

    /// An attempt is over, whatever came of it. False when nobody waited for it.
    mutating func end(_ attempt: LogPosition, of message: LogPosition) -> Bool {
        guard rows[message]?.attempts.remove(attempt) != nil else { return false }
        if rows[message]?.attempts.isEmpty == true { ready.insert(message) }
        return true
    }
}
