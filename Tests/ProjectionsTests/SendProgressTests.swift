import Log
import Projections
import Testing

@Suite struct SendProgressTests {
    // MARK: Before the call

    @Test func aQueueThatWaitedDoesNotFlushWhatIsExpired() throws {
        var world = World()
        let client = world.client()
        let expiry = world.now.advanced(bySeconds: 10)
        let expiring = try world.send(world.request(client, to: "ana", key: "1") { $0.expiresAt = expiry })
        let lasting = try world.send(world.request(client, to: "bea", key: "2"))
        let before = Timestamp(expiry.nanoseconds - 1)
        #expect(world.state.decideStart([expiring, lasting], now: before).start == [expiring, lasting])
        let (start, drop) = world.state.decideStart([expiring, lasting], now: expiry)
        #expect(start == [lasting])
        #expect(drop == [expiring])
        #expect(world.drop(drop).isEmpty, "by the writer's clock it may still go")
        world.pass(seconds: 10)
        var expired = SendExpired()
        expired.previous = expiring
        let events = world.drop(drop)
        #expect(events.first?.event == .sendExpired(expired))
        #expect(events.map(\.event.type) == [.sendExpired, .eventPublished])
        #expect(events.first?.message == expiring)
        #expect(World.publishedStatus(events) == "failed")
        #expect(world.status(expiring) == .failed)
        #expect(world.state.sends.rows[expiring] == nil)
        #expect(world.month(client).reserved == 1, "what was not sent is not counted")
    }

