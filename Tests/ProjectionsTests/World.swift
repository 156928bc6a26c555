import Foundation
import Log
import Projections
import Testing

/// A history without a log and without keys: gives events their positions and times and folds them, as the ledger does.
struct World {
    static let seal = KeyReference(client: 1, leaf: 1, epoch: 1, keyClass: .message)
    static let body = SentBody(seal: .sameAs(seal), metadata: [])

    private(set) var records: [EventRecord] = []
    var state = LogState()
    var now = Timestamp(1_800_000_000_000_000_000)
    let ids: OpaqueID

    init() {
        let key = [UInt8](repeating: 7, count: 32)
        ids = OpaqueID(key: key)
        var created = LogCreated()
        created.formatVersion = 1
        created.idKey = RawBytes(key)
        apply([NewEvent(.logCreated(created))])
    }

    /// When and where the next event will be. Times rise strictly, as they do in the log.
    var context: DecisionContext {
        DecisionContext(
            now: Timestamp(max(now.nanoseconds, state.time.nanoseconds + 1)),
            next: state.position.next
        )
    }

    mutating func pass(seconds: UInt64) { now = now.advanced(bySeconds: seconds) }

    /// The positions that the events got.
    @discardableResult
    mutating func apply(_ events: [NewEvent]) -> [LogPosition] {
        let context = context
        for (index, new) in events.enumerated() {
            let record = EventRecord(
                new.event,
                position: context.next.advanced(by: index),
                time: Timestamp(context.now.nanoseconds + UInt64(index)),
                client: new.client,
                conversation: new.conversation,
                message: new.message,
                subject: new.subject
            )
            records.append(record)
            state.apply(record)
        }
        return events.indices.map { context.next.advanced(by: $0) }
    }

    @discardableResult
    mutating func apply(_ event: Event, client: LogPosition = .zero, subject: LogPosition = .zero) -> LogPosition {
        apply([NewEvent(event, client: client, subject: subject)])[0]
    }

    /// The state as a restart makes it: every payload encoded, decoded and folded from nothing.
    func rebuilt() throws -> LogState {
        var state = LogState()
        for record in records {
            let payload = record.event.encodedPayload
            var copy = record
            copy.event = try #require(payload.withUnsafeBytes { Event(record.event.type, payload: $0) })
            state.apply(copy)
        }
        return state
    }
}

extension World {
    /// The status that the webhook in a batch of events shows.
    static func publishedStatus(_ events: [NewEvent]) -> String? {
        guard let rendering = events.last?.bodies.first(where: { $0.purpose == .rendering })?.plaintext else {
            return nil
        }
        let body = try? JSONSerialization.jsonObject(with: Data(rendering)) as? [String: Any]
        let message = (body?["data"] as? [String: Any])?["message"] as? [String: Any]
        return message?["status"] as? String
    }
}

// MARK: - Clients

extension World {
    /// A client that may do everything unless told otherwise.
    mutating func client(
        plan: Plan = .business,
        addon: AddonStatus = .active,
        quota: UInt64 = 1000,
        sms: Bool = true
    ) -> LogPosition {
        var created = ClientCreated()
        created.plan = plan
        created.addon = addon
        created.smsMonthlyQuota = quota
        created.timeZone = "UTC"
        let id = apply(.clientCreated(created))
        if sms { connect(id) }
        return id
    }

    mutating func connect(_ client: LogPosition, _ platform: Platform = .sms) {
        var event = ChannelConnected()
        event.platform = platform
        event.account = World.hash("account")
        apply(.channelConnected(event), client: client)
    }

    /// Turns Inbound Body Purge on.
    mutating func purgeBodies(_ client: LogPosition, _ platform: Platform) {
        var settings = SettingsChanged()
        settings.replyGlobal = true
        settings.purgePlatforms = ListField([UInt64(platform.rawValue)])
        apply(.settingsChanged(settings), client: client)
    }

    mutating func endpoint(_ client: LogPosition, _ change: (inout EndpointConfigured) -> Void = { _ in }) {
        var event = EndpointConfigured()
        event.enabled = true
        event.events = ListField(["sms.message_received"])
        event.retrySchedule = ListField(RetrySchedule.standard)
        event.maxInFlight = 64
        change(&event)
        apply(.endpointConfigured(event), client: client)
    }
}

// MARK: - Messages

extension World {
    static func hash(_ name: String) -> LookupHash {
        LookupHash(Crypto.sha256([UInt8](name.utf8))) ?? .absent
    }

    func inbound(
        _ client: LogPosition,
        from customer: String = "ana",
        id: String,
        consent: InboundMessage.Consent? = nil
    ) -> InboundMessage {
        var message = InboundMessage(
            client: client,
            platform: .sms,
            duplicateKey: World.hash("provider/" + id),
            customer: World.hash(customer),
            account: World.hash("account")
        )
        message.identifiers.phone = "+15550001111"
        message.identifiers.accountPhone = "+15550002222"
        message.content.platformMessageID = id
        message.content.text = "Hello"
        message.content.encoding = "GSM-7"
        message.content.segments = 1
        message.consent = consent
        message.providerBytes = [1, 2, 3]
        return message
    }

    /// Decides and folds; the events that came of it.
    @discardableResult
    mutating func receive(_ message: InboundMessage) -> [NewEvent] {
        let events = state.decide(message, ids: ids, context)
        apply(events)
        return events
    }

