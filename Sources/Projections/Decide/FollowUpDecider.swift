package import Log

/// What came after a message and is about it: an edit, a withdrawal, a reaction.
package struct FollowUp: Sendable {
    package enum Kind: Sendable {
        /// - number: rises with each edit of a message; 0 where the provider does not count.
        case edit(number: UInt64, MessageContent)
        case unsend
        /// - emoji: empty when the reaction was taken back.
        case reaction(emoji: String)
    }

    package var client: LogPosition
    package var platform: Platform
    package var duplicateKey: LookupHash
    /// Keyed hash of the customer's address, where the provider said it.
    package var customer: LookupHash?
    /// Keyed hash of the provider's id of the message, as duplicate keys are made.
    package var target: LookupHash
    package var kind: Kind
    /// The provider's own bytes of this one item.
    package var providerBytes: [UInt8]
    /// The same as a whole request, to be read again when the message comes.
    package var envelope: [UInt8]
    /// Who it is from, and which account of ours it came to; for the client.
    package var identifiers = ConversationIdentifiers()
    package var providerTime = Timestamp(0)
    /// It came while another app held the conversation.
    package var isStandby = false
    /// What is known of the customer beside `identifiers`.
    package var known: KnownCustomer?
    /// The record in which this waited for its message; zero when it did not.
    package var parked = LogPosition.zero

    package init(
        client: LogPosition,
        platform: Platform,
        duplicateKey: LookupHash,
        customer: LookupHash?,
        target: LookupHash,
        kind: Kind,
        providerBytes: [UInt8],
        envelope: [UInt8]
    ) {
        self.client = client
        self.platform = platform
        self.duplicateKey = duplicateKey
        self.customer = customer
        self.target = target
        self.kind = kind
        self.providerBytes = providerBytes
        self.envelope = envelope
    }
}

extension LogState {
    /// Decides on what is about an earlier message. Without that message it is kept until the message comes.
    ///
    /// - Parameters:
    ///   - message: the target, as the caller found it; nil when there was none.
    ///   - seal: the target's key; nil when there is none any more.
    package func decide(
        _ followUp: FollowUp,
        about message: LogPosition?,
        seal: KeyReference?,
        ids: OpaqueID,
        _ context: DecisionContext
    ) -> [NewEvent] {
        guard let client = clients[followUp.client], isNew(followUp.client, followUp.duplicateKey, followUp.parked)
        else {
            return []
        }
        guard let message, let row = inbox.messages[message], row.client == followUp.client else {
            return followUp.parked == .zero ? [park(followUp)] : []
        }
        let isReadable = !isPurged(message)
        let kept = isReadable ? seal.map { NewEvent.Seal.sameAs($0) } : nil
        var events = [record(followUp, message, row, kept)]
        if followUp.isUnsend, isReadable {
            events += purge(message, row, reason: "unsent", ids: ids, context, after: events)
        }
        // Of a message that waits for its one attempt, what the client asked to be told of it waits too.
        let told = followUp.isUnsend ? nil : kept
        let holds =
            told != nil && purges.watches.isInbound(message)
            && client.endpoint?.names(followUp.webhookType, followUp.platform) == true
        guard holds || client.mayReceive(followUp.platform, at: context.now) else { return events }
        events.append(tell(followUp, message, row, client, told, holds: holds, ids, context, after: events))
        return events
    }

    /// Whether this has not come before, but for the record in which it waited itself.
    private func isNew(_ client: LogPosition, _ key: LookupHash, _ parkedAt: LogPosition) -> Bool {
        guard let first = deduplication.first(client, key) else { return true }
        return first == parkedAt && parked.contains(parkedAt)
    }

    private func park(_ followUp: FollowUp) -> NewEvent {
        park(
            followUp.client,
            followUp.platform,
            duplicateKey: followUp.duplicateKey,
            target: followUp.target,
            customer: followUp.customer,
            envelope: followUp.envelope
        )
    }

    /// Keeps a report about a message that is not known as ours, or not yet. Empty when it was kept before.
    package func decideParking(
        _ client: LogPosition,
        _ platform: Platform,
        duplicateKey: LookupHash,
        target: LookupHash,
        customer: LookupHash?,
        envelope: [UInt8]
    ) -> [NewEvent] {
        guard clients[client] != nil, deduplication.first(client, duplicateKey) == nil else { return [] }
        return [
            park(client, platform, duplicateKey: duplicateKey, target: target, customer: customer, envelope: envelope)
        ]
    }

    private func park(
        _ client: LogPosition,
        _ platform: Platform,
        duplicateKey: LookupHash,
        target: LookupHash,
        customer: LookupHash?,
        envelope: [UInt8]
    ) -> NewEvent {
        var event = ProviderEventParked()
        event.platform = platform
        event.duplicateKey = duplicateKey
        event.target = target
        event.customer = customer ?? .absent
        let conversation = customer.flatMap { inbox.conversation(client, platform, $0)?.id } ?? .zero
        return NewEvent(
            .providerEventParked(event),
            client: client,
            conversation: conversation,
            bodies: [SealedPart(.content, envelope)],
            seal: .newKey(.message)
        )
    }

