package import Log

/// A message from a customer, as a channel adapter understood it.
package struct InboundMessage: Sendable {
    package enum Consent: Sendable {
        case optOut
        case optIn
    }

    package var client: LogPosition
    package var platform: Platform
    /// Keyed hash of the provider's message id and kind.
    package var duplicateKey: LookupHash
    /// Keyed hash of the customer's address.
    package var customer: LookupHash
    /// Another address of the same customer, by which the conversation is found too.
    package var otherCustomer: LookupHash?
    /// What earlier versions of Waybill made of these addresses, where that was something else.
    package var earlierAddresses: [LookupHash] = []
    /// The conversation that is found by those alone, and whose identifiers name this customer.
    package var earlierConversation: LogPosition?
    package var customerKind = AddressKind.unknown
    package var otherKind = AddressKind.unknown
    package var account: LookupHash
    package var identifiers: ConversationIdentifiers
    package var content: MessageContent
    /// Keyed hash of the provider's id of the message that this one answers, as duplicate keys are made.
    package var replyTo: LookupHash?
    package var consent: Consent?
    /// The purged message of which this is the new wording; it comes as a message of its own, to be purged as well.
    package var edits: LogPosition?
    /// What the provider said; zero when it said nothing.
    package var providerTime: Timestamp
    /// It came while another app held the conversation.
    package var isStandby = false
    /// What is known of the customer beside `identifiers`.
    package var known: KnownCustomer?
    /// The provider's own bytes of this one item.
    package var providerBytes: [UInt8]

    package init(
        client: LogPosition,
        platform: Platform,
        duplicateKey: LookupHash,
        customer: LookupHash,
        account: LookupHash
    ) {
        self.client = client
        self.platform = platform
        self.duplicateKey = duplicateKey
        self.customer = customer
        self.account = account
        identifiers = ConversationIdentifiers()
        content = MessageContent()
        providerTime = Timestamp(0)
        providerBytes = []
    }
}

extension LogState {
    /// Decides on a message from a customer. No events means that the provider repeated itself.
    package func decide(_ inbound: InboundMessage, ids: OpaqueID, _ context: DecisionContext) -> [NewEvent] {
        guard let client = clients[inbound.client],
            deduplication.first(inbound.client, inbound.duplicateKey) == nil
        else { return [] }
        let identity = identity(inbound.named)
        let existing = identity.row
        var inbound = inbound
        inbound.identifiers = inbound.identifiers.completed(by: inbound.known, in: existing)
        var (events, conversation) = opening(inbound, identity, context)
        let message = context.next.advanced(by: events.count)
        let received = events.count
        let replyTo = inbound.replyTo.flatMap { self.message(inbound.client, $0) }.map { ids.encode(.message, $0) }
        events.append(self.received(inbound, conversation: conversation, replyTo: replyTo, client, context.now))
        events += consentEvents(inbound, conversation, existing)
        if let attributed = attribution(inbound, message, conversation, existing, client, back: events.count - received)
        {
            events.append(attributed)
        }
        let purges = client.settings.purgePlatforms.contains(inbound.platform)
        // Where the body is purged, it waits for the client to be allowed what it may not receive now.
        guard purges || client.mayReceive(inbound.platform, at: context.now) else { return events }
        let publisher = Publisher(state: self, ids: ids, context: context)
        for (type, share) in inbound.published {
            let event = publisher.publish(
                type,
                client: client,
                platform: inbound.platform,
                conversation: conversation,
                message: message,
                after: events,
                seal: .sameAsBatch(back: events.count - received),
                files: !inbound.content.media.isEmpty,
                holds: purges
            ) { body, json in
                body.describe(
                    inbound,
                    &json,
                    conversation: conversation,
                    row: existing,
                    message: message,
                    share: share,
                    replyTo: replyTo,
                    purges: purges,
                    repliesExternally: client.settings.repliesExternally(inbound.platform),
                    at: context.now
                )
            }
            events.append(event)
        }
        return events
    }

