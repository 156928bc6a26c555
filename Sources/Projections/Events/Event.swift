/// Everything that can happen: one case per event type, with its payload.
///
/// The numbers in `EventType` are part of the format and are never used again for something else.
package enum Event: Sendable, Equatable {
    case logCreated(LogCreated)
    case tailDiscarded(TailDiscarded)
    case clockJumped(ClockJumped)
    case processStarted(ProcessStarted)
    case processStopped(ProcessStopped)
    case rootKeyRotated(RootKeyRotated)
    case logKeyRotated(LogKeyRotated)
    case logRestored(LogRestored)
    case logBackedUp(LogBackedUp)
    case logSalvaged(LogSalvaged)
    case recordLost(RecordLost)
    case tokenCreated(TokenCreated)
    case tokenRevoked(TokenRevoked)
    case tokenUsed(TokenUsed)
    case clientCreated(ClientCreated)
    case clientUpdated(ClientUpdated)
    case clientDeleted(ClientDeleted)
    case apiKeyCreated(APIKeyCreated)
    case apiKeyExpires(APIKeyExpires)
    case webhookSecretCreated(WebhookSecretCreated)
    case webhookSecretExpires(WebhookSecretExpires)
    case settingsChanged(SettingsChanged)
    case channelConnected(ChannelConnected)
    case channelDisconnected(ChannelDisconnected)
    case channelPaused(ChannelPaused)
    case channelResumed(ChannelResumed)
    case endpointConfigured(EndpointConfigured)
    case endpointDisabled(EndpointDisabled)
    case endpointProbed(EndpointProbed)
    case conversationOpened(ConversationOpened)
    case conversationIdentified(ConversationIdentified)
    case conversationUpdated(ConversationUpdated)
    case conversationEscalated(ConversationEscalated)
    case conversationResolved(ConversationResolved)
    case conversationAttributed(ConversationAttributed)
    case eraseRequested(EraseRequested)
    case conversationErased(ConversationErased)
    case customerOptedOut(CustomerOptedOut)
    case customerOptedIn(CustomerOptedIn)
    case leadCaptured(LeadCaptured)
    case conversationReaddressed(ConversationReaddressed)
    case conversationJoined(ConversationJoined)
    case messageReceived(MessageReceived)
    case messageEdited(MessageEdited)
    case messageUnsent(MessageUnsent)
    case messageReacted(MessageReacted)
    case messageEchoed(MessageEchoed)
    case providerEventUnrecognized(ProviderEventUnrecognized)
    case providerEventParked(ProviderEventParked)
    case mediaFetched(MediaFetched)
    case mediaFailed(MediaFailed)
    case messageStatusChanged(MessageStatusChanged)
    case sendAccepted(SendAccepted)
    case sendRefused(SendRefused)
    case sendCanceled(SendCanceled)
    case sendExpired(SendExpired)
    case sendStarted(SendStarted)
    case sendFinished(SendFinished)
    case sendReconciled(SendReconciled)
    case eventPublished(EventPublished)
    case deliveryStarted(DeliveryStarted)
    case deliveryFinished(DeliveryFinished)
    case deliveryReplayed(DeliveryReplayed)
    case deliveryDiscarded(DeliveryDiscarded)
    case deliveryReleased(DeliveryReleased)
    case purgeRequested(PurgeRequested)
    case purgeCompleted(PurgeCompleted)
    case aiReplied(AIReplied)
}

