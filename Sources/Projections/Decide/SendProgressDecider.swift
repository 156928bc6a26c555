package import Log

/// What a provider's answer, or its absence, came to.
package struct SendResult: Sendable {
    package var outcome: SendOutcome
    package var code: String
    package var httpStatus: UInt64
    package var startedAt: Timestamp
    package var durationMilliseconds: UInt64
    /// How long the provider asked to wait, in seconds.
    package var retryAfter: UInt64?
    package var providerMessageID: String
    package var providerKey: LookupHash
    package var excerpt: [UInt8]
    /// The record of the credential that was used; zero when it does not matter.
    package var channel = LogPosition.zero
    /// Whether nothing left this host for a lack on this host: that is no attempt.
    package var isNoAttempt = false

    package init(_ outcome: SendOutcome, code: String, startedAt: Timestamp) {
        self.outcome = outcome
        self.code = code
        self.startedAt = startedAt
        httpStatus = 0
        durationMilliseconds = 0
        providerMessageID = ""
        providerKey = .absent
        excerpt = []
    }
}

/// What deciding about a sent message needs of its sealed body.
package struct SentBody: Sendable {
    /// Whose key renderings about the message share; a key of their own once the message is purged.
    package let seal: NewEvent.Seal
    /// The metadata of the send, as JSON, to be returned in events; empty for none.
    package let metadata: [UInt8]

    package init(seal: NewEvent.Seal, metadata: [UInt8]) {
        self.seal = seal
        self.metadata = metadata
    }
}

/// A status that the provider reported about a message we sent.
package struct ProviderStatus: Sendable {
    package var client: LogPosition
    package var message: LogPosition
    package var status: MessageStatus
    package var code: String
    package var platformMessageID: String
    /// Keyed hash of the provider's id, so that later reports find the message although the call's answer never came.
    package var providerKey = LookupHash.absent
    /// The record in which it waited for its message; zero when it did not.
    package var parked = LogPosition.zero

    package init(
        client: LogPosition,
        message: LogPosition,
        status: MessageStatus,
        code: String,
        platformMessageID: String
    ) {
        self.client = client
        self.message = message
        self.status = status
        self.code = code
        self.platformMessageID = platformMessageID
    }
}

extension LogState {
    /// How many times a refused-for-now send is tried before it fails for good.
    package static let sendAttemptsMax: UInt64 = 8

    /// Which of the picked messages may really go out now, and which may not: a queue that waited must not flush what is
    /// expired or unwanted by now. What has to be dropped is put on record by `decideDrop`.
    package func decideStart(_ picked: [LogPosition], now: Timestamp) -> (start: [LogPosition], drop: [LogPosition]) {
        // Whatever the schedule says: what is with the provider now must not go there a second time.
        var (start, drop): ([LogPosition], [LogPosition]) = ([], [])
        for message in picked where sends.rows[message]?.isInFlight == false && sends.schedule.mayStart(message) {
            if reasonToDrop(message, now: now) == nil { start.append(message) } else { drop.append(message) }
        }
        return (start, drop)
    }

    private enum DropReason {
        case expired
        case optedOut
        case notConnected
        case outsideWindow
    }

    private func reasonToDrop(_ message: LogPosition, now: Timestamp) -> DropReason? {
        guard let row = sends.rows[message] else { return nil }
        if row.expiresAt.nanoseconds > 0, row.expiresAt <= now { return .expired }
        let addresses = inbox.current(row.conversation)?.everyAddress ?? []
        if optOuts.contains(row.client, row.platform, anyOf: addresses) { return .optedOut }
        if clients[row.client]?.channels[row.platform] == nil { return .notConnected }
        return isOutsideWindow(row, now) ? .outsideWindow : nil
    }

    private func isOutsideWindow(_ row: SendQueue.Row, _ now: Timestamp) -> Bool {
        if row.windowUntil.nanoseconds == 0 || now < row.windowUntil { return false }
        guard let last = inbox.current(row.conversation)?.lastInbound else { return true }
        return last.advanced(bySeconds: MessagingWindow.standard) <= now
    }

    /// Settles a queued message that must not go out any more. Empty when it may after all.
    package func decideDrop(
        _ message: LogPosition,
        _ body: SentBody,
        ids: OpaqueID,
        _ context: DecisionContext
    ) -> [NewEvent] {
        guard let row = sends.rows[message], !row.isInFlight, let place = inbox.messages[message],
            place.status == .queued
        else { return [] }
        let trail = place.trail
        switch reasonToDrop(message, now: context.now) {
        case nil: return []
        case .expired:
            var event = SendExpired()
            event.previous = trail
            return settled(message, row, .sendExpired(event), .failed, code: "expired", body, ids, context)
        case .optedOut: return canceled(by: "opt_out")
        case .notConnected: return canceled(by: "channel_not_connected")
        case .outsideWindow: return canceled(by: "outside_24h_window")
        }
        func canceled(by reason: String) -> [NewEvent] {
            var event = SendCanceled()
            event.by = reason
            event.previous = trail
            return settled(message, row, .sendCanceled(event), .canceled, code: reason, body, ids, context)
        }
    }