    /// The conversation, and what opens it, joins it or makes it known by another address too.
    func opening(
        _ inbound: InboundMessage,
        _ identity: Identity,
        _ context: DecisionContext
    ) -> ([NewEvent], LogPosition) {
        let existing = identity.row
        let conversation = existing?.id ?? context.next
        var known = identity.learned
        // WhatsApp may call a number otherwise than it was dialled, and wants answers to what it calls it. Of two conversations
        // that are one now, what was just said says best who the customer is.
        let renews = existing?.isUnanswered == true && inbound.platform == .whatsapp
        if known.isEmpty, renews || identity.younger != nil { known = [inbound.named.main] }
        let identified = known.map {
            NewEvent.identified($0, client: inbound.client, conversation: conversation, inbound.identifiers)
        }
        guard let existing else { return ([NewEvent.opening(inbound)] + identified, conversation) }
        let joined = identity.younger.map { NewEvent.joined($0, into: existing) }
        return ((joined.map { [$0] } ?? []) + identified + readdressed(inbound, existing), conversation)
    }

    /// The message of a provider's id, ours or a customer's.
    package func message(_ client: LogPosition, _ key: LookupHash) -> LogPosition? {
        if let seen = deduplication.first(client, key), inbox.messages[seen] != nil { return seen }
        return deduplication.sentMessage(client, key)
    }

    private func received(
        _ inbound: InboundMessage,
        conversation: LogPosition,
        replyTo: String?,
        _ client: ClientRow,
        _ now: Timestamp
    ) -> NewEvent {
        let purges = client.settings.purgePlatforms.contains(inbound.platform)
        var event = MessageReceived()
        event.platform = inbound.platform
        event.kind = inbound.content.kind
        event.duplicateKey = inbound.duplicateKey
        event.providerTime = inbound.providerTime
        event.encoding = inbound.content.encoding
        event.segments = inbound.content.segments
        event.standby = inbound.isStandby
        event.files = UInt64(min(inbound.content.media.count, MediaBook.filesMax))
        if purges { event.purgeBy = now.advanced(bySeconds: LogState.purgeDeadline) }
        return NewEvent(
            .messageReceived(event),
            client: inbound.client,
            conversation: conversation,
            bodies: [
                SealedPart(.content, inbound.content.stored(replyTo: replyTo)),
                SealedPart(.providerBytes, inbound.providerBytes),
            ],
            seal: .newKey(purges ? .purgeModeMessage : .message)
        )
    }

    /// The first referral is shown with the conversation as long as its message lives; where bodies are purged it is in the
    /// webhook only.
    private func attribution(
        _ inbound: InboundMessage,
        _ message: LogPosition,
        _ conversation: LogPosition,
        _ existing: Inbox.ConversationRow?,
        _ client: ClientRow,
        back: Int
    ) -> NewEvent? {
        guard let referral = inbound.content.referral, existing?.attribution == nil,
            !client.settings.purgePlatforms.contains(inbound.platform)
        else { return nil }
        var event = ConversationAttributed()
        // The provider's own word may be anything; this is stored in clear.
        event.source = ["ad", "post", "link", "product"].contains(referral.source) ? referral.source : "other"
        return NewEvent(
            .conversationAttributed(event),
            client: inbound.client,
            conversation: conversation,
            message: message,
            bodies: [SealedPart(.content, JSONWriter.object { MessageContent.write(referral, &$0) })],
            seal: .sameAsBatch(back: back)
        )
    }

    /// Whoever opts in does so under every address of theirs, for an opt-out under any of them counts.
    private func consentEvents(
        _ inbound: InboundMessage,
        _ conversation: LogPosition,
        _ existing: Inbox.ConversationRow?
    ) -> [NewEvent] {
        switch inbound.consent {
        case nil: return []
        case .optOut:
            var event = CustomerOptedOut()
            event.platform = inbound.platform
            event.customer = inbound.customer
            return [NewEvent(.customerOptedOut(event), client: inbound.client, conversation: conversation)]
        case .optIn:
            let others = [inbound.otherCustomer].compactMap { $0 } + inbound.earlierAddresses
            let left = optedOut(inbound.client, inbound.platform, among: others + (existing?.everyAddress ?? []))
            return ([inbound.customer] + left.filter { $0 != inbound.customer }).map { address in
                var event = CustomerOptedIn()
                event.platform = inbound.platform
                event.customer = address
                return NewEvent(.customerOptedIn(event), client: inbound.client, conversation: conversation)
            }
        }
    }
}

