import DequeModule
package import Log

/// Which idempotency keys were used, by whom, and for which message. Keys are forgotten when their time is over.
package struct IdempotencyIndex: Sendable, Equatable {
    package struct Entry: Sendable, Equatable {
        package let message: LogPosition
        package let fingerprint: LookupHash
        package let expiresAt: Timestamp
    }

    private struct Key: Hashable, Sendable {
        let client: LogPosition
        let hash: LookupHash
    }

    private var entries: [Key: Entry] = [:]
    /// In the order of acceptance, which is the order of expiry as long as the retention is not changed.
    private var order: Deque<Key> = []

    package init() {}

    package var count: Int { entries.count }

    package func entry(_ client: LogPosition, _ hash: LookupHash, at now: Timestamp) -> Entry? {
        guard let entry = entries[Key(client: client, hash: hash)], now < entry.expiresAt else { return nil }
        return entry
    }

    mutating func apply(_ record: EventRecord) {
        guard case .sendAccepted(let event) = record.event, !event.key.isAbsent else { return }
        forget(before: record.time)
        let key = Key(client: record.client, hash: event.key)
        entries[key] = Entry(message: record.position, fingerprint: event.fingerprint, expiresAt: event.keyExpiresAt)
        order.append(key)
    }

    private mutating func forget(before now: Timestamp) {
        while let first = order.first, let entry = entries[first], entry.expiresAt <= now {
            entries[first] = nil
            order.removeFirst()
        }
        // A key that was used again after it expired stands in the order twice; the first standing is void.
        while let first = order.first, entries[first] == nil { order.removeFirst() }
    }
}

/// Which provider ids were seen, so that a provider's repeat makes no second event. Hashes survive an erasure.
package struct DeduplicationIndex: Sendable, Equatable {
    private struct Key: Hashable, Sendable {
        let client: LogPosition
        let hash: LookupHash
    }

    private var seen: [Key: LogPosition] = [:]
    /// Keyed hash of a provider's message id → our outbound message.
    private var sent: [Key: LogPosition] = [:]

    package init() {}

    /// The record that the first arrival made.
    package func first(_ client: LogPosition, _ hash: LookupHash) -> LogPosition? {
        seen[Key(client: client, hash: hash)]
    }

    package func sentMessage(_ client: LogPosition, _ providerKey: LookupHash) -> LogPosition? {
        sent[Key(client: client, hash: providerKey)]
    }

    mutating func apply(_ record: EventRecord) {
        switch record.event {
        case .messageReceived(let event): note(record, event.duplicateKey)
        case .messageEdited(let event): note(record, event.duplicateKey)
        case .messageUnsent(let event): note(record, event.duplicateKey)
        case .messageReacted(let event): note(record, event.duplicateKey)
        case .messageEchoed(let event): note(record, event.duplicateKey)
        case .providerEventUnrecognized(let event): note(record, event.duplicateKey)
        case .providerEventParked(let event): note(record, event.duplicateKey)
        case .messageStatusChanged(let event):
            if !event.providerKey.isAbsent {
                sent[Key(client: record.client, hash: event.providerKey)] = record.message
            }
        case .sendFinished(let event):
            if !event.providerKey.isAbsent {
                sent[Key(client: record.client, hash: event.providerKey)] = record.message
            }
        default: break
        }
    }

    private mutating func note(_ record: EventRecord, _ hash: LookupHash) {
        if hash.isAbsent { return }
        let key = Key(client: record.client, hash: hash)
        if seen[key] == nil { seen[key] = record.position }
    }
}