    func request(
        _ client: LogPosition,
        to customer: String = "ana",
        key: String,
        request: String? = nil,
        change: (inout SendRequest) -> Void = { _ in }
    ) -> SendRequest {
        var wanted = SendRequest(
            client: client,
            platform: .sms,
            recipient: .phone(World.hash(customer), "+15550001111"),
            kind: "text",
            content: [1],
            key: World.hash("key/" + key),
            fingerprint: World.hash("request/" + (request ?? key)),
            keyExpiresAt: now.advanced(bySeconds: 7 * 86_400),
            expiresAt: Timestamp(0),
            segments: 1,
            usageMonth: 202_711,
            queueMax: 100
        )
        change(&wanted)
        return wanted
    }

    mutating func decide(_ request: SendRequest) -> SendDecision {
        let decision = state.decide(request, context)
        switch decision {
        case .accepted(let events, _), .refused(_, let events): apply(events)
        case .replayed: break
        }
        return decision
    }

    /// Sends and expects that it is accepted; the message.
    mutating func send(_ request: SendRequest) throws -> LogPosition {
        guard case .accepted = decide(request) else {
            Issue.record("the send was not accepted")
            throw ProjectionError(.inconsistent, at: state.position, "the send was not accepted")
        }
        return state.position
    }

    /// The refusal that a send gets, nil when it gets none.
    mutating func refusal(_ request: SendRequest) -> Refusal.Code? {
        if case .refused(let refusal, _) = decide(request) { return refusal.code }
        return nil
    }

    mutating func start(_ messages: [LogPosition]) {
        var event = SendStarted()
        event.messages = ListField(messages)
        apply(.sendStarted(event))
    }

    /// Starts what the schedule offers now; what was offered.
    @discardableResult
    mutating func startOffered() -> [LogPosition] {
        let offered = offeredSends()
        if !offered.isEmpty { start(offered) }
        return offered
    }

    mutating func offeredSends() -> [LogPosition] {
        state.sends.schedule.advance(to: now)
        return state.sends.schedule.pick(limit: 100) { _ in 100 }
    }

    @discardableResult
    mutating func finish(
        _ message: LogPosition,
        _ outcome: SendOutcome,
        code: String = "",
        change: (inout SendResult) -> Void = { _ in }
    ) -> [NewEvent] {
        var result = SendResult(outcome, code: code, startedAt: now)
        change(&result)
        let events = state.decide(result, for: message, World.body, ids: ids, context)
        apply(events)
        return events
    }

    func cancel(_ message: LogPosition, client: LogPosition) throws(Refusal) -> [NewEvent] {
        try state.decideCancel(message, client: client, by: "client", World.body, ids: ids, context)
    }

    /// Settles what `decideStart` held back, one after the other.
    @discardableResult
    mutating func drop(_ messages: [LogPosition]) -> [NewEvent] {
        messages.flatMap { message in
            let events = state.decideDrop(message, World.body, ids: ids, context)
            apply(events)
            return events
        }
    }

    @discardableResult
    mutating func report(
        _ message: LogPosition,
        _ status: MessageStatus,
        client: LogPosition,
        code: String = ""
    ) -> [NewEvent] {
        let report = ProviderStatus(
            client: client,
            message: message,
            status: status,
            code: code,
            platformMessageID: "SM1"
        )
        let events = state.decide(report, World.body, ids: ids, context)
        apply(events)
        return events
    }

    func status(_ message: LogPosition) -> MessageStatus? { state.inbox.messages[message]?.status }

    func month(_ client: LogPosition) -> MonthOfSMS {
        let month = state.usage.month(client, 202_711)
        return MonthOfSMS(reserved: month.reserved, used: month.used)
    }
}

// MARK: - Deliveries

extension World {
    mutating func offeredDeliveries() -> [LogPosition] {
        state.deliveries.schedule.advance(to: now)
        return state.deliveries.schedule.pick(limit: 100) { _ in 100 }
    }

    mutating func startDelivery(_ delivery: LogPosition) {
        var event = DeliveryStarted()
        event.deliveries = ListField([delivery])
        apply(.deliveryStarted(event))
    }

    @discardableResult
    mutating func finishDelivery(
        _ delivery: LogPosition,
        _ verdict: DeliveryResult.Verdict,
        retryAfter: UInt64? = nil,
        endpoint: LogPosition = .zero,
        nothingSent: Bool = false
    ) -> [NewEvent] {
        var result = DeliveryResult(verdict, startedAt: now)
        result.nothingSent = nothingSent
        result.endpoint = endpoint
        result.retryAfter = retryAfter
        let events = state.decide(result, for: delivery, seal: World.seal, context)
        apply(events)
        return events
    }

    /// One whole attempt, begun when the schedule offers it.
    mutating func attempt(_ delivery: LogPosition, _ verdict: DeliveryResult.Verdict, retryAfter: UInt64? = nil) {
        if let due = state.deliveries.rows[delivery]?.nextAttemptAt, due > now { now = due }
        #expect(offeredDeliveries().contains(delivery))
        startDelivery(delivery)
        finishDelivery(delivery, verdict, retryAfter: retryAfter)
    }
}

/// The SMS of a month, as tests compare them.
struct MonthOfSMS: Equatable, Sendable {
    let reserved: UInt64
    let used: UInt64
}

extension Event {
    var published: EventPublished? {
        if case .eventPublished(let event) = self { return event }
        return nil
    }
}
