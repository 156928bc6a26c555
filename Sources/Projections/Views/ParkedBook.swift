import DequeModule
package import Log

/// Edits, reactions, withdrawals and statuses that came before the message they are about, and wait for it.
///
/// They wait as long as providers repeat themselves, and there is a most: what is about a message that nobody will ever tell
/// us of must not be remembered for ever. It stays in the log all the same.
package struct ParkedBook: Sendable, Equatable {
    /// Seconds; the longest time over which a provider repeats an event (WhatsApp).
    static let retention: UInt64 = 7 * 86_400
    static let countMax = 100_000

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
    /// In the order in which they came.
    private var order: Deque<LogPosition> = []

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
        case .messageEdited, .messageUnsent, .messageReacted, .messageStatusChanged:
            if record.subject != .zero { remove(record.subject) }
        case .clientDeleted:
            for (position, row) in rows where row.key.client == record.client { remove(position) }
        default: break
        }
    }

    private mutating func park(_ event: ProviderEventParked, _ record: EventRecord) {
        let late = Timestamp(
            record.time.nanoseconds - min(record.time.nanoseconds, ParkedBook.retention * 1_000_000_000)
        )
        while let first = order.first {
            if let row = rows[first] {
                guard row.time < late || rows.count >= ParkedBook.countMax else { break }
                remove(first)
            }
            order.removeFirst()
        }
        let key = Key(client: record.client, target: event.target)
        rows[record.position] = Row(key: key, time: record.time)
        waiting[key, default: []].append(record.position)
        order.append(record.position)
    }

    private mutating func remove(_ position: LogPosition) {
        guard let row = rows.removeValue(forKey: position) else { return }
        waiting[row.key]?.removeAll { $0 == position }
        if waiting[row.key]?.isEmpty == true { waiting[row.key] = nil }
    }
}