    /// - Parameter seal: the message's key; nil when its body is not kept.
    private func record(
        _ followUp: FollowUp,
        _ message: LogPosition,
        _ row: Inbox.MessageRow,
        _ seal: NewEvent.Seal?
    ) -> NewEvent {
        var bodies: [SealedPart] = []
        let recorded: Event
        switch followUp.kind {
        case .edit(_, let content):
            var event = MessageEdited()
            event.duplicateKey = followUp.duplicateKey
            event.number = number(followUp, message)
            event.providerTime = followUp.providerTime
            recorded = .messageEdited(event)
            bodies = [
                SealedPart(.content, content.stored(replyTo: nil)), SealedPart(.providerBytes, followUp.providerBytes),
            ]
        case .unsend:
            var event = MessageUnsent()
            event.duplicateKey = followUp.duplicateKey
            event.providerTime = followUp.providerTime
            recorded = .messageUnsent(event)
        case .reaction(let emoji):
            var event = MessageReacted()
            event.duplicateKey = followUp.duplicateKey
            event.removed = emoji.isEmpty
            event.providerTime = followUp.providerTime
            recorded = .messageReacted(event)
            bodies = [SealedPart(.content, JSONWriter.object { $0.string("emoji", emoji) })]
            bodies.append(SealedPart(.providerBytes, followUp.providerBytes))
        }
        return NewEvent(
            recorded,
            client: followUp.client,
            conversation: row.conversation,
            message: message,
            subject: followUp.parked,
            bodies: seal == nil ? [] : bodies,
            seal: seal ?? .newKey(.message)
        )
    }

    /// Providers that do not count edits leave it to us.
    private func number(_ followUp: FollowUp, _ message: LogPosition) -> UInt64 {
        guard case .edit(let number, _) = followUp.kind else { return 0 }
        return number > 0 ? number : (inbox.edits[message]?.number ?? 0) + 1
    }

    /// The event for the client. Of a message that is purged, or that its writer took back, it holds no content, and shares
    /// neither its key nor its fate.
    ///
    /// - Parameters:
    ///   - seal: the message's key; nil when the event shares it not.
    ///   - holds: whether it is kept for an endpoint where none takes it now.
    private func tell(
        _ followUp: FollowUp,
        _ message: LogPosition,
        _ row: Inbox.MessageRow,
        _ client: ClientRow,
        _ seal: NewEvent.Seal?,
        holds: Bool,
        _ ids: OpaqueID,
        _ context: DecisionContext,
        after earlier: [NewEvent]
    ) -> NewEvent {
        let isDetached = seal == nil
        let identifiers = followUp.identifiers.completed(by: followUp.known, in: inbox.current(row.conversation))
        return Publisher(state: self, ids: ids, context: context).publish(
            followUp.webhookType,
            client: client,
            platform: followUp.platform,
            conversation: row.conversation,
            message: isDetached ? .zero : message,
            after: earlier,
            seal: seal ?? .newKey(.message),
            holds: holds
        ) { writer, json in
            json.string("platform", followUp.platform.name)
            if !isDetached { writer.account(&json, identifiers) }
            describe(row.conversation, followUp.platform, client, writer, &json)
            if !isDetached { writer.customer(&json, identifiers) }
            json.object("message") { json in
                json.string("id", ids.encode(.message, message))
                json.string("direction", row.direction.name)
                followUp.describe(&json, number: number(followUp, message), withContent: !isDetached)
                writer.said(&json, at: followUp.providerTime, isStandby: followUp.isStandby)
            }
        }
    }

    // MARK: Echoes

    /// A message that the business sent outside Waybill: part of the conversation, and told to nobody, for whoever sent it knows.
    ///
    /// - Parameter inbound: the message, as if the customer had sent it; `customer` is who it went to.
    package func decideEcho(_ inbound: InboundMessage, _ context: DecisionContext) -> [NewEvent] {
        guard let client = clients[inbound.client], message(inbound.client, inbound.duplicateKey) == nil,
            deduplication.first(inbound.client, inbound.duplicateKey) == nil
        else { return [] }
        var (events, conversation) = opening(inbound, identity(inbound.named), context)
        var event = MessageEchoed()
        event.platform = inbound.platform
        event.kind = inbound.content.kind
        event.duplicateKey = inbound.duplicateKey
        event.providerTime = inbound.providerTime
        event.standby = inbound.isStandby
        let purges = client.settings.purgePlatforms.contains(inbound.platform)
        events.append(
            NewEvent(
                .messageEchoed(event),
                client: inbound.client,
                conversation: conversation,
                bodies: [
                    SealedPart(.content, inbound.content.stored(replyTo: nil)),
                    SealedPart(.providerBytes, inbound.providerBytes),
                ],
                seal: .newKey(purges ? .purgeModeMessage : .message)
            )
        )
        return events
    }
}

extension FollowUp {
    /// The types of events that tell of something about a message, and not of the message.
    static let webhookTypes: Set<String> = ["message.edited", "message.deleted", "message.reaction"]

    fileprivate var isUnsend: Bool { if case .unsend = kind { true } else { false } }

    fileprivate var webhookType: String {
        switch kind {
        case .edit: "message.edited"
        case .unsend: "message.deleted"
        case .reaction: "message.reaction"
        }
    }

    fileprivate func describe(_ json: inout JSONWriter, number: UInt64, withContent: Bool) {
        switch kind {
        case .edit(_, let content):
            json.number("edit_number", number)
            if withContent {
                content.writeParts(&json, replyTo: nil)
            } else {
                json.bool("purged", true)
            }
        case .unsend: json.bool("deleted", true)
        case .reaction(let emoji):
            json.object("reaction") { json in
                json.string("emoji", withContent && !emoji.isEmpty ? emoji : nil)
                json.bool("removed", emoji.isEmpty)
            }
        }
    }
}
