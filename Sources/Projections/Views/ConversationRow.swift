package import Log

extension Inbox {
    package struct ConversationRow: Sendable, Equatable {
        package let id: LogPosition
        package let client: LogPosition
        package let platform: Platform
        package let customer: LookupHash
        /// The account or number of the client's that the customer wrote to last.
        package var account: LookupHash
        package var status = ConversationStatus.open
        package var ticketRef = ""
        /// Ticket references of conversations that were joined into this one.
        package var joinedTicketRefs: [String] = []
        package var lastActivity: Timestamp
        package var lastInbound: Timestamp?
        package var messages: [LogPosition] = []
        /// The record that says best who the customer is: that of the opening, or of what became known later.
        package var identifiersAt: LogPosition
        /// We wrote first, to a number; what the provider calls it is yet to be told.
        package var isUnanswered = false
        /// By which the conversation is found.
        package var addresses: [KnownAddress]
        /// By which it was found once. What the customer said of consent under them holds.
        package var formerAddresses: [LookupHash] = []
        /// The record of the referral that led the customer here first.
        package var attribution: LogPosition?
        /// Other records with a key of their own, which an erasure destroys too.
        package var others: [LogPosition] = []
        /// Nil when nothing is known against it.
        package var reachability: Reachability?
        /// Younger conversations that turned out to be this one.
        package var joined: [LogPosition] = []
    }
}

extension Inbox.ConversationRow {
    /// Every address that the customer has or had.
    package var everyAddress: [LookupHash] {
        [customer] + addresses.map(\.hash).filter { $0 != customer } + formerAddresses.filter { $0 != customer }
    }

    /// The number that it was found by finds somebody else's now, and no other took its place.
    package var hasLostNumber: Bool {
        !formerAddresses.isEmpty && addresses.allSatisfy { $0.kind == .scopedID } && !addresses.isEmpty
    }

    /// Whether the customer has another address in place of this one, which may be somebody else's by now.
    package func hasReplaced(_ hash: LookupHash) -> Bool {
        addresses.first { $0.hash == hash }?.isRetired ?? formerAddresses.contains(hash)
    }

    /// Its own first; empty ones are left out.
    package var ticketRefs: [String] {
        var refs: [String] = []
        for ref in [ticketRef] + joinedTicketRefs where !ref.isEmpty && !refs.contains(ref) { refs.append(ref) }
        return refs
    }

    /// Whether the provider names somebody else by this id: the conversation has another one, of the same business.
    func isSomebodyElse(_ address: KnownAddress) -> Bool {
        guard address.kind == .scopedID, !addresses.contains(where: { $0.hash == address.hash }) else { return false }
        return addresses.contains { $0.kind == .scopedID && !$0.isRetired && $0.account == address.account }
    }

    /// The same with all of a younger conversation.
    func absorbing(_ younger: Inbox.ConversationRow) -> Inbox.ConversationRow {
        var row = self
        if younger.status == .open { row.status = .open }
        if row.ticketRef.isEmpty { row.ticketRef = younger.ticketRef }
        row.joinedTicketRefs += younger.ticketRefs
        row.lastActivity = max(lastActivity, younger.lastActivity)
        row.lastInbound = [lastInbound, younger.lastInbound].compactMap { $0 }.max()
        row.messages = (messages + younger.messages).sorted()
        if younger.identifiersAt > identifiersAt {
            row.identifiersAt = younger.identifiersAt
            row.account = younger.account
        }
        row.reachability = [reachability, younger.reachability].compactMap { $0 }.max { $0.message < $1.message }
        row.isUnanswered = isUnanswered && younger.isUnanswered
        row.addresses += younger.addresses.filter { address in
            !addresses.contains { $0.hash == address.hash }
        }
        row.formerAddresses += younger.formerAddresses
        row.attribution = attribution ?? younger.attribution
        row.others += [younger.id] + younger.others
        row.joined += [younger.id] + younger.joined
        return row
    }
}
