import Log

/// One person under several addresses.
extension LogState {
    /// A conversation that the edge found by what an earlier version of Waybill made of an address. It is asked last, and only
    /// where it is still that of the client.
    func earlier(_ conversation: LogPosition?, _ client: LogPosition, _ platform: Platform) -> Inbox.ConversationRow? {
        guard let row = conversation.flatMap({ inbox.current($0) }), row.client == client,
            row.platform == platform, row.status != .erased
        else { return nil }
        return row
    }

    /// Those of the addresses under which the customer asked for no more messages, each once.
    func optedOut(_ client: LogPosition, _ platform: Platform, among addresses: [LookupHash]) -> [LookupHash] {
        var seen: Set<LookupHash> = []
        return addresses.filter { address in
            optOuts.contains(client, platform, address) && seen.insert(address).inserted
        }
    }

    /// What is to be recorded when a customer writes to another number of the client's than before. The accounts of Meta's
    /// platforms are named by the connection, and so are answers.
    func readdressed(_ inbound: InboundMessage, _ existing: Inbox.ConversationRow?) -> [NewEvent] {
        guard let existing, inbound.platform == .sms, !inbound.account.isAbsent, existing.account != inbound.account
        else { return [] }
        return [NewEvent.readdressed(inbound, conversation: existing.id)]
    }
}
