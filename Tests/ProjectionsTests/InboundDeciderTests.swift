import Foundation
import Log
import Projections
import Testing

@Suite struct InboundDeciderTests {
    private func types(_ events: [NewEvent]) -> [EventType] { events.map(\.event.type) }

    @Test func aNewCustomerOpensAConversation() throws {
        var world = World()
        let client = world.client()
        world.endpoint(client)
        let first = world.state.position.next
        let events = world.receive(world.inbound(client, id: "SM1"))
        #expect(types(events) == [.conversationOpened, .messageReceived, .eventPublished])
        let row = try #require(world.state.inbox.conversation(client, .sms, World.hash("ana")))
        #expect(row.id == first)
        #expect(row.messages == [first.next])
        #expect(row.lastInbound == world.records.dropLast().last?.time)
        #expect(world.status(first.next) == .received)
        #expect(events[2].message == first.next)
        #expect(events.allSatisfy { $0.client == client })
        #expect(events.dropFirst().allSatisfy { $0.conversation == first })
    }

    @Test func aKnownCustomerGoesOnInTheSame() throws {
        var world = World()
        let client = world.client()
        world.receive(world.inbound(client, id: "SM1"))
        let second = world.receive(world.inbound(client, id: "SM2"))
        #expect(types(second) == [.messageReceived, .eventPublished])
        let row = try #require(world.state.inbox.conversation(client, .sms, World.hash("ana")))
        #expect(row.messages.count == 2)
        let other = world.receive(world.inbound(client, from: "bea", id: "SM3"))
        #expect(types(other) == [.conversationOpened, .messageReceived, .eventPublished])
        #expect(world.state.inbox.conversationsByClient[client]?.count == 2)
    }

    @Test func aRepeatOfTheProviderIsNothing() {
        var world = World()
        let client = world.client()
        world.endpoint(client)
        world.receive(world.inbound(client, id: "SM1"))
        let before = world.state.position
        #expect(world.receive(world.inbound(client, id: "SM1")).isEmpty)
        #expect(world.receive(world.inbound(client, from: "bea", id: "SM1")).isEmpty)
        #expect(world.state.position == before)
    }

    @Test func clientsDoNotShareProviderIds() {
        var world = World()
        let client = world.client()
        let other = world.client()
        world.receive(world.inbound(client, id: "SM1"))
        #expect(!world.receive(world.inbound(other, id: "SM1")).isEmpty)
        #expect(world.state.inbox.conversationsByClient[other]?.count == 1)
    }

    @Test func nothingIsKeptForAClientThatIsNot() {
        var world = World()
        #expect(world.receive(world.inbound(LogPosition(99), id: "SM1")).isEmpty)
        let client = world.client()
        world.apply(.clientDeleted(ClientDeleted()), client: client)
        #expect(world.receive(world.inbound(client, id: "SM2")).isEmpty)
    }

    struct Gate: Sendable {
        let plan: Plan
        let addon: AddonStatus
        let sms: Bool
        let forwards: Bool
    }

    static let gates = [
        Gate(plan: .business, addon: .active, sms: true, forwards: true),
        Gate(plan: .professional, addon: .active, sms: true, forwards: true),
        Gate(plan: .creator, addon: .active, sms: true, forwards: false),
        Gate(plan: .business, addon: .none, sms: true, forwards: false),
        Gate(plan: .business, addon: .active, sms: false, forwards: false),
    ]

    /// What a client may not receive is recorded and not forwarded.
    @Test(arguments: gates)
    func inboundIsRecordedBehindEveryGate(_ gate: Gate) {
        var world = World()
        let client = world.client(plan: gate.plan, addon: gate.addon, sms: gate.sms)
        world.endpoint(client)
        let events = world.receive(world.inbound(client, id: "SM1"))
        #expect(types(events).contains(.messageReceived))
        #expect(types(events).contains(.eventPublished) == gate.forwards)
    }

