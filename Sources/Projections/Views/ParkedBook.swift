import DequeModule
package import Log

/// Edits, reactions, withdrawals and statuses that came before the message they are about, and wait for it.
///
/// They wait as long as providers repeat themselves, and there is a most: what is about a message that nobody will ever tell
/// us of must not be remembered for ever. It stays in the log all the same.
package struct ParkedBook: Sendable, Equatable {
    /// Seconds; the longest time over which a provider repeats an event (WhatsApp).
    static let retention: UInt64 = 7 * 86_400
    /// Of one client, so that the traffic of one makes nobody forget what waits for another.
    static let countMax = 10_000

    private struct Key: Hashable, Sendable {
        let client: LogPosition
        let target: LookupHash
    }

    private struct Row: Sendable, Equatable {
        let key: Key
        let time: Timestamp
    }

    private var rows: [LogPosition: Row] = [:]
    private var waiting: [Key: [LogPosition]] = [:]
    /// Of each client, in the order in which they came; those that wait no more are passed over.
    private var order: [LogPosition: Deque<LogPosition>] = [:]
    private var counts: [LogPosition: Int] = [:]

    package init() {}

    /// The records that wait for the message of this provider's id, the oldest first.
    package func waiting(_ client: LogPosition, for target: LookupHash) -> [LogPosition] {
        waiting[Key(client: client, target: target)] ?? []
    }

    package func contains(_ position: LogPosition) -> Bool { rows[position] != nil }

    /// Each message that something waits for.
    package var targets: [(client: LogPosition, target: LookupHash)] {
        waiting.keys.map { ($0.client, $0.target) }
    }

    mutating func apply(_ record: EventRecord) {
        switch record.event {
        case .providerEventParked(let event): park(event, record)
        case .messageEdited, .messageUnsent, .messageReacted, .messageStatusChanged, .providerEventUnrecognized:
            if record.subject != .zero { remove(record.subject) }
        case .clientDeleted:
            for position in order.removeValue(forKey: record.client) ?? [] { remove(position) }
        default: break
        }
    }

    private mutating func park(_ event: ProviderEventParked, _ record: EventRecord) {
        let client = record.client
        var order = self.order.removeValue(forKey: client) ?? []
        let late = record.time.moved(backBySeconds: ParkedBook.retention)
        while let first = order.first {
            if let row = rows[first], row.time >= late, counts[client, default: 0] < ParkedBook.countMax { break }
            remove(first)
            order.removeFirst()
        }
        let key = Key(client: client, target: event.target)
        rows[record.position] = Row(key: key, time: record.time)
        waiting[key, default: []].append(record.position)
        counts[client, default: 0] += 1
        order.append(record.position)
        self.order[client] = order
    }

    private mutating func remove(_ position: LogPosition) {
        guard let row = rows.removeValue(forKey: position) else { return }
        counts[row.key.client, default: 1] -= 1
        waiting[row.key]?.removeAll { $0 == position }
        if waiting[row.key]?.isEmpty == true { waiting[row.key] = nil }
    }
}