extension Event {
    package var type: EventType {
        switch self {
        case .logCreated: .logCreated
        case .tailDiscarded: .tailDiscarded
        case .clockJumped: .clockJumped
        case .processStarted: .processStarted
        case .processStopped: .processStopped
        case .rootKeyRotated: .rootKeyRotated
        case .logKeyRotated: .logKeyRotated
        case .logRestored: .logRestored
        case .logBackedUp: .logBackedUp
        case .logSalvaged: .logSalvaged
        case .recordLost: .recordLost
        case .tokenCreated: .tokenCreated
        case .tokenRevoked: .tokenRevoked
        case .tokenUsed: .tokenUsed
        case .clientCreated: .clientCreated
        case .clientUpdated: .clientUpdated
        case .clientDeleted: .clientDeleted
        case .apiKeyCreated: .apiKeyCreated
        case .apiKeyExpires: .apiKeyExpires
        case .webhookSecretCreated: .webhookSecretCreated
        case .webhookSecretExpires: .webhookSecretExpires
        case .settingsChanged: .settingsChanged
        case .channelConnected: .channelConnected
        case .channelDisconnected: .channelDisconnected
        case .channelPaused: .channelPaused
        case .channelResumed: .channelResumed
        case .endpointConfigured: .endpointConfigured
        case .endpointDisabled: .endpointDisabled
        case .endpointProbed: .endpointProbed
        case .conversationOpened: .conversationOpened
        case .conversationIdentified: .conversationIdentified
        case .conversationUpdated: .conversationUpdated
        case .conversationEscalated: .conversationEscalated
        case .conversationResolved: .conversationResolved
        case .conversationAttributed: .conversationAttributed
        case .eraseRequested: .eraseRequested
        case .conversationErased: .conversationErased
        case .customerOptedOut: .customerOptedOut
        case .customerOptedIn: .customerOptedIn
        case .leadCaptured: .leadCaptured
        case .conversationReaddressed: .conversationReaddressed
        case .conversationJoined: .conversationJoined
        case .messageReceived: .messageReceived
        case .messageEdited: .messageEdited
        case .messageUnsent: .messageUnsent
        case .messageReacted: .messageReacted
        case .messageEchoed: .messageEchoed
        case .providerEventUnrecognized: .providerEventUnrecognized
        case .providerEventParked: .providerEventParked
        case .mediaFetched: .mediaFetched
        case .mediaFailed: .mediaFailed
        case .messageStatusChanged: .messageStatusChanged
        case .sendAccepted: .sendAccepted
        case .sendRefused: .sendRefused
        case .sendCanceled: .sendCanceled
        case .sendExpired: .sendExpired
        case .sendStarted: .sendStarted
        case .sendFinished: .sendFinished
        case .sendReconciled: .sendReconciled
        case .eventPublished: .eventPublished
        case .deliveryStarted: .deliveryStarted
        case .deliveryFinished: .deliveryFinished
        case .deliveryReplayed: .deliveryReplayed
        case .deliveryDiscarded: .deliveryDiscarded
        case .deliveryReleased: .deliveryReleased
        case .purgeRequested: .purgeRequested
        case .purgeCompleted: .purgeCompleted
        case .aiReplied: .aiReplied
        }
    }

