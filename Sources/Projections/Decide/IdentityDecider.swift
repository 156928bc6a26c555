import Log

/// A customer as a provider names one, by one address or by two.
struct NamedCustomer {
    let client: LogPosition
    let platform: Platform
    /// The one that says best who it is.
    let main: KnownAddress
    let other: KnownAddress?
    /// A conversation that only what an earlier version made of the addresses finds.
    var earlier: LogPosition?
}

/// Who a customer is among those who are known.
struct Identity {
    /// Nil for somebody new.
    var row: Inbox.ConversationRow?
    /// The conversation that turns out to be an older one, as `row` shows both.
    var younger: LogPosition?
    /// Addresses by which the conversation is not found yet.
    var learned: [KnownAddress] = []
}

extension InboundMessage {
    var named: NamedCustomer {
        NamedCustomer(
            client: client,
            platform: platform,
            main: KnownAddress(customer, customerKind, account: account),
            other: otherCustomer.map { KnownAddress($0, otherKind, account: account) },
            earlier: earlierConversation
        )
    }
}

extension LogState {
    /// Whose addresses these are. A number goes from hand to hand, a scoped id does not: the id decides where they differ.
    func identity(_ named: NamedCustomer) -> Identity {
        let known = inbox.conversation(named.client, named.platform, named.main.hash)
        let other = named.other.flatMap { inbox.conversation(named.client, named.platform, $0.hash) }
        let isUnknown = known == nil && other == nil
        if isUnknown, let row = earlier(named.earlier, named.client, named.platform) {
            return Identity(row: row, learned: [named.main] + [named.other].compactMap { $0 })
        }
        guard let address = named.other else { return Identity(row: known) }
        switch (known, other) {
        case (nil, nil): return Identity(row: nil, learned: [address])
        case (let known?, nil):
            // What was sent before the number was given up may come later.
            return Identity(row: known, learned: known.formerAddresses.contains(address.hash) ? [] : [address])
        case (nil, let other?):
            let isSomebodyElse = other.isSomebodyElse(named.main)
            return Identity(row: isSomebodyElse ? nil : other, learned: [isSomebodyElse ? address : named.main])
        case (let known?, let other?):
            if known.id == other.id || known.isLate(named.main, beside: other, by: address.hash) {
                return Identity(row: known)
            }
            if other.isSomebodyElse(named.main) { return Identity(row: known, learned: [address]) }
            let isCertain = named.main.kind == .scopedID && other.isKnownFully(but: address.hash)
            return isCertain ? joining(known, other) : Identity(row: known)
        }
    }

    func joining(_ a: Inbox.ConversationRow, _ b: Inbox.ConversationRow) -> Identity {
        let (older, younger) = a.id < b.id ? (a, b) : (b, a)
        return Identity(row: older.absorbing(younger), younger: younger.id)
    }

    /// What a report about a message of ours tells of the customer, beside its own subject: that two addresses are one person's.
    package func decideNaming(_ inbound: InboundMessage, _ context: DecisionContext) -> [NewEvent] {
        learned(from: inbound).map { opening(inbound, $0, context).0 } ?? []
    }

    /// The conversation of which something new would be known by two addresses that are named together.
    package func learns(from inbound: InboundMessage) -> Inbox.ConversationRow? { learned(from: inbound)?.row }

    /// Nil where nothing new would be known, or of nobody who is known.
    private func learned(from inbound: InboundMessage) -> Identity? {
        guard clients[inbound.client] != nil, inbound.otherCustomer != nil else { return nil }
        let identity = identity(inbound.named)
        let isNews = identity.younger != nil || !identity.learned.isEmpty
        return isNews && identity.row != nil ? identity : nil
    }
}

extension Inbox.ConversationRow {
    /// Whether a number that is another conversation's now is named with the id that it belonged to before.
    fileprivate func isLate(_ main: KnownAddress, beside other: Inbox.ConversationRow, by number: LookupHash) -> Bool {
        let isRetired = addresses.contains { $0.hash == main.hash && $0.isRetired }
        return formerAddresses.contains(number) && (isRetired || other.isSomebodyElse(main))
    }

    /// Whether it is certain that no other address is an id of somebody else. Old records did not say.
    fileprivate func isKnownFully(but hash: LookupHash) -> Bool {
        addresses.allSatisfy { $0.hash == hash || $0.kind != .unknown }
    }
}

extension NewEvent {
    /// Two conversations are one from here on.
    static func joined(_ younger: LogPosition, into row: Inbox.ConversationRow) -> NewEvent {
        var event = ConversationJoined()
        event.joined = younger
        return NewEvent(.conversationJoined(event), client: row.client, conversation: row.id)
    }

    /// The conversation is known by another address too.
    static func identified(
        _ address: KnownAddress,
        client: LogPosition,
        conversation: LogPosition,
        _ identifiers: ConversationIdentifiers,
        change: (inout ConversationIdentified) -> Void = { _ in }
    ) -> NewEvent {
        var event = ConversationIdentified()
        event.customer = address.hash
        event.kind = address.kind.rawValue
        if address.kind != .unknown { event.account = address.account }
        change(&event)
        return NewEvent(
            .conversationIdentified(event),
            client: client,
            conversation: conversation,
            bodies: [SealedPart(.identifiers, identifiers.json)],
            seal: .newKey(.conversation)
        )
    }
}
