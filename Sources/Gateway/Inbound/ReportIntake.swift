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
            guard let status = report.status else { return try await intake.unrecognized(names) }
            var last = LogPosition.zero
            for id in providerIDs {
                guard let message = found(names.message(id)) else { continue }
                last = max(last, try intake.raise(message, to: status, names))
            }
            return max(last, try raise(status) { try time(of: $0) <= milliseconds })
        }
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
        guard let message = names.sent(ourID: ourID) ?? known else {
            return try park(report, target: key)
        }
        try await ledger.log.waitUntilDurable(message)
        guard let status = report.status else { return try await intake.unrecognized(names, about: message) }
        return try intake.raise(
            message,
            to: status,
            code: report.code,
            names,
            providerKey: known == nil ? key : .absent,
            parked: names.parked
        )
    }

    /// The message may be one of ours whose id we are yet to be told.
    private func park(_ report: ChannelEvent.Report, target: LookupHash) throws -> LogPosition {
        if names.parked != .zero { return names.parked }
        let envelope = MetaWebhook.envelope(of: names.event)
        return try ledger.append(flush: .byWaiter) { state, _ in
            let events = state.decideParking(
                names.client,
                names.event.platform,
                duplicateKey: names.duplicateKey,
                target: target,
                customer: names.customer,
                envelope: envelope
            )
            return (events, ())
        }.position
    }

    private func through(_ report: ChannelEvent.Report, _ providerID: String) async throws -> LogPosition {
        let key = names.message(providerID)
        guard let message = found(key) else { return try park(report, target: key) }
        guard let status = report.status else { return try await intake.unrecognized(names, about: message) }
        let last = try intake.raise(message, to: status, names, parked: names.parked)
        return max(last, try raise(status) { $0.message < message })
    }

    // MARK: Watermarks

    private struct Candidate {
        let message: LogPosition
        let row: Inbox.MessageRow
    }

    /// Raises what was sent to this customer and is meant, newest first, back to what has this status already.
    private func raise(_ status: MessageStatus, where isMeant: (Candidate) throws -> Bool) throws -> LogPosition {
        var last = LogPosition.zero
        for candidate in candidates(below: status) where try isMeant(candidate) {
            last = max(last, try intake.raise(candidate.message, to: status, names))
        }
        return last
    }

    private func candidates(below status: MessageStatus) -> [Candidate] {
        guard let customer = names.customer else { return [] }
        return ledger.plan { state in
            let row = state.inbox.conversation(names.client, names.event.platform, customer)
            var found: [Candidate] = []
            for message in (row?.messages ?? []).reversed() {
                guard let row = state.inbox.messages[message], row.direction == .outbound else { continue }
                if row.status >= status { break }
                // What failed or was never sent is not read.
                if row.status == .sent || row.status == .delivered || row.status == .outcomeUnknown {
                    found.append(Candidate(message: message, row: row))
                }
                if found.count == ReportIntake.raisedMax { break }
            }
            return found
        }
    }

    /// When the call for a message began, in milliseconds: the provider cannot have had it before.
    private func time(of candidate: Candidate) throws -> UInt64 {
        let trail = try ledger.event(at: candidate.row.trail)
        if case .sendFinished(let event) = trail.event { return event.startedAt.nanoseconds / 1_000_000 }
        return try ledger.event(at: candidate.message).time.nanoseconds / 1_000_000
    }
}