    @Test func aTrialForwardsUntilItEnds() {
        var world = World()
        let client = world.client(addon: .none)
        var update = ClientUpdated()
        update.plan = .business
        update.addon = .trial
        update.trialEndsAt = world.now.advanced(bySeconds: 100)
        world.apply(.clientUpdated(update), client: client)
        world.pass(seconds: 99)
        #expect(types(world.receive(world.inbound(client, id: "SM1"))).contains(.eventPublished))
        world.pass(seconds: 2)
        #expect(!types(world.receive(world.inbound(client, id: "SM2"))).contains(.eventPublished))
    }

    @Test func stopAndStartArePutOnRecord() {
        var world = World()
        let client = world.client()
        let stop = world.receive(world.inbound(client, id: "SM1", consent: .optOut))
        #expect(types(stop) == [.conversationOpened, .messageReceived, .customerOptedOut, .eventPublished])
        #expect(world.state.optOuts.contains(client, .sms, World.hash("ana")))
        #expect(!world.state.optOuts.contains(client, .whatsapp, World.hash("ana")))
        #expect(!world.state.optOuts.contains(client, .sms, World.hash("bea")))
        let start = world.receive(world.inbound(client, id: "SM2", consent: .optIn))
        #expect(types(start) == [.messageReceived, .customerOptedIn, .eventPublished])
        #expect(!world.state.optOuts.contains(client, .sms, World.hash("ana")))
    }

    /// Whose consent it is counts per client.
    @Test func anOptOutIsForOneClient() {
        var world = World()
        let client = world.client()
        let other = world.client()
        world.receive(world.inbound(client, id: "SM1", consent: .optOut))
        #expect(!world.state.optOuts.contains(other, .sms, World.hash("ana")))
    }

    @Test func theMessageHasItsOwnKeyAndTheRenderingSharesIt() throws {
        var world = World()
        let client = world.client()
        world.endpoint(client)
        for (id, consent) in [("SM1", nil), ("SM2", InboundMessage.Consent.optOut)] {
            let events = world.receive(world.inbound(client, from: id, id: id, consent: consent))
            let message = try #require(events.firstIndex { $0.event.type == .messageReceived })
            let published = try #require(events.firstIndex { $0.event.type == .eventPublished })
            guard case .newKey(.message) = events[message].seal, case .newKey(.conversation) = events[0].seal,
                case .sameAsBatch(let back) = events[published].seal
            else {
                Issue.record("wrong keys")
                return
            }
            #expect(published - back == message)
        }
    }

    /// The body is the one that the contract shows.
    @Test func theWebhookBody() throws {
        var world = World()
        let client = world.client()
        world.endpoint(client)
        let now = world.context.now
        let events = world.receive(world.inbound(client, id: "SM1"))
        let rendering = try #require(events.last?.bodies.first)
        #expect(rendering.purpose == .rendering)
        let parsed = try JSONSerialization.jsonObject(with: Data(rendering.plaintext)) as? [String: Any]
        let body = try #require(parsed)
        #expect(body["id"] as? String == world.ids.encode(.event, world.state.position))
        #expect(body["type"] as? String == "sms.message_received")
        #expect(body["timestamp"] as? String == RFC3339.format(now))
        #expect(body["api_version"] as? String == "2026-11-01")
        #expect(body["sequence"] as? Int == 1)
        #expect(body["previous_sequence"] is NSNull)
        let data = try #require(body["data"] as? [String: Any])
        #expect(data["client_id"] as? String == world.ids.encode(.client, client))
        #expect(data["platform"] as? String == "sms")
        #expect(data["customer"] as? [String: String] == ["phone": "+15550001111"])
        #expect(data["account"] as? [String: String] == ["phone": "+15550002222"])
        let conversation = try #require(data["conversation"] as? [String: Any])
        #expect(conversation["status"] as? String == "open")
        #expect(conversation["ticket_ref"] is NSNull)
        #expect(conversation["window_expires_at"] == nil, "SMS has no window")
        let message = try #require(data["message"] as? [String: Any])
        #expect(message["id"] as? String == world.ids.encode(.message, LogPosition(world.state.position.rawValue - 1)))
        #expect(message["platform_message_id"] as? String == "SM1")
        #expect(message["direction"] as? String == "inbound")
        #expect(message["text"] as? String == "Hello")
        #expect(message["encoding"] as? String == "GSM-7")
        #expect(message["segments"] as? Int == 1)
    }
}