    /// Cancels a message that is still queued.
    package func decideCancel(
        _ message: LogPosition,
        client: LogPosition,
        by: String,
        _ body: SentBody,
        ids: OpaqueID,
        _ context: DecisionContext
    ) throws(Refusal) -> [NewEvent] {
        guard let place = inbox.messages[message], place.client == client, place.direction == .outbound else {
            throw Refusal(.notFound, "there is no such message")
        }
        guard place.status == .queued, let row = sends.rows[message], !row.isInFlight else {
            throw Refusal(.notCancelable, "the message is \(place.status.name); only a queued one can be canceled")
        }
        var event = SendCanceled()
        event.by = by
        event.previous = place.trail
        return settled(message, row, .sendCanceled(event), .canceled, code: "", body, ids, context)
    }

    /// The end of a queued message, and the status event that tells the client.
    private func settled(
        _ message: LogPosition,
        _ row: SendQueue.Row,
        _ event: Event,
        _ status: MessageStatus,
        code: String,
        _ body: SentBody,
        _ ids: OpaqueID,
        _ context: DecisionContext
    ) -> [NewEvent] {
        let report = ProviderStatus(
            client: row.client,
            message: message,
            status: status,
            code: code,
            platformMessageID: ""
        )
        let end = NewEvent(event, client: row.client, conversation: row.conversation, message: message)
        return [end] + statusEvent(report, row.conversation, row.platform, body, ids, context, after: [end])
    }

    /// Records what a call came to. Empty when the message is not in flight any more.
    package func decide(
        _ result: SendResult,
        for message: LogPosition,
        _ body: SentBody,
        ids: OpaqueID,
        _ context: DecisionContext
    ) -> [NewEvent] {
        guard let row = sends.rows[message], row.isInFlight, let trail = inbox.messages[message]?.trail else {
            return []
        }
        var event = SendFinished()

        event.attempt = row.attempts
        event.startedAt = result.startedAt
        event.durationMilliseconds = result.durationMilliseconds
        event.httpStatus = result.httpStatus
        event.code = result.code
        event.providerKey = result.providerKey
        event.previous = trail
        event.outcome = settledOutcome(result, row, inbox.messages[message]?.status ?? .queued)
        if !event.outcome.isFinal, isPurged(message) {
            // There is nothing left that could be sent again.
            event.outcome = .rejected
            event.code = "body_purged"
        }
        event.noAttempt = result.isNoAttempt && event.outcome == .retryLater
        if event.noAttempt {
            event.retryAt = context.now.advanced(bySeconds: DeliveryResult.pause)
        } else if event.outcome == .retryLater {
            if row.attempts >= LogState.sendAttemptsMax {
                event.outcome = .rejected
            } else {
                event.retryAt = context.now.advanced(
                    bySeconds: SendBackoff.delay(row.attempts, asked: result.retryAfter)
                )
            }
        }
        var events = [finished(event, result, row, message, body.seal)]
        if event.outcome == .misconfigured { events += pause(row, result.code) }
        if result.outcome == .rejected { events += optOut(row.client, row.conversation, row.platform, result.code) }
        // A callback may have overtaken the answer; a status that was reported is never taken back.
        if let status = event.outcome.reported, status > inbox.messages[message]?.status ?? .received {
            let report = ProviderStatus(
                client: row.client,
                message: message,
                status: status,
                code: event.code,
                platformMessageID: result.providerMessageID
            )
            events += statusEvent(report, row.conversation, row.platform, body, ids, context, after: events)
        }
        return events + takenBack(message, as: result.providerKey, ids: ids, context, after: events)
    }

    /// What the answer means beside what else is known. The provider's own report that it has the message outweighs a refusal,
    /// and a refusal of a credential that was replaced since says nothing about the one that is set now.
    private func settledOutcome(_ result: SendResult, _ row: SendQueue.Row, _ status: MessageStatus) -> SendOutcome {
        guard result.outcome == .retryLater || result.outcome == .misconfigured else { return result.outcome }
        if status >= .sent { return .accepted }
        let current = clients[row.client]?.channels[row.platform]?.position
        return result.channel == .zero || result.channel == current ? result.outcome : .retryLater
    }

    private func finished(
        _ event: SendFinished,
        _ result: SendResult,
        _ row: SendQueue.Row,
        _ message: LogPosition,
        _ seal: NewEvent.Seal
    ) -> NewEvent {
        var bodies: [SealedPart] = []
        let isPurged = isPurged(message)
        if !isPurged, !result.providerMessageID.isEmpty {
            bodies.append(SealedPart(.content, [UInt8](result.providerMessageID.utf8)))
        }
        if !isPurged, !result.excerpt.isEmpty { bodies.append(SealedPart(.responseExcerpt, result.excerpt)) }
        return NewEvent(
            .sendFinished(event),
            client: row.client,
            conversation: row.conversation,
            message: message,
            bodies: bodies,
            seal: seal
        )
    }

