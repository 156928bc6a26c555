import Log
import Projections
import TestSupport
import Testing

/// Two conversations that turn out to be with one customer, and one number that turns out to be two.
@Suite struct JoinTests {
    private let account = World.hash("account")

    private func world() -> (World, LogPosition) {
        var world = World()
        let client = world.client(sms: false)
        world.connect(client, .whatsapp)
        world.endpoint(client) { $0.events = ListField(["whatsapp.message_received"]) }
        return (world, client)
    }

    /// - Parameters:
    ///   - id: the business-scoped id; nil where the provider says only a number.
    private func message(
        _ client: LogPosition,
        _ id: String?,
        _ number: String?,
        name: String,
        account: String = "account"
    ) -> InboundMessage {
        var message = InboundMessage(
            client: client,
            platform: .whatsapp,
            duplicateKey: World.hash("message/" + name),
            customer: World.hash(id ?? number ?? ""),
            account: World.hash(account)
        )
        message.customerKind = id == nil ? .number : .scopedID
        message.otherCustomer = id == nil ? nil : number.map { World.hash($0) }
        message.otherKind = message.otherCustomer == nil ? .unknown : .number
        message.content.platformMessageID = name
        return message
    }

    private func find(_ world: World, _ client: LogPosition, _ address: String) -> Inbox.ConversationRow? {
        world.state.inbox.conversation(client, .whatsapp, World.hash(address))
    }

    private func send(
        _ world: inout World,
        _ client: LogPosition,
        _ conversation: LogPosition,
        _ key: String
    ) throws -> LogPosition {
        try world.send(
            world.request(client, key: key) {
                $0.platform = .whatsapp
                $0.recipient = .conversation(conversation)
            }
        )
    }

    /// A thread by number and a younger one by id, each with a ticket.
    private func twoThreads() throws -> (World, LogPosition, older: LogPosition, younger: LogPosition) {
        var (world, client) = world()
        world.receive(message(client, nil, "W", name: "w1"))
        world.receive(message(client, "B", nil, name: "b1"))
        let older = try #require(find(world, client, "W")).id
        let younger = try #require(find(world, client, "B")).id
        for (id, ref) in [(older, "T-1"), (younger, "T-2")] {
            var updated = ConversationUpdated()
            updated.status = id == older ? .closed : .open
            updated.ticketRef = ref
            world.apply([NewEvent(.conversationUpdated(updated), client: client, conversation: id)])
        }
        return (world, client, older, younger)
    }

    // MARK: Joining

