package import Log

/// Folds a whole history and checks what must hold in any history, whoever wrote it: `verify --invariants`.
///
/// Independent of the deciders: it knows what events mean, not how they came to be decided.
package struct InvariantCheck {
    package struct Violation: Sendable, Equatable {
        package let position: LogPosition
        package let rule: String
    }

    package private(set) var violations: [Violation] = []
    /// Worth knowing, and no violation.
    package private(set) var clockJumps = 0
    private var state = LogState()
    /// Once records are lost, and it is on record that they are, what they began may go on without its beginning.
    private var hasLosses = false

    package init() {}

    /// Looks at one record, in order.
    package mutating func apply(_ view: RecordView) {
        let record: EventRecord
        do {
            record = try EventRecord(view)
        } catch {
            violations.append(Violation(position: view.position, rule: "\(error)"))
            return
        }
        if case .recordLost = record.event { hasLosses = true }
        if case .clockJumped = record.event { clockJumps += 1 }
        for rule in broken(record) { violations.append(Violation(position: record.position, rule: rule)) }
        state.apply(record)
    }

    private func broken(_ record: EventRecord) -> [String] {
        var rules: [String] = []
        let references = [record.client, record.conversation, record.message, record.subject]
        if references.contains(where: { $0 > record.position }) { rules.append("refers to a later record") }
        if hasLosses { return rules }
        switch record.event {
        case .clockJumped(let event): rules += jumped(event)
        case .eventPublished(let event): rules += sequence(event, record)
        case .conversationJoined(let event): rules += joined(event, record)
        case .deliveryStarted(let event): rules += started(event)
        case .deliveryReleased(let event): rules += released(event, record)
        case .deliveryFinished(let event): rules += finished(event, record)
        case .sendStarted(let event): rules += started(event)
        case .sendFinished:
            if state.sends.rows[record.message]?.isInFlight != true {
                rules.append("a call ends that was never started")
            }
        default: break
        }
        return rules
    }

    private func jumped(_ event: ClockJumped) -> [String] {
        let moved = max(
            event.wallAfter.nanoseconds(since: event.wallBefore),
            event.wallBefore.nanoseconds(since: event.wallAfter)
        )
        return moved > SteadyTime.jump ? [] : ["a jump of the wall clock of no more than 60 s is on record"]
    }

    private func joined(_ event: ConversationJoined, _ record: EventRecord) -> [String] {
        guard let older = state.inbox.conversations[record.conversation],
            let younger = state.inbox.conversations[event.joined]
        else { return ["a conversation is joined that does not exist"] }
        if older.client != younger.client || older.platform != younger.platform {
            return ["conversations of different clients or platforms are joined"]
        }
        if older.id >= younger.id { return ["a conversation is joined into a younger one"] }
        if older.status == .erased || younger.status == .erased { return ["an erased conversation is joined"] }
        let isJoined = state.inbox.isJoined(older.id) || state.inbox.isJoined(younger.id)
        return isJoined ? ["a conversation is joined that is part of another one already"] : []
    }

    private func sequence(_ event: EventPublished, _ record: EventRecord) -> [String] {
        let before = state.clients[record.client]?.sequence ?? 0
        return event.sequence == before + 1 ? [] : ["event number \(event.sequence) follows \(before)"]
    }

    private func started(_ event: DeliveryStarted) -> [String] {
        event.deliveries.values.compactMap { delivery in
            guard let row = state.deliveries.rows[delivery], row.state == .scheduled else {
                return "delivery \(delivery) starts without being scheduled"
            }
            return row.heldFor.isEmpty ? nil : "delivery \(delivery) starts while it is held"
        }
    }

    private func released(_ event: DeliveryReleased, _ record: EventRecord) -> [String] {
        event.deliveries.values.compactMap { delivery in
            guard let row = state.deliveries.rows[delivery], row.client == record.client, !row.heldFor.isEmpty else {
                return "delivery \(delivery) is released without being held"
            }
            return nil
        }
    }

    private func finished(_ event: DeliveryFinished, _ record: EventRecord) -> [String] {
        guard let row = state.deliveries.rows[record.subject], row.state == .inFlight else {
            return ["an attempt ends that was never started"]
        }
        var rules = row.attempts == event.attempt ? [] : ["attempt \(event.attempt) ends while \(row.attempts) runs"]
        let nothingLeft = event.nothingSent || DeliveryResult.nothingLeft(event.error)
        if !event.succeeded, event.final.isEmpty, !nothingLeft, state.purges.watches.isInbound(row.message) {
            rules.append("delivery \(record.subject) of a body with one attempt is to be tried again")
        }
        return rules
    }

    private func started(_ event: SendStarted) -> [String] {
        event.messages.values.filter { state.sends.rows[$0]?.isInFlight ?? true }
            .map { "message \($0) goes to the provider while not queued" }
    }
}
