import Log
import Projections

/// What a provider reports about messages of ours: delivered, read, failed.
struct ReportIntake {
    let intake: ChannelIntake
    let names: EventNames

    /// How many messages one watermark may raise.
    private static let raisedMax = 1000

    private var ledger: Ledger { intake.ledger }

    func take(_ report: ChannelEvent.Report) async throws -> LogPosition {
        switch report.subject {
        case .message(let providerID, let ourID): return try await one(report, providerID, ourID)
        case .through(let providerID): return try await through(report, providerID)
        case .watermark(let milliseconds, let providerIDs):
            return try await watermark(report, milliseconds, providerIDs)
        }
    }

    private func watermark(
        _ report: ChannelEvent.Report,
        _ milliseconds: UInt64,
        _ providerIDs: [String]
    ) async throws -> LogPosition {
        guard let status = report.status else { return try await intake.unrecognized(names) }
        // Before any is raised, for the walk ends at what has the status already.
        let older = candidates(below: status, before: nil)
        var last = LogPosition.zero
        for id in providerIDs {
            let key = names.message(id)
            if let message = found(key) {
                last = max(last, try await intake.raise(message, to: status, names))
            } else {
                last = max(last, try await park(report, target: key))
            }
        }
        for candidate in older where try await time(of: candidate) <= milliseconds {
            last = max(last, try await intake.raise(candidate.message, to: status, names))
        }
        return last
    }

    private func found(_ key: LookupHash) -> LogPosition? {
        ledger.plan { $0.message(names.client, key) }
    }

    private func one(
        _ report: ChannelEvent.Report,
        _ providerID: String,
        _ ourID: String
    ) async throws -> LogPosition {
        let key = names.message(providerID)
        let known = found(key)
        guard let message = names.sent(ourID: ourID) ?? known else { return try await park(report, target: key) }
        guard let status = report.status else { return try await intake.unrecognized(names, about: message) }
        return try await intake.raise(
            message,
            to: status,
            code: report.code,
            names,
            providerID: providerID,
            providerKey: known == nil ? key : .absent
        )
    }

    /// The message may be one of ours whose id we are yet to be told.
    private func park(_ report: ChannelEvent.Report, target: LookupHash) async throws -> LogPosition {
        if names.parked != .zero { return names.parked }
        let envelope = MetaWebhook.envelope(of: names.event)
        let committed = try ledger.append(flush: .byWaiter) { state, _ -> ([NewEvent], Bool) in
            // It may have come in between, and nobody would take this up any more.
            if state.message(names.client, target) != nil { return ([], true) }
            let events = state.decideParking(
                names.client,
                names.event.platform,
                duplicateKey: names.duplicateKey,
                target: target,
                customer: names.customer,
                envelope: envelope
            )
            return (events, false)
        }
        return committed.value ? try await take(report) : committed.position
    }

    private func through(_ report: ChannelEvent.Report, _ providerID: String) async throws -> LogPosition {
        let key = names.message(providerID)
        guard let message = found(key) else { return try await park(report, target: key) }
        guard let status = report.status else { return try await intake.unrecognized(names, about: message) }
        let older = candidates(below: status, before: message)
        var last = try await intake.raise(message, to: status, names)
        for candidate in older where try await isMessage(candidate) {
            last = max(last, try await intake.raise(candidate.message, to: status, names))
        }
        return last
    }

    // MARK: What came before

    private struct Candidate {
        let message: LogPosition
        let trail: LogPosition
    }

    /// What was sent to this customer and may have the status too, newest first, back to what has it already. Of what may not
    /// have been sent at all nothing is known by what came later.
    private func candidates(below status: MessageStatus, before last: LogPosition?) -> [Candidate] {
        guard let customer = names.customer else { return [] }
        return ledger.plan { state in
            let row = state.inbox.conversation(names.client, names.event.platform, customer)
            var found: [Candidate] = []
            for message in (row?.messages ?? []).reversed() where last.map({ message < $0 }) ?? true {
                guard let row = state.inbox.messages[message], row.direction == .outbound else { continue }
                if row.status >= status { break }
                if row.status == .sent || row.status == .delivered {
                    found.append(Candidate(message: message, trail: row.trail))
                }
                if found.count == ReportIntake.raisedMax { break }
            }
            return found
        }
    }

    /// When the call for a message began, in milliseconds: the provider cannot have had it before. For ever, for what is no
    /// message but a sign, and is neither delivered nor read.
    private func time(of candidate: Candidate) async throws -> UInt64 {
        guard try await isMessage(candidate) else { return .max }
        try await ledger.log.waitUntilDurable(candidate.trail)
        let trail = try ledger.event(at: candidate.trail)
        if case .sendFinished(let event) = trail.event { return event.startedAt.nanoseconds / 1_000_000 }
        return try ledger.event(at: candidate.message).time.nanoseconds / 1_000_000
    }

    private func isMessage(_ candidate: Candidate) async throws -> Bool {
        try await ledger.log.waitUntilDurable(candidate.message)
        guard case .sendAccepted(let event) = try ledger.event(at: candidate.message).event else { return true }
        return SendContent.Kind(rawValue: event.kind)?.isMessage ?? true
    }
}