    @Test func aMessageThatNamesBothMakesOneOfTwo() throws {
        var (world, client, older, younger) = try twoThreads()
        let before = world.state.inbox.conversations[younger]?.lastInbound
        world.pass(seconds: 10)
        let events = world.receive(message(client, "B", "W", name: "both"))
        #expect(events.map(\.event.type).prefix(3) == [.conversationJoined, .conversationIdentified, .messageReceived])
        let row = try #require(world.state.inbox.current(younger))
        #expect(row.id == older && row.joined == [younger])
        #expect(row.messages == row.messages.sorted() && row.messages.count == 3)
        #expect(row.ticketRefs == ["T-1", "T-2"] && row.ticketRef == "T-1")
        #expect(row.status == .open)
        #expect(try #require(row.lastInbound) > (try #require(before)))
        #expect(find(world, client, "W")?.id == older && find(world, client, "B")?.id == older)
        #expect(row.messages.allSatisfy { world.state.inbox.messages[$0]?.conversation == older })
        // Once is enough.
        #expect(world.receive(message(client, "B", "W", name: "again")).first?.event.type == .messageReceived)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func aReportThatNamesBothDoesSoToo() throws {
        var (world, client, older, younger) = try twoThreads()
        let wrote = try [older, younger].map { try #require(world.state.inbox.conversations[$0]?.lastInbound) }
        #expect(wrote[0] < wrote[1])
        let named = message(client, "B", "W", name: "status")
        #expect(world.state.learns(from: named)?.id == older)
        world.apply(world.state.decideNaming(named, world.context))
        #expect(world.state.inbox.survivor(of: younger) == older)
        #expect(world.state.decideNaming(named, world.context).isEmpty)
        #expect(world.state.inbox.current(older)?.messages.count == 2)
        #expect(world.state.inbox.current(older)?.lastInbound == wrote[1], "the later window; a report opens none")
    }

    @Test func whatOldRecordsDoNotSayIsNotJoined() throws {
        var (world, client) = world()
        var old = message(client, "B0", "W", name: "w1")
        (old.customerKind, old.otherKind) = (.unknown, .unknown)
        world.receive(old)
        world.receive(message(client, "B", nil, name: "b1"))
        world.receive(message(client, "B", "W", name: "both"))
        #expect(find(world, client, "W")?.id != find(world, client, "B")?.id)
        #expect(find(world, client, "B")?.messages.count == 2)
    }

    @Test func aSendToEitherGoesToTheOlder() throws {
        var (world, client, older, younger) = try twoThreads()
        let first = try send(&world, client, younger, "before")
        world.receive(message(client, "B", "W", name: "both"))
        let second = try send(&world, client, younger, "after")
        #expect(world.state.inbox.messages[second]?.conversation == older)
        let repeated = world.request(client, key: "before") {
            $0.platform = .whatsapp
            $0.recipient = .conversation(younger)
        }
        guard case .replayed(first) = world.decide(repeated) else { return #expect(Bool(false), "sent twice") }
    }

    @Test func whatIsQueuedGoesOutInOrderOfAcceptance() throws {
        var (world, client, older, younger) = try twoThreads()
        let a = try send(&world, client, younger, "a")
        let b = try send(&world, client, older, "b")
        let c = try send(&world, client, younger, "c")
        #expect(Set(world.offeredSends()) == [a, b])
        world.start([b])
        world.receive(message(client, "B", "W", name: "both"))
        // One was picked before and one is with the provider: nothing else starts until that has ended.
        #expect(world.state.decideStart([a], now: world.now).start.isEmpty)
        #expect(world.offeredSends().isEmpty)
        world.finish(b, .accepted)
        for next in [a, c] {
            #expect(world.offeredSends() == [next])
            #expect(world.state.decideStart([next], now: world.now).start == [next])
            world.start([next])
            #expect(world.offeredSends().isEmpty)
            world.finish(next, .accepted)
        }
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func deliveriesKeepOneOrder() throws {
        var (world, client, _, younger) = try twoThreads()
        let rows = world.state.deliveries.rows.keys.sorted()
        try #require(rows.count == 2)
        world.receive(message(client, "B", "W", name: "both"))
        let third = try #require(world.state.deliveries.rows.keys.max())
        for delivery in rows + [third] {
            #expect(world.offeredDeliveries() == [delivery])
            world.startDelivery(delivery)
            world.finishDelivery(delivery, .succeeded)
        }
        #expect(world.state.inbox.isJoined(younger))
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func theStricterConsentCounts() throws {
        var (world, client, older, younger) = try twoThreads()
        var out = CustomerOptedOut()
        out.platform = .whatsapp
        out.customer = World.hash("B")
        let waiting = try send(&world, client, older, "waits")
        world.apply([NewEvent(.customerOptedOut(out), client: client, conversation: younger)])
        #expect(world.state.decideStart([waiting], now: world.now).start == [waiting])
        world.receive(message(client, "B", "W", name: "both"))
        #expect(world.state.decideStart([waiting], now: world.now).drop == [waiting])
        let request = world.request(client, key: "k") {
            $0.platform = .whatsapp
            $0.recipient = .conversation(older)
        }
        #expect(world.refusal(request) == .recipientOptedOut)
        var start = message(client, nil, "W", name: "start")
        start.consent = .optIn
        world.receive(start)
        #expect(world.refusal(request) == nil)
    }

    @Test func anErasureCoversBoth() throws {
        for asked in [0, 1] {
            var (world, client, older, younger) = try twoThreads()
            let messages = try #require(world.state.inbox.conversations[younger]).messages
            world.receive(message(client, "B", "W", name: "both"))
            let queued = try send(&world, client, younger, "k")
            let id = [older, younger][asked]
            world.apply(try world.state.decideErase(id, client: client, ids: world.ids, world.context))
            #expect(world.state.purges.pending.keys.contains(.conversation(older)))
            #expect(world.state.purges.pending.keys.contains(.conversation(younger)))
            #expect(world.status(queued) == .failed)
            for message in messages {
                #expect(world.state.isPurged(message))
                // Its record names the younger one.
                #expect(
                    world.state.purges.bars(
                        recordAt: message,
                        client: client,
                        conversation: younger,
                        message: .zero
                    )
                )
                #expect(world.state.inbox.origin(of: message, in: older) == younger)
            }
            #expect(find(world, client, "W") == nil && find(world, client, "B") == nil)
            // The same person is somebody new, and nothing is joined with what is erased.
            world.receive(message(client, "B", "W", name: "later"))
            let new = try #require(find(world, client, "B"))
            #expect(new.id > younger && new.joined.isEmpty && new.messages.count == 1)
            #expect(world.state.inbox.current(younger)?.status == .erased)
            #expect(try world.rebuilt().agrees(with: world.state))
        }
    }

    @Test func whatIsErasedIsNotJoined() throws {
        var (world, client, older, younger) = try twoThreads()
        world.apply(try world.state.decideErase(younger, client: client, ids: world.ids, world.context))
        let events = world.receive(message(client, "B", "W", name: "both"))
        #expect(!events.contains { $0.event.type == .conversationJoined })
        #expect(world.state.inbox.current(younger)?.status == .erased)
        var forged = ConversationJoined()
        forged.joined = younger
        world.apply([NewEvent(.conversationJoined(forged), client: client, conversation: older)])
        #expect(!world.state.inbox.isJoined(younger))
        #expect(world.state.purges.pending[.conversation(younger)] != nil)
    }

    // MARK: One number, two people

    @Test func anotherIDWithTheNumberIsAnotherPerson() throws {
        var (world, client) = world()
        world.receive(message(client, "B1", "W", name: "one"))
        let first = try #require(find(world, client, "W"))
        world.receive(message(client, "B2", "W", name: "two"))
        let second = try #require(find(world, client, "B2"))
        #expect(second.id != first.id && second.messages.count == 1)
        #expect(find(world, client, "W")?.id == second.id)
        let left = try #require(find(world, client, "B1"))
        #expect(left.id == first.id && left.hasLostNumber && left.messages.count == 1)
        // Whoever has only the number now is the second.
        world.receive(message(client, nil, "W", name: "three"))
        #expect(find(world, client, "W")?.messages.count == 2)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    /// A report about what was sent before the number changed hands comes later.
    @Test func whatCameLateDoesNotTakeTheNumberFromSomebodyElse() throws {
        var (world, client) = world()
        world.receive(message(client, "B1", "W", name: "one"))
        world.receive(message(client, "B2", "W", name: "two"))
        let second = try #require(find(world, client, "B2")).id
        #expect(world.state.learns(from: message(client, "B1", "W", name: "status")) == nil)
        world.receive(message(client, "B1", "W", name: "late"))
        #expect(find(world, client, "B1")?.messages.count == 2)
        #expect(find(world, client, "W")?.id == second)
        #expect(find(world, client, "B1")?.hasLostNumber == true)
    }

    @Test func aNumberWithoutAnIDIsTheSamePerson() throws {
        var (world, client) = world()
        world.receive(message(client, nil, "W", name: "one"))
        world.receive(message(client, "B1", "W", name: "two"))
        #expect(world.state.inbox.conversations.count == 1)
        #expect(find(world, client, "B1")?.messages.count == 2)
    }

    @Test func idsOfTwoBusinessesAreNotCompared() throws {
        var (world, client) = world()
        world.receive(message(client, "B1", "W", name: "one"))
        world.receive(message(client, "B2", "W", name: "two", account: "another"))
        #expect(world.state.inbox.conversations.count == 1)
    }

    // MARK: Other addresses

    private func change(
        _ client: LogPosition,
        from former: [String],
        givenUp: String?,
        to addresses: [(String, AddressKind)],
        name: String = "system"
    ) -> AddressChange {
        var change = AddressChange(
            client: client,
            platform: .whatsapp,
            duplicateKey: World.hash("message/" + name),
            addresses: addresses.map { KnownAddress(World.hash($0.0), $0.1, account: account) }
        )
        change.former = former.map { World.hash($0) }
        change.givenUp = givenUp.map { World.hash($0) }
        change.identifiers.phone = "+15550009999"
        change.providerBytes = [1]
        return change
    }

    @Test func aChangedNumberIsTheSameConversation() throws {
        var (world, client) = world()
        world.receive(message(client, "B1", "W1", name: "one"))
        let row = try #require(find(world, client, "W1"))
        let moved = change(client, from: ["W1"], givenUp: "W1", to: [("W2", .number)])
        world.pass(seconds: 5)
        let events = world.state.decide(moved, world.context)
        #expect(events.map(\.event.type) == [.conversationIdentified, .providerEventUnrecognized])
        #expect(events.allSatisfy { $0.conversation == row.id })
        world.apply(events)
        #expect(world.state.decide(moved, world.context).isEmpty, "the provider repeated itself")
        let now = try #require(find(world, client, "W2"))
        #expect(now.id == row.id && now.identifiersAt > row.identifiersAt)
        #expect(now.lastInbound == row.lastInbound, "it opens no window")
        #expect(find(world, client, "W1") == nil)
        for (address, isReplaced) in [("W1", true), ("B1", true), ("W2", false), ("W3", false)] {
            #expect(now.hasReplaced(World.hash(address)) == isReplaced, "\(address)")
        }
        // What the old number says later is of another person; what came late from the old pair is not.
        world.receive(message(client, nil, "W1", name: "stranger"))
        #expect(find(world, client, "W1")?.id != row.id)
        world.receive(message(client, "B1", nil, name: "late"))
        #expect(find(world, client, "B1")?.id == row.id)
        // A new number comes with a new id, which the notice need not say.
        world.receive(message(client, "B2", "W2", name: "two"))
        #expect(find(world, client, "B2")?.id == row.id)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func whatCameLateDoesNotBringTheNumberBack() throws {
        var (world, client) = world()
        world.receive(message(client, "B1", "W1", name: "one"))
        let to: [(String, AddressKind)] = [("B2", .scopedID), ("W2", .number)]
        world.apply(world.state.decide(change(client, from: ["W1"], givenUp: "W1", to: to), world.context))
        world.receive(message(client, "B1", "W1", name: "late"))
        #expect(find(world, client, "B1")?.messages.count == 2)
        #expect(find(world, client, "W1") == nil)
    }

    @Test func whatCameLateDoesNotJoinWhoHasTheNumberNow() throws {
        var (world, client) = world()
        world.receive(message(client, "B1", "W1", name: "one"))
        let to: [(String, AddressKind)] = [("B2", .scopedID), ("W2", .number)]
        world.apply(world.state.decide(change(client, from: ["W1"], givenUp: "W1", to: to), world.context))
        world.receive(message(client, nil, "W1", name: "stranger"))
        let stranger = try #require(find(world, client, "W1")).id
        let events = world.receive(message(client, "B1", "W1", name: "late"))
        #expect(!events.contains { $0.event.type == .conversationJoined })
        #expect(find(world, client, "B1")?.messages.count == 2)
        #expect(find(world, client, "W1")?.id == stranger)
    }

    @Test func aNumberAloneDoesNotJoinWhoHasAnID() throws {
        var (world, client) = world()
        world.receive(message(client, "B1", "W1", name: "one"))
        world.receive(message(client, "B3", "W2", name: "stranger"))
        let first = try #require(find(world, client, "B1")).id
        let stranger = try #require(find(world, client, "B3")).id
        let moved = change(client, from: ["B1", "W1"], givenUp: "W1", to: [("W2", .number)])
        let events = world.state.decide(moved, world.context)
        #expect(!events.contains { $0.event.type == .conversationJoined })
        world.apply(events)
        #expect(find(world, client, "W2")?.id == first)
        #expect(find(world, client, "B3")?.id == stranger)
        #expect(find(world, client, "B3")?.hasLostNumber == true)
        // It was the customer, who wrote before the notice came: the next message says so.
        world.receive(message(client, "B3", "W2", name: "again"))
        #expect(find(world, client, "B3")?.id == first && find(world, client, "W2")?.id == first)
        #expect(world.state.inbox.survivor(of: stranger) == first)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func aNumberChangedToOneThatIsKnownJoins() throws {
        var (world, client) = world()
        world.receive(message(client, nil, "W1", name: "one"))
        world.receive(message(client, "B2", "W2", name: "two"))
        let older = try #require(find(world, client, "W1")).id
        let younger = try #require(find(world, client, "W2")).id
        let to: [(String, AddressKind)] = [("B2", .scopedID), ("W2", .number)]
        let events = world.state.decide(change(client, from: ["W1"], givenUp: "W1", to: to), world.context)
        #expect(events.first?.event.type == .conversationJoined)
        #expect(events.allSatisfy { $0.conversation == older })
        world.apply(events)
        #expect(find(world, client, "B2")?.id == older && find(world, client, "W2")?.id == older)
        #expect(find(world, client, "W1") == nil)
        #expect(world.state.inbox.survivor(of: younger) == older)
    }

    @Test func aNumberThatSomebodyElseHadChangesHands() throws {
        var (world, client) = world()
        world.receive(message(client, "B1", "W1", name: "one"))
        world.receive(message(client, "B3", "W2", name: "stranger"))
        let to: [(String, AddressKind)] = [("B2", .scopedID), ("W2", .number)]
        let events = world.state.decide(change(client, from: ["B1"], givenUp: "W1", to: to), world.context)
        #expect(!events.contains { $0.event.type == .conversationJoined })
        world.apply(events)
        #expect(find(world, client, "W2")?.id == find(world, client, "B1")?.id)
        #expect(find(world, client, "B3")?.hasLostNumber == true)
    }

    @Test func aChangeOfNobodyIsKept() {
        var (world, client) = world()
        let events = world.state.decide(
            change(client, from: ["W1"], givenUp: "W1", to: [("W2", .number)]),
            world.context
        )
        #expect(events.map(\.event.type) == [.providerEventUnrecognized])
        world.apply(events)
        #expect(world.state.inbox.conversations.isEmpty)
    }
}
