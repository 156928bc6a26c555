import Log
import Projections
import Testing

/// One person under several addresses, and several numbers of the client's.
@Suite struct CustomerAddressesTests {
    private func types(_ events: [NewEvent]) -> [EventType] { events.map(\.event.type) }

    private func row(_ world: World, _ client: LogPosition, _ customer: String = "ana") throws -> Inbox.ConversationRow
    {
        try #require(world.state.inbox.conversation(client, .sms, World.hash(customer)))
    }

    // MARK: Consent

    /// A conversation that an earlier version opened under `old`, and which is known as `ana` too.
    private func aliased(_ world: inout World, _ client: LogPosition) throws -> Inbox.ConversationRow {
        world.receive(world.inbound(client, from: "old", id: "SM0"))
        var message = world.inbound(client, id: "SM1")
        message.earlierConversation = try row(world, client, "old").id
        world.receive(message)
        return try row(world, client)
    }

    @Test(arguments: ["old", "ana"])
    func anOptOutUnderAnyAddressCounts(_ address: String) throws {
        var world = World()
        let client = world.client()
        let conversation = try aliased(&world, client)
        let waiting = try world.send(world.request(client, key: "a"))
        world.receive(world.inbound(client, from: address, id: "SM2", consent: .optOut))
        for (key, recipient) in [
            ("b", SendRequest.Recipient.conversation(conversation.id)), ("c", .phone(World.hash("ana"), "+1")),
        ] {
            #expect(world.refusal(world.request(client, key: key) { $0.recipient = recipient }) == .recipientOptedOut)
        }
        #expect(world.state.decideStart([waiting], now: world.now).drop == [waiting])
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func aStartLiftsEveryOptOut() throws {
        var world = World()
        let client = world.client()
        _ = try aliased(&world, client)
        world.receive(world.inbound(client, from: "old", id: "SM2", consent: .optOut))
        var start = world.inbound(client, id: "SM3", consent: .optIn)
        start.earlierAddresses = [World.hash("older"), World.hash("older")]
        var event = CustomerOptedOut()
        event.platform = .sms
        event.customer = World.hash("older")
        world.apply(.customerOptedOut(event), client: client)
        let events = world.receive(start)
        #expect(types(events).count { $0 == .customerOptedIn } == 3)
        for address in ["ana", "old", "older"] {
            #expect(!world.state.optOuts.contains(client, .sms, World.hash(address)))
        }
        #expect(world.refusal(world.request(client, key: "a")) == nil)
    }

    @Test func anEarlierOptOutRefusesANewConversation() throws {
        var world = World()
        let client = world.client()
        world.receive(world.inbound(client, from: "old", id: "SM1", consent: .optOut))
        let request = world.request(client, key: "a") { $0.earlierAddresses = [World.hash("old")] }
        #expect(world.refusal(request) == .recipientOptedOut)
        #expect(world.refusal(world.request(client, key: "b")) == nil)
    }

    // MARK: What only an earlier hash finds

    @Test func anEarlierConversationGoesOnAndIsKnownByBoth() throws {
        var world = World()
        let client = world.client()
        let first = try aliased(&world, client)
        #expect(world.state.inbox.conversations.count == 1)
        #expect(try row(world, client, "old").id == first.id)
        #expect(first.messages.count == 2)
        let sent = world.decide(
            world.request(client, to: "new", key: "a") { $0.earlierConversation = first.id }
        )
        guard case .accepted(_, first.id) = sent else {
            Issue.record("\(sent)")
            return
        }
    }

    @Test func anEarlierConversationIsTheClientsAndAlive() throws {
        var world = World()
        let client = world.client()
        let other = world.client()
        world.receive(world.inbound(other, from: "old", id: "SM1"))
        let theirs = try row(world, other, "old").id
        var message = world.inbound(client, id: "SM2")
        message.earlierConversation = theirs
        world.receive(message)
        #expect(try row(world, client).id != theirs)
        let erased = try row(world, client).id
        world.apply(try world.state.decideErase(erased, client: client, ids: world.ids, world.context))
        message.duplicateKey = World.hash("provider/SM3")
        message.earlierConversation = erased
        world.receive(message)
        #expect(try row(world, client).id != erased)
    }

    // MARK: Which number was written to

    @Test func answersFollowTheNumberThatWasWrittenToLast() throws {
        var world = World()
        let client = world.client()
        world.receive(world.inbound(client, id: "SM1"))
        let before = try row(world, client)
        var message = world.inbound(client, id: "SM2")
        message.account = World.hash("another")
        #expect(types(world.receive(message)).first == .conversationReaddressed)
        let after = try row(world, client)
        #expect(after.id == before.id)
        #expect(after.account == World.hash("another"))
        #expect(after.identifiersAt > before.identifiersAt)
        #expect(after.others.contains(after.identifiersAt), "an erasure destroys it too")
        // The same again is nothing new.
        message.duplicateKey = World.hash("provider/SM3")
        #expect(!types(world.receive(message)).contains(.conversationReaddressed))
        // Nor is a message that came to no number.
        message.duplicateKey = World.hash("provider/SM4")
        message.account = .absent
        #expect(!types(world.receive(message)).contains(.conversationReaddressed))
        #expect(try row(world, client).identifiersAt == after.identifiersAt)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func theAccountsOfMetaAreNamedByTheConnection() throws {
        var world = World()
        let client = world.client()
        world.connect(client, .whatsapp)
        var message = world.inbound(client, id: "1")
        message.platform = .whatsapp
        world.receive(message)
        message.duplicateKey = World.hash("provider/2")
        message.account = World.hash("another")
        #expect(!types(world.receive(message)).contains(.conversationReaddressed))
    }
}