    private func withPayload<Result>(_ body: (any EventPayload) -> Result) -> Result {
        switch self {
        case .logCreated(let payload): body(payload)
        case .tailDiscarded(let payload): body(payload)
        case .clockJumped(let payload): body(payload)
        case .processStarted(let payload): body(payload)
        case .processStopped(let payload): body(payload)
        case .rootKeyRotated(let payload): body(payload)
        case .logKeyRotated(let payload): body(payload)
        case .logRestored(let payload): body(payload)
        case .logBackedUp(let payload): body(payload)
        case .logSalvaged(let payload): body(payload)
        case .recordLost(let payload): body(payload)
        case .tokenCreated(let payload): body(payload)
        case .tokenRevoked(let payload): body(payload)
        case .tokenUsed(let payload): body(payload)
        case .clientCreated(let payload): body(payload)
        case .clientUpdated(let payload): body(payload)
        case .clientDeleted(let payload): body(payload)
        case .apiKeyCreated(let payload): body(payload)
        case .apiKeyExpires(let payload): body(payload)
        case .webhookSecretCreated(let payload): body(payload)
        case .webhookSecretExpires(let payload): body(payload)
        case .settingsChanged(let payload): body(payload)
        case .channelConnected(let payload): body(payload)
        case .channelDisconnected(let payload): body(payload)
        case .channelPaused(let payload): body(payload)
        case .channelResumed(let payload): body(payload)
        case .endpointConfigured(let payload): body(payload)
        case .endpointDisabled(let payload): body(payload)
        case .endpointProbed(let payload): body(payload)
        case .conversationOpened(let payload): body(payload)
        case .conversationIdentified(let payload): body(payload)
        case .conversationUpdated(let payload): body(payload)
        case .conversationEscalated(let payload): body(payload)
        case .conversationResolved(let payload): body(payload)
        case .conversationAttributed(let payload): body(payload)
        case .eraseRequested(let payload): body(payload)
        case .conversationErased(let payload): body(payload)
        case .customerOptedOut(let payload): body(payload)
        case .customerOptedIn(let payload): body(payload)
        case .leadCaptured(let payload): body(payload)
        case .conversationReaddressed(let payload): body(payload)
        case .conversationJoined(let payload): body(payload)
        case .messageReceived(let payload): body(payload)
        case .messageEdited(let payload): body(payload)
        case .messageUnsent(let payload): body(payload)
        case .messageReacted(let payload): body(payload)
        case .messageEchoed(let payload): body(payload)
        case .providerEventUnrecognized(let payload): body(payload)
        case .providerEventParked(let payload): body(payload)
        case .mediaFetched(let payload): body(payload)
        case .mediaFailed(let payload): body(payload)
        case .messageStatusChanged(let payload): body(payload)
        case .sendAccepted(let payload): body(payload)
        case .sendRefused(let payload): body(payload)
        case .sendCanceled(let payload): body(payload)
        case .sendExpired(let payload): body(payload)
        case .sendStarted(let payload): body(payload)
        case .sendFinished(let payload): body(payload)
        case .sendReconciled(let payload): body(payload)
        case .eventPublished(let payload): body(payload)
        case .deliveryStarted(let payload): body(payload)
        case .deliveryFinished(let payload): body(payload)
        case .deliveryReplayed(let payload): body(payload)
        case .deliveryDiscarded(let payload): body(payload)
        case .deliveryReleased(let payload): body(payload)
        case .purgeRequested(let payload): body(payload)
        case .purgeCompleted(let payload): body(payload)
        case .aiReplied(let payload): body(payload)
        }
    }

    package var encodedPayload: [UInt8] { withPayload { $0.encoded } }

    /// The payload as a JSON object.
    package var describedPayload: [UInt8] {
        withPayload { payload in
            var payload = payload
            return payload.described
        }
    }

    package var fields: [(number: Int, name: String, kind: FieldKind)] {
        withPayload { payload in
            var payload = payload
            return payload.schema
        }
    }

