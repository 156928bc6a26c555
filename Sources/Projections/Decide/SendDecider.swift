package import Log

/// A request of a client to send one message, checked for form by the edge.
package struct SendRequest: Sendable {
    package enum Recipient: Sendable {
        case conversation(LogPosition)
        /// A phone number: its keyed hash and itself.
        case phone(LookupHash, String)
        /// A provider's id of a customer, which must be known already: its keyed hash on each platform that may be meant.
        case platformUser([Platform: LookupHash])
    }

    package var client: LogPosition
    /// Nil when the recipient says it.
    package var platform: Platform?
    package var recipient: Recipient
    /// What earlier versions of Waybill made of the recipient's addresses, where that was something else.
    package var earlierAddresses: [LookupHash] = []
    /// The conversation that is found by those alone, and whose identifiers name the recipient.
    package var earlierConversation: LogPosition?
    package var kind: String
    /// Why this cannot be said on a platform, for those where it cannot.
    package var unsupported: [Platform: Refusal] = [:]
    /// The message that this one is about or answers.
    package var refersTo: LogPosition?
    /// Whether it may be said at any time.
    package var isTemplate = false
    /// Meta's seven days for answers written by a person.
    package var isByHuman = false
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
        platform: Platform?,
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
            return refused(request, Refusal(.idempotencyMismatch, detail), request.platform ?? .sms)
        }
        var platform = request.platform ?? .sms
        do throws(Refusal) {
            let client = try checkAddon(request, context.now)
            let place = try addressed(request)
            platform = place.platform
            try checkChannel(platform, client)
            if let refusal = request.unsupported[platform] { throw refusal }
            let (conversation, opening) = try conversation(request, place, client, context)
            let windowUntil = try checkWindow(request, place, context.now)
            try checkReference(request, place)
            try checkLimits(request, platform, client)
            var event = SendAccepted()
            event.platform = platform
            event.kind = request.kind
            event.key = request.key
            event.fingerprint = request.fingerprint
            event.keyExpiresAt = request.keyExpiresAt
            event.expiresAt = request.expiresAt
            event.segments = platform == .sms ? request.segments : 1
            event.usageMonth = request.usageMonth
            event.opens = opening != nil
            event.purges = client.settings.purgePlatforms.contains(platform)
            event.windowUntil = windowUntil
            let accepted = NewEvent(
                .sendAccepted(event),
                client: request.client,
                conversation: conversation,
                bodies: [SealedPart(.content, request.content)],
                seal: .newKey(event.purges ? .purgeModeMessage : .message)
            )
            return .accepted((opening.map { [$0] } ?? []) + [accepted], conversation: conversation)
        } catch {
            return refused(request, error, platform)
        }
    }

    private func refused(_ request: SendRequest, _ refusal: Refusal, _ platform: Platform) -> SendDecision {
        var event = SendRefused()
        event.platform = platform
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

    private func checkChannel(_ platform: Platform, _ client: ClientRow) throws(Refusal) {
        switch platform {
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
            guard client.channels[platform] != nil else {
                throw Refusal(.channelNotConnected, "connect \(platform.name) before sending over it")
            }
        }
    }

    // MARK: To whom

    /// Where a request goes.
    private enum Place {
        case known(Inbox.ConversationRow)
        /// A conversation that is yet to be opened: its customer's keyed hash and number.
        case new(Platform, LookupHash, String)

        var platform: Platform {
            switch self {
            case .known(let row): row.platform
            case .new(let platform, _, _): platform
            }
        }

        var row: Inbox.ConversationRow? { if case .known(let row) = self { row } else { nil } }
    }

    private func addressed(_ request: SendRequest) throws(Refusal) -> Place {
        switch request.recipient {
        case .conversation(let id):
            guard let row = inbox.current(id), row.client == request.client,
                request.platform == nil || request.platform == row.platform
            else { throw Refusal(.unknownRecipient, "there is no such conversation", field: "conversation_id") }
            if row.status == .erased { throw Refusal(.conversationErased, "the conversation was erased") }
            return .known(row)
        case .phone(let hash, let phone):
            let platform = request.platform ?? .sms
            let row =
                inbox.conversation(request.client, platform, hash)
                ?? earlier(request.earlierConversation, request.client, platform)
            return row.map { .known($0) } ?? .new(platform, hash, phone)
        case .platformUser(let hashes):
            let rows = hashes.compactMap { platform, hash in
                inbox.conversation(request.client, platform, hash)
                    ?? earlier(request.earlierConversation, request.client, platform)
            }
            guard let row = rows.first else {
                let detail = "nobody with this platform_user_id has written yet"
                throw Refusal(.unknownRecipient, detail, field: "platform_user_id")
            }
            guard rows.count == 1 else {
                let detail = "this platform_user_id is known on several platforms; name one as platform"
                throw Refusal(.ambiguousRecipient, detail, field: "platform")
            }
            return .known(row)
        }
    }

    /// The conversation, or a new one for a phone number that is new.
    private func conversation(
        _ request: SendRequest,
        _ place: Place,
        _ client: ClientRow,
        _ context: DecisionContext
    ) throws(Refusal) -> (LogPosition, NewEvent?) {
        switch place {
        case .known(let row):
            try checkConsent(request, row.platform, row.everyAddress)
            return (row.id, nil)
        case .new(let platform, let hash, let phone):
            try checkConsent(request, platform, [hash])
            var identifiers = ConversationIdentifiers()
            identifiers.phone = phone
            let opening = NewEvent.opening(
                client: request.client,
                platform: platform,
                customer: hash,
                kind: platform == .whatsapp ? .number : .unknown,
                account: client.channels[platform]?.account ?? .absent,
                identifiers: identifiers
            )
            return (context.next, opening)
        }
    }

    private func checkConsent(
        _ request: SendRequest,
        _ platform: Platform,
        _ addresses: [LookupHash]
    ) throws(Refusal) {
        if optOuts.contains(request.client, platform, anyOf: addresses + request.earlierAddresses) {
            throw Refusal(.recipientOptedOut, "the customer opted out; only a START from them opens the way again")
        }
    }

    // MARK: What and when

    /// - Returns: until when it may go out; zero for ever.
    private func checkWindow(_ request: SendRequest, _ place: Place, _ now: Timestamp) throws(Refusal) -> Timestamp {
        if place.platform == .sms || request.isTemplate { return Timestamp(0) }
        let isExtended = request.isByHuman && place.platform != .whatsapp
        let length = isExtended ? MessagingWindow.humanAgent : MessagingWindow.standard
        let until = place.row?.lastInbound.map { $0.advanced(bySeconds: length) } ?? Timestamp(0)
        guard now < until else {
            let way =
                place.platform == .whatsapp
                ? "send an approved template (template_name)" : "within seven days a person may answer (human_agent)"
            throw Refusal(
                .outsideWindow,
                "the window is closed: it is open for 24 hours after the customer wrote; wait, or \(way)"
            )
        }
        return until
    }

    private func checkReference(_ request: SendRequest, _ place: Place) throws(Refusal) {
        guard let message = request.refersTo else { return }
        guard let row = inbox.messages[message], row.conversation == place.row?.id else {
            throw Refusal(.notFound, "the message that this one is about is not part of the conversation")
        }
        // The provider's id of it is gone with its body.
        if isPurged(message) { throw Refusal(.bodyPurged, "the message that this one is about is purged") }
    }

    private func checkLimits(_ request: SendRequest, _ platform: Platform, _ client: ClientRow) throws(Refusal) {
        if sends.countByClient[request.client, default: 0] >= request.queueMax {
            throw Refusal(.queueFull, "\(request.queueMax) messages wait already; send slower")
        }
        let month = usage.month(request.client, request.usageMonth)
        if platform == .sms, month.used + month.reserved >= client.smsMonthlyQuota {
            throw Refusal(.smsQuotaExceeded, "the month's quota of \(client.smsMonthlyQuota) SMS is used up")
        }
    }
}

/// How long after a customer's last message a business may write freely over Meta's channels, in seconds.
enum MessagingWindow {
    static let standard: UInt64 = 86_400
    /// For answers written by a person (Messenger, Instagram).
    static let humanAgent: UInt64 = 7 * 86_400

    /// When the window opened last: when the customer wrote, however late the provider told of it.
    ///
    /// - Parameters:
    ///   - before: what was known until now.
    ///   - said: the provider's time; zero when it said none.
    static func opened(_ before: Timestamp?, said: Timestamp, _ now: Timestamp) -> Timestamp {
        let wrote = said.nanoseconds == 0 ? now : min(said, now)
        return max(before ?? wrote, wrote)
    }
}
