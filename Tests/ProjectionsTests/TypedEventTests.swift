import Log
import Projections
import Testing

/// The events that decisions fill field by field: what is written under a name is read under that name.
@Suite struct TypedEventTests {
    /// Round trip, and proof that no field of the payload was left at its default.
    private func check<Payload: EventPayload>(_ payload: Payload, _ wrap: (Payload) -> Event) throws {
        let bytes = payload.encoded
        let decoded = try #require(bytes.withUnsafeBytes { Payload(decoding: $0) })
        #expect(decoded == payload)
        let children = Mirror(reflecting: payload).children
        let defaults = Mirror(reflecting: Payload()).children
        for (child, standard) in zip(children, defaults) {
            #expect("\(child.value)" != "\(standard.value)", "\(child.label ?? "") is at its default")
        }
        #expect(wrap(payload).fields.count == children.count)
    }

    @Test func sendAccepted() throws {
        var event = SendAccepted()
        event.platform = .whatsapp
        event.kind = "text"
        event.key = LookupHash(high: 1, low: 2)
        event.fingerprint = LookupHash(high: 3, low: .max)
        event.keyExpiresAt = Timestamp(5)
        event.expiresAt = Timestamp(.max)
        event.segments = 7
        event.usageMonth = 202_611
        event.opens = true
        event.purges = true
        event.windowUntil = Timestamp(9)
        try check(event, Event.sendAccepted)
    }

    @Test func conversationReaddressed() throws {
        var event = ConversationReaddressed()
        event.account = LookupHash(high: 1, low: 2)
        try check(event, Event.conversationReaddressed)
    }

    @Test func sendFinished() throws {
        var event = SendFinished()
        event.outcome = .accepted
        event.attempt = 2
        event.startedAt = Timestamp(3)
        event.durationMilliseconds = 4
        event.httpStatus = 201
        event.code = "21610"
        event.retryAt = Timestamp(6)
        event.providerKey = LookupHash(high: 7, low: 8)
        event.previous = LogPosition(9)
        event.noAttempt = true
        try check(event, Event.sendFinished)
    }

    @Test func deliveryFinished() throws {
        var event = DeliveryFinished()
        event.attempt = 1
        event.startedAt = Timestamp(2)
        event.durationMilliseconds = 3
        event.httpStatus = 503
        event.error = "http_status"
        event.secret = LogPosition(4)
        event.succeeded = true
        event.nextAttemptAt = Timestamp(5)
        event.retry = 6
        event.final = "retries_exhausted"
        event.previous = LogPosition(7)
        event.nothingSent = true
        event.noAttempt = true
        try check(event, Event.deliveryFinished)
    }

    @Test func eventPublished() throws {
        var event = EventPublished()
        event.type = "sms.message_received"
        event.sequence = 4711
        event.previousSequence = 4708
        event.wanted = true
        event.test = true
        event.files = true
        event.held = "no_endpoint"
        try check(event, Event.eventPublished)
    }

    @Test func endpointConfigured() throws {
        var event = EndpointConfigured()
        event.enabled = true
        event.events = ListField(["a", "", "sms.message_received"])
        event.channels = ListField([3, 0, .max])
        event.retrySchedule = ListField([30, 60])
        event.maxInFlight = 64
        event.strictOrdering = true
        event.actor = "cli"
        try check(event, Event.endpointConfigured)
    }

    @Test func messageReceived() throws {
        var event = MessageReceived()
        event.platform = .instagram
        event.kind = "image"
        event.duplicateKey = LookupHash(high: .max, low: 1)
        event.providerTime = Timestamp(2)
        event.encoding = "UCS-2"
        event.segments = 3
        event.purgeBy = Timestamp(4)
        event.files = 5
        event.standby = true
        try check(event, Event.messageReceived)
    }

    @Test func messageEchoed() throws {
        var event = MessageEchoed()
        event.platform = .facebook
        event.kind = "text"
        event.duplicateKey = LookupHash(high: 1, low: .max)
        event.providerTime = Timestamp(3)
        event.standby = true
        try check(event, Event.messageEchoed)
    }

    @Test func messageEditedAndUnsent() throws {
        var edited = MessageEdited()
        edited.duplicateKey = LookupHash(high: 5, low: 6)
        edited.number = 2
        edited.providerTime = Timestamp(4)
        try check(edited, Event.messageEdited)
        var unsent = MessageUnsent()
        unsent.duplicateKey = LookupHash(high: 1, low: 2)
        unsent.providerTime = Timestamp(.max)
        try check(unsent, Event.messageUnsent)
    }

    @Test func mediaFetched() throws {
        var event = MediaFetched()
        event.index = 1
        event.bytes = 1 << 40
        event.file = "7-1"
        event.digest = RawBytes([1, 2])
        try check(event, Event.mediaFetched)
    }

    @Test func mediaFailed() throws {
        var event = MediaFailed()
        event.index = 31
        event.code = "timed_out"
        event.nextAttemptAt = Timestamp(5)
        try check(event, Event.mediaFailed)
    }

    @Test func clientUpdated() throws {
        var event = ClientUpdated()
        event.plan = .business
        event.addon = .trial
        event.trialEndsAt = Timestamp(1)
        event.smsMonthlyQuota = 2
        event.timeZone = "Europe/Berlin"
        event.trialUsed = true
        event.renamed = true
        event.actor = "cli"
        try check(event, Event.clientUpdated)
    }

    @Test func purgeCompleted() throws {
        var event = PurgeCompleted()
        event.messages = ListField([LogPosition(1), LogPosition(.max)])
        event.rootGenerationBefore = 3
        event.rootGenerationAfter = 4
        event.conversations = ListField([LogPosition(5)])
        event.clients = ListField([LogPosition(6), LogPosition(7)])
        event.secrets = ListField([LogPosition(8)])
        try check(event, Event.purgeCompleted)
    }
}