extension NewEvent {
    static func opening(_ inbound: InboundMessage) -> NewEvent {
        opening(
            client: inbound.client,
            platform: inbound.platform,
            customer: inbound.customer,
            kind: inbound.customerKind,
            account: inbound.account,
            identifiers: inbound.identifiers
        )
    }

    /// Answers go out from another number of the client's.
    static func readdressed(_ inbound: InboundMessage, conversation: LogPosition) -> NewEvent {
        var event = ConversationReaddressed()
        event.account = inbound.account
        return NewEvent(
            .conversationReaddressed(event),
            client: inbound.client,
            conversation: conversation,
            bodies: [SealedPart(.identifiers, inbound.identifiers.json)],
            seal: .newKey(.conversation)
        )
    }

    static func opening(
        client: LogPosition,
        platform: Platform,
        customer: LookupHash,
        kind: AddressKind = .unknown,
        account: LookupHash,
        identifiers: ConversationIdentifiers
    ) -> NewEvent {
        var event = ConversationOpened()
        event.platform = platform
        event.customer = customer
        event.kind = kind.rawValue
        event.account = account
        return NewEvent(
            .conversationOpened(event),
            client: client,
            bodies: [SealedPart(.identifiers, identifiers.json)],
            seal: .newKey(.conversation)
        )
    }
}

extension InboundMessage {
    /// The events that tell of this message: one, or one for each reel and post that was shared with it.
    fileprivate var published: [(type: String, share: MessageContent.Share?)] {
        let shares = content.shares.compactMap { share -> (String, MessageContent.Share?)? in
            switch share.kind {
            case "reel": ("reel_shared", share)
            case "post": ("post_shared", share)
            default: nil
            }
        }
        return shares.isEmpty ? [(platform.messageReceived, nil)] : shares
    }
}

extension Platform {
    /// The webhook type of a customer's message.
    package var messageReceived: String {
        switch self {
        case .facebook, .instagram: "message_received"
        case .sms: "sms.message_received"
        case .whatsapp: "whatsapp.message_received"
        }
    }
}

extension WebhookBody {
    fileprivate func describe(
        _ inbound: InboundMessage,
        _ json: inout JSONWriter,
        conversation id: LogPosition,
        row: Inbox.ConversationRow?,
        message: LogPosition,
        share: MessageContent.Share?,
        replyTo: String?,
        purges: Bool,
        repliesExternally: Bool,
        at now: Timestamp
    ) {
        json.string("platform", inbound.platform.name)
        account(&json, inbound.identifiers)
        conversation(
            &json,
            id: id,
            status: row?.status ?? .open,
            ticketRef: row?.ticketRef ?? "",
            windowExpiresAt: inbound.platform == .sms
                ? nil
                : MessagingWindow.opened(row?.lastInbound, said: inbound.providerTime, now)
                    .advanced(bySeconds: MessagingWindow.standard),
            repliesExternally: repliesExternally
        )
        customer(&json, inbound.identifiers)
        json.object("message") { json in
            json.string("id", ids.encode(.message, message))
            json.string("direction", Direction.inbound.name)
            let places = MediaPlaces(ids: ids, message: message, isInline: purges)
            inbound.content.writeParts(&json, replyTo: replyTo, share: share, places: places)
            if let edited = inbound.edits { json.string("edited_message_id", ids.encode(.message, edited)) }
            said(&json, at: inbound.providerTime, isStandby: inbound.isStandby)
            json.time("received_at", now)
        }
        if let referral = inbound.content.referral {
            json.object("referral") { MessageContent.write(referral, &$0) }
        }
    }
}

extension ClientRow {
    /// Whether inbound traffic of this platform is forwarded to the client.
    package func mayReceive(_ platform: Platform, at now: Timestamp) -> Bool { gate(platform, at: now) == nil }
}
