package import Log

/// Who asked for no more messages. Keyed hashes only, so the register survives an erasure of the customer.
package struct OptOutRegister: Sendable, Equatable {
    private struct Key: Hashable, Sendable {
        let client: LogPosition
        let platform: Platform
        let customer: LookupHash
    }

    private var optedOut: Set<Key> = []

    package init() {}

    package func contains(_ client: LogPosition, _ platform: Platform, _ customer: LookupHash) -> Bool {
        optedOut.contains(Key(client: client, platform: platform, customer: customer))
    }

    package func contains(_ client: LogPosition, _ platform: Platform, anyOf customers: [LookupHash]) -> Bool {
        customers.contains { contains(client, platform, $0) }
    }

    mutating func apply(_ record: EventRecord) {
        switch record.event {
        case .customerOptedOut(let event):
            optedOut.insert(Key(client: record.client, platform: event.platform, customer: event.customer))
        case .customerOptedIn(let event):
            optedOut.remove(Key(client: record.client, platform: event.platform, customer: event.customer))
        default: break
        }
    }
}

/// SMS sends of each client and month. A send is reserved when accepted, counted when the provider takes it, released
/// when the call fails; one whose outcome is unknown keeps its reservation, because it may have been sent.
package struct UsageCounters: Sendable, Equatable {
    package struct Month: Sendable, Equatable {
        package var reserved: UInt64 = 0
        package var used: UInt64 = 0
    }

    private struct Key: Hashable, Sendable {
        let client: LogPosition
        let month: UInt64
    }

    private var months: [Key: Month] = [:]
    /// Which month an SMS that is not settled yet is reserved in.
    private var open: [LogPosition: Key] = [:]

    package init() {}

    /// - Parameter month: year × 100 + month, in the client's time zone.
    package func month(_ client: LogPosition, _ month: UInt64) -> Month {
        months[Key(client: client, month: month)] ?? Month()
    }

    mutating func apply(_ record: EventRecord) {
        switch record.event {
        case .sendAccepted(let event) where event.platform == .sms:
            let key = Key(client: record.client, month: event.usageMonth)
            months[key, default: Month()].reserved += 1
            open[record.position] = key
        case .sendFinished(let event):
            if event.outcome == .accepted { settle(record.message, counts: true) }
            if event.outcome == .rejected { settle(record.message, counts: false) }
        case .sendCanceled, .sendExpired: settle(record.message, counts: false)
        case .purgeRequested(let event) where event.cancels: settle(record.message, counts: false)
        case .sendReconciled, .messageStatusChanged: settle(record.message, counts: true)
        default: break
        }
    }

    private mutating func settle(_ message: LogPosition, counts: Bool) {
        guard let key = open.removeValue(forKey: message) else { return }
        months[key]?.reserved -= 1
        if counts { months[key]?.used += 1 }
    }
}
