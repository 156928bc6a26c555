/// The number and public name of an event type.
package enum EventType: UInt16, Sendable, CaseIterable {
    case logCreated = 1
    case tailDiscarded = 2
    case clockJumped = 3
    case processStarted = 4
    case processStopped = 5
    case rootKeyRotated = 6
    case logKeyRotated = 7
    case logRestored = 8
    case tokenCreated = 9
    case tokenRevoked = 10
    case logBackedUp = 11
    case tokenUsed = 12
    case logSalvaged = 13
    case recordLost = 14
    case clientCreated = 32
    case clientUpdated = 33
    case clientDeleted = 34
    case apiKeyCreated = 35
    case apiKeyExpires = 36
    case webhookSecretCreated = 37
    case webhookSecretExpires = 38
    case settingsChanged = 39
    case channelConnected = 40
    case channelDisconnected = 41
    case channelPaused = 42
    case channelResumed = 43
    case endpointConfigured = 44
    case endpointDisabled = 45
    case endpointProbed = 46
    case conversationOpened = 64
    case conversationIdentified = 65
    case conversationUpdated = 66
    case conversationEscalated = 67
    case conversationResolved = 68
    case conversationAttributed = 69
    case eraseRequested = 70
    case conversationErased = 71
    case customerOptedOut = 72
    case customerOptedIn = 73
    case leadCaptured = 74
    case conversationReaddressed = 75
    case conversationJoined = 76
    case messageReceived = 96
    case messageEdited = 97
    case messageUnsent = 98
    case messageReacted = 99
    case messageEchoed = 100
    case providerEventUnrecognized = 101
    case providerEventParked = 102
    case mediaFetched = 103
    case mediaFailed = 104
    case messageStatusChanged = 105
    case sendAccepted = 128
    case sendRefused = 129
    case sendCanceled = 130
    case sendExpired = 131
    case sendStarted = 132
    case sendFinished = 133
    case sendReconciled = 134
    case eventPublished = 160
    case deliveryStarted = 161
    case deliveryFinished = 162
    case deliveryReplayed = 163
    case deliveryDiscarded = 164
    case deliveryReleased = 165
    case purgeRequested = 192
    case purgeCompleted = 193
    case aiReplied = 194

    /// The name in `replay` and in the audit API.
    package var name: String {
        switch self {
        case .logCreated: "log.created"
        case .tailDiscarded: "log.tail_discarded"
        case .clockJumped: "clock.jumped"
        case .processStarted: "process.started"
        case .processStopped: "process.stopped"
        case .rootKeyRotated: "key.root_rotated"
        case .logKeyRotated: "key.log_rotated"
        case .logRestored: "log.restored"
        case .logBackedUp: "log.backed_up"
        case .logSalvaged: "log.salvaged"
        case .recordLost: "log.record_lost"
        case .tokenCreated: "token.created"
        case .tokenRevoked: "token.revoked"
        case .tokenUsed: "token.used"
        case .clientCreated: "client.created"
        case .clientUpdated: "client.updated"
        case .clientDeleted: "client.deleted"
        case .apiKeyCreated: "api_key.created"
        case .apiKeyExpires: "api_key.expires"
        case .webhookSecretCreated: "webhook_secret.created"
        case .webhookSecretExpires: "webhook_secret.expires"
        case .settingsChanged: "settings.changed"
        case .channelConnected: "channel.connected"
        case .channelDisconnected: "channel.disconnected"
        case .channelPaused: "channel.paused"
        case .channelResumed: "channel.resumed"
        case .endpointConfigured: "endpoint.configured"
        case .endpointDisabled: "endpoint.disabled"
        case .endpointProbed: "endpoint.probed"
        case .conversationOpened: "conversation.opened"
        case .conversationIdentified: "conversation.identified"
        case .conversationUpdated: "conversation.updated"
        case .conversationEscalated: "conversation.escalated"
        case .conversationResolved: "conversation.resolved"
        case .conversationAttributed: "conversation.attributed"
        case .eraseRequested: "conversation.erase_requested"
        case .conversationErased: "conversation.erased"
        case .customerOptedOut: "customer.opted_out"
        case .customerOptedIn: "customer.opted_in"
        case .leadCaptured: "lead.captured"
        case .conversationReaddressed: "conversation.readdressed"
        case .conversationJoined: "conversation.joined"
        case .messageReceived: "message.received"
        case .messageEdited: "message.edited"
        case .messageUnsent: "message.unsent"
        case .messageReacted: "message.reacted"
        case .messageEchoed: "message.echoed"
        case .providerEventUnrecognized: "provider_event.unrecognized"
        case .providerEventParked: "provider_event.parked"
        case .mediaFetched: "media.fetched"
        case .mediaFailed: "media.failed"
        case .messageStatusChanged: "message.status_changed"
        case .sendAccepted: "send.accepted"
        case .sendRefused: "send.refused"
        case .sendCanceled: "send.canceled"
        case .sendExpired: "send.expired"
        case .sendStarted: "send.started"
        case .sendFinished: "send.finished"
        case .sendReconciled: "send.reconciled"
        case .eventPublished: "event.published"
        case .deliveryStarted: "delivery.started"
        case .deliveryFinished: "delivery.finished"
        case .deliveryReplayed: "delivery.replayed"
        case .deliveryDiscarded: "delivery.discarded"
        case .deliveryReleased: "delivery.released"
        case .purgeRequested: "purge.requested"
        case .purgeCompleted: "purge.completed"
        case .aiReplied: "ai.replied"
        }
    }

    /// An empty event of this type, to ask it for its fields.
    package var prototype: Event {
        switch self {
        case .logCreated: .logCreated(LogCreated())
        case .tailDiscarded: .tailDiscarded(TailDiscarded())
        case .clockJumped: .clockJumped(ClockJumped())
        case .processStarted: .processStarted(ProcessStarted())
        case .processStopped: .processStopped(ProcessStopped())
        case .rootKeyRotated: .rootKeyRotated(RootKeyRotated())
        case .logKeyRotated: .logKeyRotated(LogKeyRotated())
        case .logRestored: .logRestored(LogRestored())
        case .logBackedUp: .logBackedUp(LogBackedUp())
        case .logSalvaged: .logSalvaged(LogSalvaged())
        case .recordLost: .recordLost(RecordLost())
        case .tokenCreated: .tokenCreated(TokenCreated())
        case .tokenRevoked: .tokenRevoked(TokenRevoked())
        case .tokenUsed: .tokenUsed(TokenUsed())
        case .clientCreated: .clientCreated(ClientCreated())
        case .clientUpdated: .clientUpdated(ClientUpdated())
        case .clientDeleted: .clientDeleted(ClientDeleted())
        case .apiKeyCreated: .apiKeyCreated(APIKeyCreated())
        case .apiKeyExpires: .apiKeyExpires(APIKeyExpires())
        case .webhookSecretCreated: .webhookSecretCreated(WebhookSecretCreated())
        case .webhookSecretExpires: .webhookSecretExpires(WebhookSecretExpires())
        case .settingsChanged: .settingsChanged(SettingsChanged())
        case .channelConnected: .channelConnected(ChannelConnected())
        case .channelDisconnected: .channelDisconnected(ChannelDisconnected())
        case .channelPaused: .channelPaused(ChannelPaused())
        case .channelResumed: .channelResumed(ChannelResumed())
        case .endpointConfigured: .endpointConfigured(EndpointConfigured())
        case .endpointDisabled: .endpointDisabled(EndpointDisabled())
        case .endpointProbed: .endpointProbed(EndpointProbed())
        case .conversationOpened: .conversationOpened(ConversationOpened())
        case .conversationIdentified: .conversationIdentified(ConversationIdentified())
        case .conversationUpdated: .conversationUpdated(ConversationUpdated())
        case .conversationEscalated: .conversationEscalated(ConversationEscalated())
        case .conversationResolved: .conversationResolved(ConversationResolved())
        case .conversationAttributed: .conversationAttributed(ConversationAttributed())
        case .eraseRequested: .eraseRequested(EraseRequested())
        case .conversationErased: .conversationErased(ConversationErased())
        case .customerOptedOut: .customerOptedOut(CustomerOptedOut())
        case .customerOptedIn: .customerOptedIn(CustomerOptedIn())
        case .leadCaptured: .leadCaptured(LeadCaptured())
        case .conversationReaddressed: .conversationReaddressed(ConversationReaddressed())
        case .conversationJoined: .conversationJoined(ConversationJoined())
        case .messageReceived: .messageReceived(MessageReceived())
        case .messageEdited: .messageEdited(MessageEdited())
        case .messageUnsent: .messageUnsent(MessageUnsent())
        case .messageReacted: .messageReacted(MessageReacted())
        case .messageEchoed: .messageEchoed(MessageEchoed())
        case .providerEventUnrecognized: .providerEventUnrecognized(ProviderEventUnrecognized())
        case .providerEventParked: .providerEventParked(ProviderEventParked())
        case .mediaFetched: .mediaFetched(MediaFetched())
        case .mediaFailed: .mediaFailed(MediaFailed())
        case .messageStatusChanged: .messageStatusChanged(MessageStatusChanged())
        case .sendAccepted: .sendAccepted(SendAccepted())
        case .sendRefused: .sendRefused(SendRefused())
        case .sendCanceled: .sendCanceled(SendCanceled())
        case .sendExpired: .sendExpired(SendExpired())
        case .sendStarted: .sendStarted(SendStarted())
        case .sendFinished: .sendFinished(SendFinished())
        case .sendReconciled: .sendReconciled(SendReconciled())
        case .eventPublished: .eventPublished(EventPublished())
        case .deliveryStarted: .deliveryStarted(DeliveryStarted())
        case .deliveryFinished: .deliveryFinished(DeliveryFinished())
        case .deliveryReplayed: .deliveryReplayed(DeliveryReplayed())
        case .deliveryDiscarded: .deliveryDiscarded(DeliveryDiscarded())
        case .deliveryReleased: .deliveryReleased(DeliveryReleased())
        case .purgeRequested: .purgeRequested(PurgeRequested())
        case .purgeCompleted: .purgeCompleted(PurgeCompleted())
        case .aiReplied: .aiReplied(AIReplied())
        }
    }

    package static func named(_ name: String) -> EventType? { allCases.first { $0.name == name } }
}

extension EventType {
    /// Whether the event changes who may come in, or what is known of a client's account: tokens, and all that is numbered
    /// with the accounts.
    package var changesAccess: Bool {
        self == .tokenCreated || self == .tokenRevoked || self == .tokenUsed
            || (EventType.clientCreated.rawValue...EventType.endpointProbed.rawValue).contains(rawValue)
    }
}
