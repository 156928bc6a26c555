import Log
import Projections
import Testing

@Suite struct SendDeciderTests {
    @Test func aNewNumberOpensAConversation() throws {
        var world = World()
        let client = world.client()
        let first = world.state.position.next
        guard case .accepted(let events, let conversation) = world.decide(world.request(client, key: "k")) else {
            Issue.record("not accepted")
            return
        }
        #expect(events.map(\.event.type) == [.conversationOpened, .sendAccepted])
        #expect(conversation == first)
        #expect(world.status(first.next) == .queued)
        #expect(world.state.inbox.conversation(client, .sms, World.hash("ana"))?.messages == [first.next])
        #expect(world.state.sends.rows[first.next]?.conversation == first)
    }

    @Test func aKnownNumberAndItsConversationAreTheSame() throws {
        var world = World()
        let client = world.client()
        world.receive(world.inbound(client, id: "SM1"))
        let row = try #require(world.state.inbox.conversation(client, .sms, World.hash("ana")))
        for recipient in [SendRequest.Recipient.phone(World.hash("ana"), "+1"), .conversation(row.id)] {
            let key = "k\(world.state.position)"
            let decision = world.decide(world.request(client, key: key) { $0.recipient = recipient })
            guard case .accepted(let events, row.id) = decision else {
                Issue.record("\(decision)")
                return
            }
            #expect(events.map(\.event.type) == [.sendAccepted])
        }
    }

    // MARK: Gates

    struct Gate: Sendable {
        let plan: Plan
        let addon: AddonStatus
        let connected: [Platform]
        let platform: Platform
        let refusal: Refusal.Code?
    }

    static let gates = [
        Gate(plan: .business, addon: .active, connected: [.sms], platform: .sms, refusal: nil),
        Gate(plan: .professional, addon: .active, connected: [.sms], platform: .sms, refusal: nil),
        Gate(plan: .creator, addon: .active, connected: [.sms], platform: .sms, refusal: .smsNotEnabled),
        Gate(plan: .business, addon: .active, connected: [], platform: .sms, refusal: .smsNotEnabled),
        Gate(plan: .business, addon: .none, connected: [.sms], platform: .sms, refusal: .planRequired),
        Gate(plan: .business, addon: .trial, connected: [.sms], platform: .sms, refusal: .planRequired),
        Gate(plan: .creator, addon: .active, connected: [.whatsapp], platform: .whatsapp, refusal: .planRequired),
        Gate(plan: .business, addon: .active, connected: [], platform: .whatsapp, refusal: .channelNotConnected),
        Gate(plan: .creator, addon: .active, connected: [], platform: .facebook, refusal: .channelNotConnected),
        Gate(plan: .creator, addon: .active, connected: [], platform: .instagram, refusal: .channelNotConnected),
        Gate(plan: .creator, addon: .none, connected: [.facebook], platform: .facebook, refusal: .planRequired),
    ]

    /// A trial here has no time left.
    @Test(arguments: gates)
    func gatesRefuse(_ gate: Gate) {
        var world = World()
        let client = world.client(plan: gate.plan, addon: gate.addon, sms: false)
        for platform in gate.connected { world.connect(client, platform) }
        #expect(world.refusal(world.request(client, key: "k") { $0.platform = gate.platform }) == gate.refusal)
    }

    @Test func aRefusalIsOnRecordWithoutABody() throws {
        var world = World()
        let client = world.client(addon: .none)
        guard case .refused(let refusal, let events) = world.decide(world.request(client, key: "k")) else {
            Issue.record("not refused")
            return
        }
        #expect(refusal.code == .planRequired)
        var expected = SendRefused()
        expected.platform = .sms
        expected.code = "plan_required"
        #expect(events.map(\.event) == [.sendRefused(expected)])
        #expect(events[0].bodies.isEmpty)
        #expect(world.state.inbox.messages.isEmpty)
        #expect(world.state.inbox.conversations.isEmpty)
        #expect(world.state.sends.rows.isEmpty)
    }

    /// A refusal takes no idempotency key: the same request is decided anew when the reason is gone.
    @Test func aRefusalIsNotStoredUnderTheKey() {
        var world = World()
        let client = world.client(sms: false)
        #expect(world.refusal(world.request(client, key: "k")) == .smsNotEnabled)
        world.connect(client)
        #expect(world.refusal(world.request(client, key: "k")) == nil)
    }