    /// The provider's word that the customer asked for no more messages, where it is news.
    private func optOut(
        _ client: LogPosition,
        _ conversation: LogPosition,
        _ platform: Platform,
        _ code: String
    ) -> [NewEvent] {
        guard RecipientCode.isOptOut(platform, code), let customer = inbox.current(conversation)?.customer,
            !optOuts.contains(client, platform, customer)
        else { return [] }
        var event = CustomerOptedOut()
        event.platform = platform
        event.customer = customer
        event.source = CustomerOptedOut.byProvider
        return [NewEvent(.customerOptedOut(event), client: client, conversation: conversation)]
    }

    private func pause(_ row: SendQueue.Row, _ code: String) -> [NewEvent] {
        guard clients[row.client]?.channels[row.platform]?.pausedFor == nil else { return [] }
        var event = ChannelPaused()
        event.platform = row.platform
        event.providerCode = code
        return [NewEvent(.channelPaused(event), client: row.client)]
    }

    /// A provider's report about a sent message. Empty when it says nothing new: statuses only rise.
    package func decide(
        _ report: ProviderStatus,
        _ body: SentBody,
        ids: OpaqueID,
        _ context: DecisionContext
    ) -> [NewEvent] {
        guard let row = inbox.messages[report.message], row.client == report.client, row.direction == .outbound,
            report.status > row.status
        else { return [] }
        var event = MessageStatusChanged()
        event.status = report.status
        event.code = report.code
        event.at = context.now
        event.previous = row.trail
        event.providerKey = report.providerKey
        let changed = NewEvent(
            .messageStatusChanged(event),
            client: report.client,
            conversation: row.conversation,
            message: report.message,
            subject: report.parked,
            bodies: report.providerKey.isAbsent || report.platformMessageID.isEmpty || isPurged(report.message)
                ? [] : [SealedPart(.content, [UInt8](report.platformMessageID.utf8))],
            seal: body.seal
        )
        var events = [changed] + optOut(report.client, row.conversation, row.platform, report.code)
        events += statusEvent(report, row.conversation, row.platform, body, ids, context, after: events)
        return events + takenBack(report.message, as: report.providerKey, ids: ids, context, after: events)
    }

    /// The conversation as an event shows it that is not a customer's message.
    func describe(
        _ conversation: LogPosition,
        _ platform: Platform,
        _ client: ClientRow,
        _ writer: WebhookBody,
        _ json: inout JSONWriter
    ) {
        let row = inbox.current(conversation)
        writer.conversation(
            &json,
            id: row?.id ?? conversation,
            status: row?.status ?? .open,
            ticketRef: row?.ticketRef ?? "",
            windowExpiresAt: nil,
            repliesExternally: client.settings.repliesExternally(platform)
        )
    }

    /// Every status is an event of the client's sequence; `message.status` is delivered by subscription only.
    func statusEvent(
        _ report: ProviderStatus,
        _ conversation: LogPosition,
        _ platform: Platform,
        _ body: SentBody,
        _ ids: OpaqueID,
        _ context: DecisionContext,
        after earlier: [NewEvent]
    ) -> [NewEvent] {
        let type = "message.status"
        guard let client = clients[report.client], client.mayReceive(platform, at: context.now) else { return [] }
        // A purged message has no key any more, and one that is to be purged should not take its statuses along. What is
        // told of it then holds nothing of its body and shares neither its key nor its fate.
        let isDetached = isPurged(report.message) || purges.watches.contains(report.message)
        let publisher = Publisher(state: self, ids: ids, context: context)
        return [
            publisher.publish(
                type,
                client: client,
                platform: platform,
                conversation: conversation,
                message: isDetached ? .zero : report.message,
                after: earlier,
                seal: isDetached ? .newKey(.message) : body.seal
            ) { writer, json in
                json.string("platform", platform.name)
                describe(conversation, platform, client, writer, &json)
                json.object("message") { json in
                    json.string("id", ids.encode(.message, report.message))
                    if !isDetached, !report.platformMessageID.isEmpty {
                        json.string("platform_message_id", report.platformMessageID)
                    }
                    json.string("direction", Direction.outbound.name)
                    json.string("status", report.status.name)
                    json.time("status_at", context.now)
                    if !report.code.isEmpty { json.object("error") { $0.string("code", report.code) } }
                    if !isDetached, !body.metadata.isEmpty { json.raw("metadata", body.metadata) }
                }
            }
        ]
    }
}

extension SendOutcome {
    /// The status that a call's outcome means for the message, where it means one.
    fileprivate var reported: MessageStatus? {
        switch self {
        case .accepted: .sent
        case .rejected: .failed
        case .unknown: .outcomeUnknown
        case .retryLater, .misconfigured: nil
        }
    }
}

/// How long a refused-for-now send waits: doubling from two seconds, at most five minutes, never less than asked.
enum SendBackoff {
    static func delay(_ attempt: UInt64, asked: UInt64?) -> UInt64 {
        let doubled = UInt64(1) << min(max(attempt, 1), 9)
        return max(min(doubled, 300), min(asked ?? 0, RetrySchedule.retryAfterMax))
    }
}