    /// Nil when the payload does not fit the type.
    package init?(_ type: EventType, payload bytes: UnsafeRawBufferPointer) {
        func decode<Payload: EventPayload>(_ wrap: (Payload) -> Event) -> Event? { Payload(decoding: bytes).map(wrap) }
        let event: Event? =
            switch type {
            case .logCreated: decode(Event.logCreated)
            case .tailDiscarded: decode(Event.tailDiscarded)
            case .clockJumped: decode(Event.clockJumped)
            case .processStarted: decode(Event.processStarted)
            case .processStopped: decode(Event.processStopped)
            case .rootKeyRotated: decode(Event.rootKeyRotated)
            case .logKeyRotated: decode(Event.logKeyRotated)
            case .logRestored: decode(Event.logRestored)
            case .logBackedUp: decode(Event.logBackedUp)
            case .logSalvaged: decode(Event.logSalvaged)
            case .recordLost: decode(Event.recordLost)
            case .tokenCreated: decode(Event.tokenCreated)
            case .tokenRevoked: decode(Event.tokenRevoked)
            case .tokenUsed: decode(Event.tokenUsed)
            case .clientCreated: decode(Event.clientCreated)
            case .clientUpdated: decode(Event.clientUpdated)
            case .clientDeleted: decode(Event.clientDeleted)
            case .apiKeyCreated: decode(Event.apiKeyCreated)
            case .apiKeyExpires: decode(Event.apiKeyExpires)
            case .webhookSecretCreated: decode(Event.webhookSecretCreated)
            case .webhookSecretExpires: decode(Event.webhookSecretExpires)
            case .settingsChanged: decode(Event.settingsChanged)
            case .channelConnected: decode(Event.channelConnected)
            case .channelDisconnected: decode(Event.channelDisconnected)
            case .channelPaused: decode(Event.channelPaused)
            case .channelResumed: decode(Event.channelResumed)
            case .endpointConfigured: decode(Event.endpointConfigured)
            case .endpointDisabled: decode(Event.endpointDisabled)
            case .endpointProbed: decode(Event.endpointProbed)
            case .conversationOpened: decode(Event.conversationOpened)
            case .conversationIdentified: decode(Event.conversationIdentified)
            case .conversationUpdated: decode(Event.conversationUpdated)
            case .conversationEscalated: decode(Event.conversationEscalated)
            case .conversationResolved: decode(Event.conversationResolved)
            case .conversationAttributed: decode(Event.conversationAttributed)
            case .eraseRequested: decode(Event.eraseRequested)
            case .conversationErased: decode(Event.conversationErased)
            case .customerOptedOut: decode(Event.customerOptedOut)
            case .customerOptedIn: decode(Event.customerOptedIn)
            case .leadCaptured: decode(Event.leadCaptured)
            case .conversationReaddressed: decode(Event.conversationReaddressed)
            case .conversationJoined: decode(Event.conversationJoined)
            case .messageReceived: decode(Event.messageReceived)
            case .messageEdited: decode(Event.messageEdited)
            case .messageUnsent: decode(Event.messageUnsent)
            case .messageReacted: decode(Event.messageReacted)
            case .messageEchoed: decode(Event.messageEchoed)
            case .providerEventUnrecognized: decode(Event.providerEventUnrecognized)
            case .providerEventParked: decode(Event.providerEventParked)
            case .mediaFetched: decode(Event.mediaFetched)
            case .mediaFailed: decode(Event.mediaFailed)
            case .messageStatusChanged: decode(Event.messageStatusChanged)
            case .sendAccepted: decode(Event.sendAccepted)
            case .sendRefused: decode(Event.sendRefused)
            case .sendCanceled: decode(Event.sendCanceled)
            case .sendExpired: decode(Event.sendExpired)
            case .sendStarted: decode(Event.sendStarted)
            case .sendFinished: decode(Event.sendFinished)
            case .sendReconciled: decode(Event.sendReconciled)
            case .eventPublished: decode(Event.eventPublished)
            case .deliveryStarted: decode(Event.deliveryStarted)
            case .deliveryFinished: decode(Event.deliveryFinished)
            case .deliveryReplayed: decode(Event.deliveryReplayed)
            case .deliveryDiscarded: decode(Event.deliveryDiscarded)
            case .deliveryReleased: decode(Event.deliveryReleased)
            case .purgeRequested: decode(Event.purgeRequested)
            case .purgeCompleted: decode(Event.purgeCompleted)
            case .aiReplied: decode(Event.aiReplied)
            }
        guard let event else { return nil }
        self = event
    }
}

extension EventPayload {
    fileprivate var described: [UInt8] {
        mutating get {
            var describer = FieldDescriber(json: JSONWriter())
            var copy = self
            describer.json.object { json in
                var inner = FieldDescriber(json: json)
                copy.visit(&inner)
                json = inner.json
            }
            return describer.json.bytes
        }
    }

    fileprivate var schema: [(number: Int, name: String, kind: FieldKind)] {
        mutating get {
            var collector = SchemaCollector()
            visit(&collector)
            return collector.fields
        }
    }
}