    @Test func unknownConversationsAndThoseOfOthers() throws {
        var world = World()
        let client = world.client()
        let other = world.client()
        world.receive(world.inbound(other, id: "SM1"))
        let theirs = try #require(world.state.inbox.conversation(other, .sms, World.hash("ana"))).id
        for id in [theirs, .zero, LogPosition(12_345), client] {
            let request = world.request(client, key: "k\(id)") { $0.recipient = .conversation(id) }
            #expect(world.refusal(request) == .unknownRecipient)
        }
        #expect(world.refusal(world.request(LogPosition(777), key: "k")) == .notFound)
    }

    @Test func erasedConversationsTakeNothing() throws {
        var world = World()
        let client = world.client()
        world.receive(world.inbound(client, id: "SM1"))
        let id = try #require(world.state.inbox.conversation(client, .sms, World.hash("ana"))).id
        var erased = ConversationUpdated()
        erased.status = .erased
        world.apply([NewEvent(.conversationUpdated(erased), client: client, conversation: id)])
        let request = world.request(client, key: "k") { $0.recipient = .conversation(id) }
        #expect(world.refusal(request) == .conversationErased)
    }

    @Test func optedOutCustomersGetNothing() throws {
        var world = World()
        let client = world.client()
        world.receive(world.inbound(client, id: "SM1", consent: .optOut))
        let id = try #require(world.state.inbox.conversation(client, .sms, World.hash("ana"))).id
        #expect(world.refusal(world.request(client, key: "a")) == .recipientOptedOut)
        let request = world.request(client, key: "b") { $0.recipient = .conversation(id) }
        #expect(world.refusal(request) == .recipientOptedOut)
        #expect(world.refusal(world.request(client, to: "bea", key: "c")) == nil)
        world.receive(world.inbound(client, id: "SM2", consent: .optIn))
        #expect(world.refusal(world.request(client, key: "a")) == nil)
    }

    // MARK: Limits

    @Test func theQueueHasAnEnd() throws {
        var world = World()
        let client = world.client()
        let other = world.client()
        let first = try world.send(world.request(client, key: "1") { $0.queueMax = 2 })
        _ = try world.send(world.request(client, key: "2") { $0.queueMax = 2 })
        #expect(world.refusal(world.request(client, key: "3") { $0.queueMax = 2 }) == .queueFull)
        #expect(world.refusal(world.request(other, key: "3") { $0.queueMax = 2 }) == nil)
        world.start([first])
        #expect(world.refusal(world.request(client, key: "3") { $0.queueMax = 2 }) == .queueFull)
        world.finish(first, .accepted)
        #expect(world.refusal(world.request(client, key: "3") { $0.queueMax = 2 }) == nil)
    }

    @Test func theQuotaCountsReservationsAndUse() throws {
        var world = World()
        let client = world.client(quota: 2)
        let first = try world.send(world.request(client, key: "1") { $0.segments = 3 })
        #expect(world.month(client) == .init(reserved: 1, used: 0), "an SMS counts one, whatever its segments")
        let second = try world.send(world.request(client, key: "2"))
        #expect(world.refusal(world.request(client, key: "3")) == .smsQuotaExceeded)
        world.start([first, second])
        world.finish(first, .accepted)
        #expect(world.month(client) == .init(reserved: 1, used: 1))
        #expect(world.refusal(world.request(client, key: "3")) == .smsQuotaExceeded)
        world.finish(second, .rejected)
        #expect(world.month(client) == .init(reserved: 0, used: 1))
        #expect(world.refusal(world.request(client, key: "3")) == nil)
    }

    @Test func anotherMonthHasItsOwnQuota() throws {
        var world = World()
        let client = world.client(quota: 1)
        let message = try world.send(world.request(client, key: "1"))
        let request = world.request(client, key: "2") { $0.usageMonth = 202_712 }
        #expect(world.refusal(request) == nil)
        world.start([message])
        world.finish(message, .rejected)
        #expect(world.month(client).reserved == 0, "a message is released in the month it was reserved in")
        #expect(world.state.usage.month(client, 202_712).reserved == 1)
    }

    @Test func aQuotaOfNothingAllowsNothing() {
        var world = World()
        let client = world.client(quota: 0)
        #expect(world.refusal(world.request(client, key: "1")) == .smsQuotaExceeded)
    }
}
