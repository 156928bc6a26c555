import Log
import Projections

/// The keyed hashes of one event of a provider, and the commands made with them.
struct EventNames {
    let event: ChannelEvent
    let client: LogPosition
    /// Where the event waited for its message; zero when it did not.
    let parked: LogPosition
    private let ledger: Ledger
    private let lookup: @Sendable (LookupDomain, [UInt8]) -> LookupHash

    /// - Throws: `bodyPurged` when the client is gone.
    init(_ event: ChannelEvent, _ client: LogPosition, _ ledger: Ledger, parked: LogPosition = .zero) throws {
        self.event = event
        self.client = client
        self.parked = parked
        self.ledger = ledger
        lookup = try ledger.lookup(client)
    }

    var duplicateKey: LookupHash { key(event.duplicateKey) }
    var customer: LookupHash? { event.customer.map { address($0.id) } }

    /// The key of a message's own event, by which it is found. A postback has one of its own, because its echo has the same id.
    func message(_ providerID: String) -> LookupHash {
        let postback = key("postback/" + providerID)
        let isPostback = ledger.plan { $0.message(client, postback) } != nil
        return isPostback ? postback : key(MetaName.message(providerID))
    }

    /// The key by which a postback's id is waited for; nil for anything else.
    var messageOfPostback: LookupHash? {
        guard event.duplicateKey.hasPrefix("postback/") else { return nil }
        return key(MetaName.message(String(event.duplicateKey.dropFirst("postback/".count))))
    }

    /// Our message that a provider names by the id we gave it; nil for anything that is not one of this client.
    func sent(ourID: String) -> LogPosition? {
        guard let message = ledger.ids.decode(.message, ourID) else { return nil }
        let row = ledger.plan { $0.inbox.messages[message] }
        guard let row, row.client == client, row.direction == .outbound, row.platform == event.platform else {
            return nil
        }
        return message
    }

    /// Nil when the provider did not say who wrote.
    func inbound(_ content: MessageContent) throws -> InboundMessage? {
        guard let customer = event.customer else { return nil }
        var inbound = InboundMessage(
            client: client,
            platform: event.platform,
            duplicateKey: duplicateKey,
            customer: address(customer.id),
            account: account
        )
        let other = customer.otherID.isEmpty ? nil : address(customer.otherID)
        inbound.otherCustomer = other == inbound.customer ? nil : other
        let ids = [customer.id, customer.otherID].filter { !$0.isEmpty }
        (inbound.earlierAddresses, inbound.earlierConversation) = try ledger.earlier(client, event.platform, ids)
        if event.platform == .whatsapp {
            inbound.customerKind = WhatsAppAddress.kind(customer.id)
            inbound.otherKind = WhatsAppAddress.kind(customer.otherID)
        }
        inbound.identifiers = identifiers
        inbound.content = content
        inbound.replyTo = content.replyTo.isEmpty ? nil : message(content.replyTo)
        inbound.providerTime = providerTime
        inbound.isStandby = event.isStandby
        inbound.providerBytes = event.bytes
        return inbound
    }

    private var account: LookupHash {
        lookup(.metaAccount, [UInt8](MetaName.account(event.platform, event.account.id).utf8))
    }

    /// Nil when the provider did not say who it was.
    func change(_ move: ChannelEvent.Move) -> AddressChange? {
        guard let former = event.customer else { return nil }
        let formerIDs = [former.id, former.otherID].filter { !$0.isEmpty }
        let ids = [move.userID, move.phoneID].filter { !$0.isEmpty }
        var change = AddressChange(
            client: client,
            platform: event.platform,
            duplicateKey: duplicateKey,
            addresses: ids.map { KnownAddress(address($0), WhatsAppAddress.kind($0), account: account) }
        )
        change.former = formerIDs.map { address($0) }
        let number = formerIDs.first { WhatsAppAddress.kind($0) == .number }.map { address($0) }
        let staysOrIsUnknown = move.phoneID.isEmpty || number == address(move.phoneID)
        change.givenUp = staysOrIsUnknown ? nil : number
        change.identifiers = identifiers
        change.identifiers.platformUserID = ids.first ?? ""
        change.identifiers.phone = WhatsAppContacts.isPhone(move.phoneID) ? "+" + move.phoneID : ""
        change.providerBytes = event.bytes
        return change
    }

    func followUp(of target: String, _ kind: FollowUp.Kind) -> FollowUp {
        var followUp = FollowUp(
            client: client,
            platform: event.platform,
            duplicateKey: duplicateKey,
            customer: customer,
            target: message(target),
            kind: kind,
            providerBytes: event.bytes,
            envelope: MetaWebhook.envelope(of: event)
        )
        followUp.identifiers = identifiers
        followUp.providerTime = providerTime
        followUp.isStandby = event.isStandby
        followUp.parked = parked
        return followUp
    }

    private var identifiers: ConversationIdentifiers {
        var identifiers = ConversationIdentifiers()
        identifiers.platformUserID = event.customer?.id ?? ""
        identifiers.phone = event.customer?.phone ?? ""
        identifiers.name = event.customer?.name ?? ""
        identifiers.accountID = event.account.id
        identifiers.accountPhone = event.account.phone
        return identifiers
    }

    /// Zero when the provider said none; adapters leave nothing that does not fit.
    private var providerTime: Timestamp {
        let (nanoseconds, overflow) = event.milliseconds.multipliedReportingOverflow(by: 1_000_000)
        return Timestamp(overflow ? 0 : nanoseconds)
    }

    private func address(_ id: String) -> LookupHash {
        CustomerAddress.hash(event.platform, id, lookup)
    }

    private func key(_ name: String) -> LookupHash {
        lookup(.metaEvent, [UInt8](MetaName.event(event.platform, account: event.account.id, name).utf8))
    }
}
