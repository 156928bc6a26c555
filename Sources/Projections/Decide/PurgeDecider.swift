package import Log

extension LogState {
    /// How long a message of Inbound Body Purge waits for its one attempt, in seconds.
    package static let purgeDeadline: UInt64 = 900
    /// The reason of a purge that nobody asked for by hand.
    package static let purgeByMode = "inbound_body_purge"

    /// Asks for the purge of a message and cancels what is pending for it. Empty when it was asked for before.
    ///
    /// - Parameter reason: `client`, `inbound_body_purge`, `unsent`.
    package func decidePurge(
        _ message: LogPosition,
        client: LogPosition,
        reason: String,
        ids: OpaqueID,
        _ context: DecisionContext
    ) throws(Refusal) -> [NewEvent] {
        guard let row = inbox.messages[message], row.client == client else {
            throw Refusal(.notFound, "there is no such message")
        }
        if purges.bars(client: client, conversation: row.conversation, message: message) { return [] }
        return purge(message, row, reason: reason, ids: ids, context, after: [])
    }

    /// Asks for the erasure of a whole conversation, under every id that it had. Empty when it was asked for before.
    package func decideErase(
        _ conversation: LogPosition,
        client: LogPosition,
        ids: OpaqueID,
        _ context: DecisionContext
    ) throws(Refusal) -> [NewEvent] {
        guard let row = inbox.current(conversation), row.client == client else {
            throw Refusal(.notFound, "there is no such conversation")
        }
        if row.status == .erased { return [] }
        // First, for what is told behind it is not part of what it ends. Records name the conversation that they came in.
        var events = inbox.family(of: row.id).map { id in
            NewEvent(.eraseRequested(EraseRequested()), client: client, conversation: id)
        }
        // Each queued message ends on its own, so that its status has a record.
        for message in sends.waiting(in: row.id) {
            guard let row = inbox.messages[message] else { continue }
            events += purge(message, row, reason: "erase", ids: ids, context, after: events)
        }
        return events
    }

    func purge(
        _ message: LogPosition,
        _ row: Inbox.MessageRow,
        reason: String,
        ids: OpaqueID,
        _ context: DecisionContext,
        after earlier: [NewEvent]
    ) -> [NewEvent] {
        var event = PurgeRequested()
        event.reason = reason
        event.previous = row.trail
        event.cancels = row.status == .queued && sends.rows[message]?.isInFlight == false
        if reason == LogState.purgeByMode { event.undelivered = neglect(of: message, row, at: context.now) ?? "" }
        let requested = NewEvent(
            .purgeRequested(event),
            client: row.client,
            conversation: row.conversation,
            message: message
        )
        guard event.cancels else { return [requested] }
        let report = ProviderStatus(
            client: row.client,
            message: message,
            status: .failed,
            code: "body_purged",
            platformMessageID: ""
        )
        return [requested]
            + statusEvent(
                report,
                row.conversation,
                row.platform,
                SentBody(seal: .newKey(.message), metadata: []),
                ids,
                context,
                after: earlier + [requested]
            )
    }

    /// Whether nobody may read the body of a message any more.
    package func isPurged(_ message: LogPosition) -> Bool {
        guard let row = inbox.messages[message] else { return false }
        return purges.bars(client: row.client, conversation: row.conversation, message: message)
    }
}
