package import Log

/// A provider's word that a customer has other addresses from here on.
package struct AddressChange: Sendable {
    package var client: LogPosition
    package var platform: Platform
    package var duplicateKey: LookupHash
    /// Keyed hashes of addresses that may find the customer, the best first.
    package var former: [LookupHash]
    /// Keyed hash of a number that the customer has no more.
    package var givenUp: LookupHash?
    /// From here on, that which says best who it is first.
    package var addresses: [KnownAddress]
    package var identifiers: ConversationIdentifiers
    /// The provider's own bytes of this one item.
    package var providerBytes: [UInt8]

    package init(client: LogPosition, platform: Platform, duplicateKey: LookupHash, addresses: [KnownAddress]) {
        self.client = client
        self.platform = platform
        self.duplicateKey = duplicateKey
        self.addresses = addresses
        former = []
        identifiers = ConversationIdentifiers()
        providerBytes = []
    }
}

extension LogState {
    /// The conversation of the customer who has other addresses now.
    package func conversation(of change: AddressChange) -> Inbox.ConversationRow? { found(change)?.row }

    private func found(_ change: AddressChange) -> (row: Inbox.ConversationRow, by: LookupHash)? {
        for hash in change.former {
            if let row = inbox.conversation(change.client, change.platform, hash) { return (row, hash) }
        }
        return nil
    }

    /// The conversation goes on under the new addresses; where those are known too, the two become one. The provider's bytes are
    /// kept with it. Nothing is told as a message, and no window opens.
    package func decide(_ change: AddressChange, _ context: DecisionContext) -> [NewEvent] {
        guard clients[change.client] != nil, deduplication.first(change.client, change.duplicateKey) == nil else {
            return []
        }
        let found = found(change)
        var events: [NewEvent] = []
        var survivor: LogPosition?
        if let row = found?.row, let main = change.addresses.first {
            let identity = there(change, main, row).map { joining(row, $0) } ?? Identity(row: row)
            let goesOn = identity.row ?? row
            if let younger = identity.younger { events.append(.joined(younger, into: goesOn)) }
            events += identified(change, goesOn.id)
            survivor = goesOn.id
        }
        let kept = UnrecognizedEvent(
            client: change.client,
            platform: change.platform,
            duplicateKey: change.duplicateKey,
            message: .zero,
            key: nil,
            customer: found?.by ?? change.former.first,
            providerBytes: change.providerBytes
        )
        return events
            + decide(kept).map { event in
                var event = event
                if let survivor { event.conversation = survivor }
                return event
            }
    }

    /// Another conversation that the new addresses find already, unless that is with somebody else.
    private func there(
        _ change: AddressChange,
        _ main: KnownAddress,
        _ row: Inbox.ConversationRow
    ) -> Inbox.ConversationRow? {
        let rows = change.addresses.compactMap { inbox.conversation(change.client, change.platform, $0.hash) }
        return rows.first { $0.id != row.id && !$0.isSomebodyElse(main) && !$0.hasOwnID(beside: main) }
    }

    /// Each record of it holds the whole of the new identifiers.
    private func identified(_ change: AddressChange, _ conversation: LogPosition) -> [NewEvent] {
        change.addresses.enumerated().map { index, address in
            .identified(address, client: change.client, conversation: conversation, change.identifiers) { event in
                guard index == 0 else { return }
                event.givenUp = change.givenUp ?? .absent
                event.retires = true
            }
        }
    }
}

extension Inbox.ConversationRow {
    /// Whether a number alone cannot tell that it is the same person: who has it here goes by an id of the same business. Should
    /// that be the customer's new id, the next message says so.
    fileprivate func hasOwnID(beside main: KnownAddress) -> Bool {
        main.kind != .scopedID
            && addresses.contains { $0.kind == .scopedID && !$0.isRetired && $0.account == main.account }
    }
}
