package import Log

/// A request of a client to send one message, checked for form by the edge.
package struct SendRequest: Sendable {
    package enum Recipient: Sendable {
        case conversation(LogPosition)
        /// A phone number: its keyed hash and itself.
        case phone(LookupHash, String)
        /// A provider's id of a customer, which must be known already.
        case platformUser(LookupHash)
    }

    package var client: LogPosition
    package var platform: Platform
    package var recipient: Recipient
    package var kind: String
    /// The request as JSON; sealed.
    package var content: [UInt8]
    /// Keyed hash of the idempotency key.
    package var key: LookupHash
    /// Keyed hash of everything in the request but the key.
    package var fingerprint: LookupHash
    package var keyExpiresAt: Timestamp
    /// Zero: never.
    package var expiresAt: Timestamp
    package var segments: UInt64
    /// Year × 100 + month in the client's time zone.
    package var usageMonth: UInt64
    package var queueMax: Int

    package init(
        client: LogPosition,
        platform: Platform,
        recipient: Recipient,
        kind: String,
        content: [UInt8],
        key: LookupHash,
        fingerprint: LookupHash,
        keyExpiresAt: Timestamp,
        expiresAt: Timestamp,
        segments: UInt64,
        usageMonth: UInt64,
        queueMax: Int
    ) {
        self.client = client
        self.platform = platform
        self.recipient = recipient
        self.kind = kind
        self.content = content
        self.key = key
        self.fingerprint = fingerprint
        self.keyExpiresAt = keyExpiresAt
        self.expiresAt = expiresAt
        self.segments = segments
        self.usageMonth = usageMonth
        self.queueMax = queueMax
    }
}

/// What a send request comes to.
package enum SendDecision: Sendable {
    /// The last event is the acceptance; its position is the message.
    case accepted([NewEvent], conversation: LogPosition)
    /// The same request was accepted before, as this message.
    case replayed(LogPosition)
    /// Refused on policy; the events put that on record without a body.
    case refused(Refusal, [NewEvent])
}

extension LogState {
    package func decide(_ request: SendRequest, _ context: DecisionContext) -> SendDecision {
        if let entry = idempotency.entry(request.client, request.key, at: context.now) {
            if entry.fingerprint == request.fingerprint { return .replayed(entry.message) }
            let detail = "this idempotency key was used with another request; use a new key for a new message"
            return refused(request, Refusal(.idempotencyMismatch, detail))
        }
        do throws(Refusal) {
            let client = try checkAddon(request, context.now)
            if case .platformUser = request.recipient { _ = try resolve(request, client, context) }
            try checkChannel(request, client)
            let (conversation, opening) = try resolve(request, client, context)
            try checkLimits(request, client)
            var event = SendAccepted()
            event.platform = request.platform
            event.kind = request.kind
            event.key = request.key
            event.fingerprint = request.fingerprint
            event.keyExpiresAt = request.keyExpiresAt
            event.expiresAt = request.expiresAt
            event.segments = request.segments
            event.usageMonth = request.usageMonth
            event.opens = opening != nil
            event.purges = client.settings.purgePlatforms.contains(request.platform)
            let accepted = NewEvent(
                .sendAccepted(event),
                client: request.client,
                conversation: conversation,
                bodies: [(.content, request.content)],
                seal: .newKey(event.purges ? .purgeModeMessage : .message)
            )
            return .accepted((opening.map { [$0] } ?? []) + [accepted], conversation: conversation)
        } catch {
            return refused(request, error)
        }
    }

    private func refused(_ request: SendRequest, _ refusal: Refusal) -> SendDecision {
        var event = SendRefused()
        event.platform = request.platform
        event.code = refusal.code.rawValue
        return .refused(refusal, [NewEvent(.sendRefused(event), client: request.client)])
    }

    private func checkAddon(_ request: SendRequest, _ now: Timestamp) throws(Refusal) -> ClientRow {
        guard let client = clients[request.client] else { throw Refusal(.notFound, "the client does not exist") }
        guard client.hasAddon(at: now) else {
            throw Refusal(.planRequired, "the Send API needs the add-on, active or in trial")
        }
        return client
    }

    private func checkChannel(_ request: SendRequest, _ client: ClientRow) throws(Refusal) {
        switch request.platform {
        case .sms:
            guard client.planIncludesPhone, client.channels[.sms] != nil else {
                throw Refusal(
                    .smsNotEnabled,
                    "SMS needs the professional or business plan and a number set by the operator"
                )
            }
        case .whatsapp:
            guard client.planIncludesPhone else {
                throw Refusal(.planRequired, "WhatsApp needs the professional or business plan")
            }
            fallthrough
        case .facebook, .instagram:
            guard client.channels[request.platform] != nil else {
                throw Refusal(.channelNotConnected, "connect \(request.platform.name) before sending over it")
            }
            throw Refusal(.unsupportedChannel, "this version sends over sms only")
        }
    }

    /// Finds the conversation, or opens one for a phone number that is new.
    private func resolve(
        _ request: SendRequest,
        _ client: ClientRow,
        _ context: DecisionContext
    ) throws(Refusal) -> (LogPosition, NewEvent?) {
        switch request.recipient {
        case .conversation(let id):
            guard let row = inbox.conversations[id], row.client == request.client else {
                throw Refusal(.unknownRecipient, "there is no such conversation")
            }
            if row.status == .erased { throw Refusal(.conversationErased, "the conversation was erased") }
            try checkConsent(request, row.customer)
            return (id, nil)
        case .phone(let hash, let phone):
            try checkConsent(request, hash)
            if let row = inbox.conversation(request.client, request.platform, hash) { return (row.id, nil) }
            var identifiers = ConversationIdentifiers()
            identifiers.phone = phone
            let opening = NewEvent.opening(
                client: request.client,
                platform: request.platform,
                customer: hash,
                account: client.channels[request.platform]?.account ?? .absent,
                identifiers: identifiers
            )
            return (context.next, opening)
        case .platformUser(let hash):
            guard let row = inbox.conversation(request.client, request.platform, hash) else {
                throw Refusal(.unknownRecipient, "nobody with this platform_user_id has written yet")
            }
            try checkConsent(request, hash)
            return (row.id, nil)
        }
    }

    private func checkConsent(_ request: SendRequest, _ customer: LookupHash) throws(Refusal) {
        if optOuts.contains(request.client, request.platform, customer) {
            throw Refusal(.recipientOptedOut, "the customer opted out; only a START from them opens the way again")
        }
    }

    private func checkLimits(_ request: SendRequest, _ client: ClientRow) throws(Refusal) {
        if sends.countByClient[request.client, default: 0] >= request.queueMax {
            throw Refusal(.queueFull, "\(request.queueMax) messages wait already; send slower")
        }
        let month = usage.month(request.client, request.usageMonth)
        if request.platform == .sms, month.used + month.reserved >= client.smsMonthlyQuota {
            throw Refusal(.smsQuotaExceeded, "the month's quota of \(client.smsMonthlyQuota) SMS is used up")
        }
    }
}
