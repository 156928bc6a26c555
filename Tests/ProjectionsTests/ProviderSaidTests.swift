import Foundation
import Log
import Projections
import TestSupport
import Testing

/// What is told of a provider's own words beside the content: when, to whom the conversation belonged, and who it was.
@Suite struct ProviderSaidTests {
    private static let key = KeyReference(client: 1, leaf: 1, epoch: 1, keyClass: .message)

    private func world(_ platform: Platform) -> (World, LogPosition) {
        var world = World()
        let client = world.client(sms: false)
        world.connect(client, platform)
        return (world, client)
    }

    private func message(_ client: LogPosition, _ platform: Platform, id: String = "m1") -> InboundMessage {
        var message = InboundMessage(
            client: client,
            platform: platform,
            duplicateKey: World.hash("message/" + id),
            customer: World.hash("ana"),
            account: World.hash("account")
        )
        message.content.platformMessageID = id
        return message
    }

    private func followUp(_ client: LogPosition, _ platform: Platform, _ kind: FollowUp.Kind) -> FollowUp {
        FollowUp(
            client: client,
            platform: platform,
            duplicateKey: World.hash("follow-up"),
            customer: World.hash("ana"),
            target: World.hash("message/m1"),
            kind: kind,
            providerBytes: [1],
            envelope: [2]
        )
    }

    private func take(_ world: inout World, _ followUp: FollowUp) -> [NewEvent] {
        let target = world.state.message(followUp.client, followUp.target)
        let events = world.state.decide(
            followUp,
            about: target,
            seal: ProviderSaidTests.key,
            ids: world.ids,
            world.context
        )
        world.apply(events)
        return events
    }

    /// A part of the last webhook's `data`.
    private func told(_ part: String, _ events: [NewEvent]) throws -> [String: Any] {
        let bytes = try #require(events.last?.bodies.first { $0.purpose == .rendering }?.plaintext)
        let body = try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any]
        return try #require((body?["data"] as? [String: Any])?[part] as? [String: Any])
    }

    // MARK: When

    /// Shown as it was said, however wrong; what is counted from it is not believed beyond now.
    @Test(arguments: [1, 1_790_000_000_000_000_000, 7_000_000_000_000_000_000, UInt64.max])
    func theProvidersTimeIsToldAsItIs(_ nanoseconds: UInt64) throws {
        var (world, client) = world(.whatsapp)
        var inbound = message(client, .whatsapp)
        inbound.providerTime = Timestamp(nanoseconds)
        let told = try told("message", world.receive(inbound))
        #expect(told["sent_at"] as? String == RFC3339.format(Timestamp(nanoseconds)))
        let now = try #require(told["received_at"] as? String)
        let window = try #require(world.state.inbox.conversations.values.first?.lastInbound)
        #expect(window <= (try #require(RFC3339.parse(now))).advanced(bySeconds: 1))
    }

    @Test func withoutATimeNoneIsTold() throws {
        var (world, client) = world(.whatsapp)
        let message = try told("message", world.receive(message(client, .whatsapp)))
        #expect(message["sent_at"] == nil && message["standby"] == nil)
    }

    @Test(arguments: ["edit", "unsend", "reaction"])
    func whatIsAboutAMessageHasItsOwnTime(_ name: String) throws {
        var (world, client) = world(.instagram)
        world.receive(message(client, .instagram))
        let kinds: [String: FollowUp.Kind] = [
            "edit": .edit(number: 1, MessageContent()), "unsend": .unsend, "reaction": .reaction(emoji: "x"),
        ]
        var followUp = followUp(client, .instagram, try #require(kinds[name]))
        followUp.providerTime = Timestamp(1_790_000_000_000_000_000)
        followUp.isStandby = true
        let events = take(&world, followUp)
        let told = try told("message", events)
        #expect(told["sent_at"] as? String == "2026-09-21T14:13:20.000Z")
        #expect(told["standby"] as? Bool == true)
    }

    // MARK: Standby

    @Test func whatCameWhileAnotherAppHeldTheConversationIsMarked() throws {
        var (world, client) = world(.facebook)
        var inbound = message(client, .facebook)
        inbound.isStandby = true
        let events = world.receive(inbound)
        #expect(try told("message", events)["standby"] as? Bool == true)
        let recorded = events.compactMap { new -> Bool? in
            guard case .messageReceived(let event) = new.event else { return nil }
            return event.standby
        }
        #expect(recorded == [true])
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    // MARK: Who

    @Test func anIdAloneIsToldWithTheNumberThatIsKnown() throws {
        var (world, client) = world(.whatsapp)
        world.receive(message(client, .whatsapp))
        let conversation = try #require(world.state.inbox.conversations.keys.first)
        let known = KnownCustomer(conversation: conversation, phone: "+16505551234")
        var inbound = message(client, .whatsapp, id: "m2")
        inbound.identifiers.platformUserID = "US.1349"
        inbound.known = known
        let customer = try told("customer", world.receive(inbound))
        #expect(customer["phone"] as? String == "+16505551234")
        #expect(customer["platform_user_id"] as? String == "US.1349")
        var reaction = followUp(client, .whatsapp, .reaction(emoji: "x"))
        reaction.known = known
        #expect(try told("customer", take(&world, reaction))["phone"] as? String == "+16505551234")
    }

    /// The number was read before the conversation was erased; who writes now is somebody new.
    @Test func theNumberOfAnErasedConversationIsNotToldOfTheNext() throws {
        var (world, client) = world(.whatsapp)
        world.receive(message(client, .whatsapp))
        let old = try #require(world.state.inbox.conversations.keys.first)
        world.apply(try world.state.decideErase(old, client: client, ids: world.ids, world.context))
        var inbound = message(client, .whatsapp, id: "m2")
        inbound.known = KnownCustomer(conversation: old, phone: "+16505551234")
        let events = world.receive(inbound)
        #expect(try told("customer", events)["phone"] == nil)
        for body in events.flatMap(\.bodies) {
            #expect(body.plaintext.firstRange(of: [UInt8]("6505551234".utf8)) == nil)
        }
    }

    @Test func whatTheProviderSaysNowCounts() throws {
        var (world, client) = world(.whatsapp)
        world.receive(message(client, .whatsapp))
        let conversation = try #require(world.state.inbox.conversations.keys.first)
        var inbound = message(client, .whatsapp, id: "m2")
        inbound.identifiers.phone = "+4915112345678"
        inbound.known = KnownCustomer(conversation: conversation, phone: "+16505551234")
        #expect(try told("customer", world.receive(inbound))["phone"] as? String == "+4915112345678")
    }

    // MARK: Of the business

    @Test func whatTheBusinessTakesBackIsPurged() throws {
        var (world, client) = world(.whatsapp)
        world.apply(world.state.decideEcho(message(client, .whatsapp), world.context))
        let echo = try #require(world.state.message(client, World.hash("message/m1")))
        let events = take(&world, followUp(client, .whatsapp, .unsend))
        #expect(world.state.isPurged(echo))
        #expect(try told("message", events)["direction"] as? String == "outbound")
    }
}