    @Test func aQueueThatWaitedDoesNotFlushWhatIsUnwanted() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        let other = try world.send(world.request(client, to: "bea", key: "2"))
        world.receive(world.inbound(client, id: "SM1", consent: .optOut))
        let decided = world.state.decideStart([message, other], now: world.now)
        #expect(decided.start == [other])
        #expect(decided.drop == [message])
        var canceled = SendCanceled()
        canceled.by = "opt_out"
        canceled.previous = message
        let events = world.drop(decided.drop)
        #expect(events.first?.event == .sendCanceled(canceled))
        #expect(World.publishedStatus(events) == "canceled")
        #expect(world.status(message) == .canceled)
        #expect(world.month(client).reserved == 1)
    }

    /// Messages without a channel can wait for nothing; a later channel must not flush them.
    @Test func whatWaitsWithoutAChannelIsDropped() throws {
        var world = World()
        let client = world.client()
        let queued = try world.send(world.request(client, key: "1"))
        let paused = try world.send(world.request(client, to: "bea", key: "2"))
        world.start([paused])
        world.finish(paused, .misconfigured)
        var event = ChannelDisconnected()
        event.platform = .sms
        world.apply(.channelDisconnected(event), client: client)
        world.pass(seconds: 1)
        let offered = world.offeredSends()
        #expect(Set(offered) == [queued, paused])
        let decided = world.state.decideStart(offered, now: world.now)
        #expect(decided.start.isEmpty)
        #expect(world.drop(decided.drop).filter { $0.event.type == .sendCanceled }.count == 2)
        #expect(world.status(queued) == .canceled)
        #expect(world.status(paused) == .canceled)
        #expect(world.month(client).reserved == 0)
    }

    /// Also where nothing is picked, because the channel is paused.
    @Test func expiryNeedsNoTurn() throws {
        var world = World()
        let client = world.client()
        let expiry = world.now.advanced(bySeconds: 10)
        let message = try world.send(world.request(client, key: "1") { $0.expiresAt = expiry })
        let other = try world.send(world.request(client, to: "bea", key: "2") { $0.expiresAt = expiry })
        world.start([message, other])
        world.finish(message, .misconfigured)
        #expect(world.state.sends.takeExpired(Timestamp(expiry.nanoseconds - 1)).isEmpty)
        #expect(world.state.sends.takeExpired(expiry) == [message], "what is with the provider may still be taken")
        #expect(world.state.sends.takeExpired(expiry).isEmpty, "each is told once")
        world.pass(seconds: 10)
        #expect(world.drop([message]).first?.event.type == .sendExpired)
    }

    /// The provider says it has the message although it refused the call: a second call would be a second message.
    @Test(arguments: [MessageStatus.sent, .delivered, .failed])
    func whatTheProviderReportsIsNotSentAgain(_ status: MessageStatus) throws {
        var world = World()
        let client = world.client()
        let before = try world.send(world.request(client, key: "1"))
        world.start([before])
        world.finish(before, .retryLater)
        world.report(before, status, client: client)
        #expect(world.state.sends.rows[before] == nil)
        let during = try world.send(world.request(client, key: "2"))
        world.start([during])
        world.report(during, status, client: client)
        let events = world.finish(during, .retryLater)
        guard case .sendFinished(let finished) = events.first?.event else { throw Refusal(.notFound, "no outcome") }
        #expect(finished.outcome == .accepted)
        #expect(events.count == 1, "the status is known already")
        world.pass(seconds: 600)
        #expect(world.offeredSends().isEmpty)
        #expect(world.status(before) == status)
        #expect(world.status(during) == status)
        #expect(world.drop([before, during]).isEmpty)
    }

    /// A call with the old credential may come back after the new one was set.
    @Test func aRefusedOldCredentialDoesNotPauseTheNewOne() throws {
        var world = World()
        let client = world.client()
        let old = try #require(world.state.clients[client]?.channels[.sms]?.position)
        let message = try world.send(world.request(client, key: "1"))
        world.start([message])
        world.connect(client)
        world.finish(message, .misconfigured) { $0.channel = old }
        #expect(world.state.clients[client]?.channels[.sms]?.pausedFor == nil)
        world.pass(seconds: 3)
        #expect(world.startOffered() == [message])
        let current = try #require(world.state.clients[client]?.channels[.sms]?.position)
        world.finish(message, .misconfigured) { $0.channel = current }
        #expect(world.state.clients[client]?.channels[.sms]?.pausedFor != nil)
    }

    @Test func onlyQueuedMessagesStart() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.apply(try world.cancel(message, client: client))
        let decided = world.state.decideStart([message, LogPosition(99)], now: world.now)
        #expect(decided.start.isEmpty)
        #expect(decided.drop.isEmpty)
        #expect(world.drop([message, LogPosition(99)]).isEmpty)
    }

    @Test func conversationsKeepTheirOrder() throws {
        var world = World()
        let client = world.client()
        let first = try world.send(world.request(client, key: "1"))
        let second = try world.send(world.request(client, key: "2"))
        let other = try world.send(world.request(client, to: "bea", key: "3"))
        #expect(Set(world.startOffered()) == [first, other])
        world.finish(first, .retryLater)
        #expect(world.offeredSends().isEmpty, "what waits for another try holds its conversation")
        world.pass(seconds: 3)
        #expect(world.startOffered() == [first])
        world.finish(first, .accepted)
        #expect(world.offeredSends() == [second])
    }

    // MARK: Cancel

    @Test func cancelingWhatIsQueued() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        let events = try world.cancel(message, client: client)
        #expect(events.map(\.event.type) == [.sendCanceled, .eventPublished])
        #expect(World.publishedStatus(events) == "canceled")
        world.apply(events)
        #expect(world.status(message) == .canceled)
        #expect(world.month(client) == .init(reserved: 0, used: 0))
        #expect(world.offeredSends().isEmpty)
        #expect(throws: Refusal(.notCancelable, "")) {
            try world.cancel(message, client: client)
        }
    }

    @Test func cancelingWhatIsNotQueued() throws {
        var world = World()
        let client = world.client()
        let other = world.client()
        let message = try world.send(world.request(client, key: "1"))
        #expect(throws: Refusal(.notFound, "")) { try world.cancel(message, client: other) }
        #expect(throws: Refusal(.notFound, "")) { try world.cancel(.zero, client: client) }
        world.start([message])
        #expect(throws: Refusal(.notCancelable, "")) { try world.cancel(message, client: client) }
        world.finish(message, .retryLater)
        #expect(try !world.cancel(message, client: client).isEmpty)
        world.start([message])
        world.finish(message, .accepted)
        #expect(throws: Refusal(.notCancelable, "")) { try world.cancel(message, client: client) }
    }

    @Test func inboundMessagesCannotBeCanceled() throws {
        var world = World()
        let client = world.client()
        world.receive(world.inbound(client, id: "SM1"))
        let inbound = try #require(world.state.inbox.messages.keys.first)
        #expect(throws: Refusal(.notFound, "")) { try world.cancel(inbound, client: client) }
    }

    // MARK: Outcomes

    struct Outcome: Sendable {
        let outcome: SendOutcome
        let status: MessageStatus
        let month: MonthOfSMS
        let settled: Bool
    }

    static let outcomes = [
        Outcome(outcome: .accepted, status: .sent, month: .init(reserved: 0, used: 1), settled: true),
        Outcome(outcome: .rejected, status: .failed, month: .init(reserved: 0, used: 0), settled: true),
        Outcome(outcome: .retryLater, status: .queued, month: .init(reserved: 1, used: 0), settled: false),
        Outcome(outcome: .misconfigured, status: .queued, month: .init(reserved: 1, used: 0), settled: false),
        Outcome(outcome: .unknown, status: .outcomeUnknown, month: .init(reserved: 1, used: 0), settled: true),
    ]

    @Test(arguments: outcomes)
    func whatACallComesTo(_ row: Outcome) throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        #expect(world.status(message) == .sending)
        let sender = SendQueue.Sender(client: client, platform: .sms)
        #expect(world.state.sends.inFlightBySender[sender] == 1)
        #expect(!world.finish(message, row.outcome).isEmpty)
        #expect(world.status(message) == row.status)
        #expect(world.month(client) == row.month)
        #expect((world.state.sends.rows[message] == nil) == row.settled)
        #expect(world.state.sends.countByClient[client] == (row.settled ? 0 : 1))
        #expect(world.state.sends.inFlightBySender[sender] == 0)
        #expect(world.finish(message, .accepted).isEmpty, "a call has one outcome")
        world.pass(seconds: 3600)
        #expect(world.offeredSends() == (row.outcome == .retryLater ? [message] : []), "at most once")
    }

    @Test func backoffDoublesAndGivesUp() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        for attempt in 1...8 {
            #expect(world.startOffered() == [message])
            let before = world.context.now
            let events = world.finish(message, .retryLater, code: "20429")
            guard case .sendFinished(let finished) = events.first?.event else {
                Issue.record("no outcome")
                return
            }
            #expect(finished.attempt == UInt64(attempt))
            #expect(finished.outcome == (attempt < 8 ? .retryLater : .rejected))
            let wait = UInt64(1) << UInt64(attempt)
            #expect(finished.retryAt == (attempt < 8 ? before.advanced(bySeconds: wait) : Timestamp(0)))
            #expect(world.offeredSends().isEmpty)
            world.now = finished.retryAt
        }
        #expect(world.status(message) == .failed)
        #expect(world.month(client) == .init(reserved: 0, used: 0))
    }

    /// `Retry-After` of a provider: never sooner than asked, never sooner than the backoff.
    @Test(arguments: [
        (asked: UInt64(1), wait: UInt64(2)), (asked: 2, wait: 2), (asked: 900, wait: 900), (asked: .max, wait: 86_400),
    ])
    func theProviderMayAskForMore(_ row: (asked: UInt64, wait: UInt64)) throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        let before = world.context.now
        let events = world.finish(message, .retryLater) { $0.retryAfter = row.asked }
        guard case .sendFinished(let finished) = events.first?.event else {
            Issue.record("no outcome")
            return
        }
        #expect(finished.retryAt == before.advanced(bySeconds: row.wait))
    }

    /// A wrong credential pauses the sender; every message that met it goes out when the channel is connected anew.
    @Test(arguments: [true, false])
    func aPausedSenderResumes(_ byConnecting: Bool) throws {
        var world = World()
        let client = world.client()
        let first = try world.send(world.request(client, key: "1"))
        let second = try world.send(world.request(client, to: "bea", key: "2"))
        world.startOffered()
        let events = [first, second].map { world.finish($0, .misconfigured, code: "20003").map(\.event.type) }
        #expect(events == [[.sendFinished, .channelPaused], [.sendFinished]], "one pause is enough")
        #expect(world.state.clients[client]?.channels[.sms]?.pausedFor == "20003")
        #expect(world.state.sends.rows[first]?.isPaused == true)
        world.pass(seconds: 86_400)
        #expect(world.offeredSends().isEmpty)
        if byConnecting {
            world.connect(client)
        } else {
            world.apply(.channelResumed(ChannelResumed()), client: client)
        }
        #expect(world.state.clients[client]?.channels[.sms]?.pausedFor == nil)
        #expect(world.state.sends.rows[first]?.isPaused == false)
        world.pass(seconds: 1)
        #expect(Set(world.startOffered()) == [first, second])
        world.finish(first, .accepted)
        #expect(world.status(first) == .sent)
    }

    @Test func aPausedMessageCanBeCanceled() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        world.finish(message, .misconfigured)
        world.apply(try world.cancel(message, client: client))
        world.connect(client)
        world.pass(seconds: 1)
        #expect(world.offeredSends().isEmpty)
        #expect(world.month(client).reserved == 0)
    }

    /// The trail by which the API reads a message's history backwards.
    @Test func outcomesNameTheOneBefore() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        let first = world.state.position.next
        guard case .sendFinished(let event) = world.finish(message, .retryLater).first?.event else { return }
        #expect(event.previous == message)
        #expect(world.state.inbox.messages[message]?.trail == first)
        world.start([message])
        guard case .sendFinished(let next) = world.finish(message, .accepted).first?.event else { return }
        #expect(next.previous == first)
    }

    @Test func aProviderIdFindsItsMessage() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        world.finish(message, .accepted) { $0.providerKey = World.hash("AC/SM9") }
        #expect(world.state.deduplication.sentMessage(client, World.hash("AC/SM9")) == message)
        #expect(world.state.deduplication.sentMessage(.zero, World.hash("AC/SM9")) == nil)
    }

    /// A restart in the middle of retries offers each message once: sending is at most once.
    @Test func aRestartOffersARetriedMessageOnce() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        world.finish(message, .retryLater)
        world.pass(seconds: 3)
        world.startOffered()
        world.finish(message, .retryLater)
        world.state = try world.rebuilt()
        #expect(world.offeredSends().isEmpty, "the second retry is not due yet")
        world.state = try world.rebuilt()
        world.pass(seconds: 60)
        #expect(world.offeredSends() == [message])
    }
}
