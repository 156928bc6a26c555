import Log

extension LogState {
    /// What ends a message of ours whose echo was taken back before anything said that the two are one: the business withdrew it in
    /// the provider's own app while the answer to our call was on its way. The echo's purge does not reach the message's key.
    func takenBack(
        _ message: LogPosition,
        as providerKey: LookupHash,
        ids: OpaqueID,
        _ context: DecisionContext,
        after earlier: [NewEvent]
    ) -> [NewEvent] {
        guard !providerKey.isAbsent, let row = inbox.messages[message],
            let echo = deduplication.first(row.client, providerKey), echo != message, inbox.unsent.contains(echo),
            !isPurged(message)
        else { return [] }
        return purge(message, row, reason: "unsent", ids: ids, context, after: earlier)
    }
}
