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
    package var account: LookupHash
    package var identifiers: ConversationIdentifiers
    package var platformMessageID: String
    package var kind: String
    package var text: String
    package var encoding: String
    package var segments: UInt64
    package var consent: Consent?
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
        platformMessageID = ""
        kind = "text"
        text = ""
        encoding = ""
        segments = 0
        providerBytes = []
    }

    /// What is sealed under the message's key.
    var content: [UInt8] {
        JSONWriter.object { json in
            json.string("platform_message_id", platformMessageID)
            json.string("type", kind)
            json.string("text", text)
            if !encoding.isEmpty { json.string("encoding", encoding) }
            if segments > 0 { json.number("segments", segments) }
        }
    }
}

extension LogState {
    /// Decides on a message from a customer. No events means that the provider repeated itself.
    package func decide(_ inbound: InboundMessage, ids: OpaqueID, _ context: DecisionContext) -> [NewEvent] {
        guard let client = clients[inbound.client],
            deduplication.first(inbound.client, inbound.duplicateKey) == nil
        else { return [] }
        var events: [NewEvent] = []
        let existing = inbox.conversation(inbound.client, inbound.platform, inbound.customer)
        let conversation = existing?.id ?? context.next
        if existing == nil { events.append(NewEvent.opening(inbound)) }
        let message = context.next.advanced(by: events.count)
        events.append(received(inbound, conversation: conversation, client, context.now))
        if let consent = consentEvent(inbound, conversation) { events.append(consent) }
        if client.mayReceive(inbound.platform, at: context.now) {
            let publisher = Publisher(state: self, ids: ids, context: context)
            let event = publisher.publish(
                inbound.webhookType,
                client: client,
                platform: inbound.platform,
                conversation: conversation,
                message: message,
                offset: events.count,
                seal: .sameAsBatch(back: events.count - Int(message.rawValue - context.next.rawValue))
            ) { body, json in
                body.describe(
                    inbound,
                    &json,
                    conversation: conversation,
                    row: existing,
                    message: message,
                    repliesExternally: client.settings.repliesExternally(inbound.platform),
                    at: context.now
                )
            }
            events.append(event)
        }
        return events
    }

    private func received(
        _ inbound: InboundMessage,
        conversation: LogPosition,
        _ client: ClientRow,
        _ now: Timestamp
    ) -> NewEvent {
        let purges = client.settings.purgePlatforms.contains(inbound.platform)
        var event = MessageReceived()
        event.platform = inbound.platform
        event.kind = inbound.kind
        event.duplicateKey = inbound.duplicateKey
        event.encoding = inbound.encoding
        event.segments = inbound.segments
        if purges { event.purgeBy = now.advanced(bySeconds: LogState.purgeDeadline) }
        return NewEvent(
            .messageReceived(event),
            client: inbound.client,
            conversation: conversation,
            bodies: [(.content, inbound.content), (.providerBytes, inbound.providerBytes)],
            seal: .newKey(purges ? .purgeModeMessage : .message)
        )
    }

    private func consentEvent(_ inbound: InboundMessage, _ conversation: LogPosition) -> NewEvent? {
        switch inbound.consent {
        case nil: return nil
        case .optOut:
            var event = CustomerOptedOut()
            event.platform = inbound.platform
            event.customer = inbound.customer
            return NewEvent(.customerOptedOut(event), client: inbound.client, conversation: conversation)
        case .optIn:
            var event = CustomerOptedIn()
            event.platform = inbound.platform
            event.customer = inbound.customer
            return NewEvent(.customerOptedIn(event), client: inbound.client, conversation: conversation)
        }
    }
}

extension NewEvent {
    fileprivate static func opening(_ inbound: InboundMessage) -> NewEvent {
        opening(
            client: inbound.client,
            platform: inbound.platform,
            customer: inbound.customer,
            account: inbound.account,
            identifiers: inbound.identifiers
        )
    }

    static func opening(
        client: LogPosition,
        platform: Platform,
        customer: LookupHash,
        account: LookupHash,
        identifiers: ConversationIdentifiers
    ) -> NewEvent {
        var event = ConversationOpened()
        event.platform = platform
        event.customer = customer
        event.account = account
        return NewEvent(
            .conversationOpened(event),
            client: client,
            bodies: [(.identifiers, identifiers.json)],
            seal: .newKey(.conversation)
        )
    }
}

extension InboundMessage {
    fileprivate var webhookType: String {
        switch platform {
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
            windowExpiresAt: inbound.platform == .sms ? nil : now.advanced(bySeconds: 86_400),
            repliesExternally: repliesExternally
        )
        customer(&json, inbound.identifiers)
        json.object("message") { json in
            json.string("id", ids.encode(.message, message))
            json.string("platform_message_id", inbound.platformMessageID)
            json.string("direction", Direction.inbound.name)
            json.string("type", inbound.kind)
            json.string("text", inbound.text)
            if !inbound.encoding.isEmpty { json.string("encoding", inbound.encoding) }
            if inbound.segments > 0 { json.number("segments", inbound.segments) }
            json.array("media") { _ in }
            json.string("reply_to", nil)
            json.time("received_at", now)
        }
    }
}

extension ClientRow {
    /// Whether inbound traffic of this platform is forwarded to the client.
    package func mayReceive(_ platform: Platform, at now: Timestamp) -> Bool {
        guard hasAddon(at: now) else { return false }
        switch platform {
        case .facebook, .instagram: return channels[platform] != nil
        case .sms, .whatsapp: return planIncludesPhone && channels[platform] != nil
        }
    }
}
