package import Log

/// Why no endpoint gets an event of Inbound Body Purge now. The raw value is part of the API: of the reason of a delivery that is
/// held, and of a dead letter that had no attempt.
package enum HoldReason: String, Sendable, CaseIterable {
    /// The add-on is not active, or the plan does not include the channel.
    case planRequired = "plan_required"
    case channelNotConnected = "channel_not_connected"
    /// None was ever set.
    case noEndpoint = "no_endpoint"
    case endpointDisabled = "endpoint_disabled"
    /// The endpoint's events or channels leave it out.
    case notSubscribed = "not_subscribed"
    /// An endpoint takes it, and its turn did not come in time.
    case notAttempted = "not_attempted"
}

extension ClientRow {
    /// What keeps inbound traffic of a platform from being forwarded.
    package func gate(_ platform: Platform, at now: Timestamp) -> HoldReason? {
        guard hasAddon(at: now) else { return .planRequired }
        switch platform {
        case .facebook, .instagram: break
        case .sms, .whatsapp: if !planIncludesPhone { return .planRequired }
        }
        return channels[platform] == nil ? .channelNotConnected : nil
    }

    /// What keeps an event from being delivered; nil when the endpoint gets it.
    package func obstacle(_ type: String, _ platform: Platform, at now: Timestamp) -> HoldReason? {
        if let gate = gate(platform, at: now) { return gate }
        guard let endpoint else { return .noEndpoint }
        guard endpoint.enabled else { return .endpointDisabled }
        return endpoint.names(type, platform) ? nil : .notSubscribed
    }

    /// Refuses Inbound Body Purge where its one attempt could never be: the endpoint must be enabled and take the messages.
    package func requireEndpoint(for platforms: Set<Platform>) throws(Refusal) {
        let missing = Platform.allCases.filter { platforms.contains($0) && endpoint?.takesMessages(of: $0) != true }
        guard let names = missing.events else { return }
        throw Refusal(
            .purgeRequiresWebhook,
            "a body that is purged at once must have somewhere to go: enable the webhook, with \(names) among its events and "
                + "channels, by PUT /v1/webhook first"
        )
    }
}

extension EndpointRow {
    /// Whether messages of customers on this platform are delivered to it.
    package func takesMessages(of platform: Platform) -> Bool { wants(platform.messageReceived, platform) }
}

extension [Platform] {
    /// The events that their messages are, for people; nil for none.
    fileprivate var events: String? {
        isEmpty ? nil : map { "\($0.messageReceived) of \($0.name)" }.joined(separator: " and ")
    }
}

extension LogState {
    /// How many deliveries one record names, so that it stays far below the size a record may have.
    private static let releasedMax = 10_000

    /// Refuses an endpoint that would leave out a channel whose bodies are purged at once.
    package func admit(_ change: EndpointConfigured, for client: LogPosition) throws(Refusal) {
        let endpoint = EndpointRow(.zero, change)
        let purged = clients[client]?.settings.purgePlatforms ?? []
        let missing = Platform.allCases.filter { purged.contains($0) && !endpoint.takesMessages(of: $0) }
        guard let names = missing.events else { return }
        throw Refusal(
            .purgeRequiresWebhook,
            "Inbound Body Purge is on, so the webhook must stay enabled with \(names) among its events and channels; else "
                + "switch the purge off with PATCH /v1/settings first"
        )
    }

    /// The held deliveries that go on because of a change to the client's account, channels or endpoint. In one batch with it, so
    /// that what comes later in a conversation is not before them.
    ///
    /// - Parameter change: the first event of the batch.
    package func released(by change: NewEvent, _ context: DecisionContext) -> [NewEvent] {
        guard let held = deliveries.held[change.client], let before = clients[change.client] else { return [] }
        let client = before.after(change, context)
        let open = held.filter { delivery, type in
            guard let row = deliveries.rows[delivery], let platform = inbox.conversations[row.conversation]?.platform,
                !purges.watches.isOver(row.message, context.now)
            else { return false }
            return client.obstacle(type, platform, at: context.now) == nil
        }.keys.sorted()
        return stride(from: 0, to: open.count, by: LogState.releasedMax).map { first in
            var event = DeliveryReleased()
            event.deliveries.values = Array(open[first..<min(first + LogState.releasedMax, open.count)])
            return NewEvent(.deliveryReleased(event), client: change.client)
        }
    }

    /// Why the endpoint had no attempt at what it was to be told of a message; nil when there is nothing of that kind.
    func neglect(of message: LogPosition, _ row: Inbox.MessageRow, at now: Timestamp) -> String? {
        guard let delivery = deliveries.unattempted(message) else { return nil }
        let client = clients[row.client]
        if let reason = deliveries.rows[delivery]?.heldFor, !reason.isEmpty {
            let type = deliveries.held[row.client]?[delivery] ?? ""
            return client?.obstacle(type, row.platform, at: now)?.rawValue ?? reason
        }
        // It was meant for the endpoint when it came, whatever was changed since, and only waited for its turn.
        guard let endpoint = client?.endpoint else { return HoldReason.noEndpoint.rawValue }
        return (endpoint.enabled ? HoldReason.notAttempted : .endpointDisabled).rawValue
    }
}
