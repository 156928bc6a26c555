import Foundation
import Log
import Projections
import TestSupport
import Testing

/// What comes after a message and is about it: edits, reactions, withdrawals, echoes; also before the message.
@Suite struct FollowUpTests {
    private static let key = KeyReference(client: 1, leaf: 1, epoch: 1, keyClass: .message)

    private func world(_ platform: Platform = .instagram) -> (World, LogPosition) {
        var world = World()
        let client = world.client(sms: false)
        world.connect(client, platform)
        world.endpoint(client) { $0.events = ListField(["*"]) }
        return (world, client)
    }

    private func message(_ client: LogPosition, _ platform: Platform = .instagram, id: String = "m1") -> InboundMessage
    {
        var message = InboundMessage(
            client: client,
            platform: platform,
            duplicateKey: World.hash("message/" + id),
            customer: World.hash("ana"),
            account: World.hash("account")
        )
        message.content.platformMessageID = id
        message.content.text = "first words"
        return message
    }

    private func followUp(
        _ client: LogPosition,
        _ kind: FollowUp.Kind,
        key: String,
        target: String = "m1",
        platform: Platform = .instagram
    ) -> FollowUp {
        FollowUp(
            client: client,
            platform: platform,
            duplicateKey: World.hash(key),
            customer: World.hash("ana"),
            target: World.hash("message/" + target),
            kind: kind,
            providerBytes: [1],
            envelope: [2]
        )
    }

    private func edit(_ number: UInt64, _ text: String) -> FollowUp.Kind {
        var content = MessageContent()
        content.text = text
        return .edit(number: number, content)
    }

    @discardableResult
    private func take(_ world: inout World, _ followUp: FollowUp) -> [NewEvent] {
        let target = world.state.message(followUp.client, followUp.target)
        let events = world.state.decide(
            followUp,
            about: target,
            seal: target == nil ? nil : FollowUpTests.key,
            ids: world.ids,
            world.context
        )
        world.apply(events)
        return events
    }

    private func published(_ events: [NewEvent]) -> [String] {
        events.compactMap { if case .eventPublished(let event) = $0.event { event.type } else { nil } }
    }

    /// The `data.message` of the last webhook.
    private func told(_ events: [NewEvent]) throws -> [String: Any] {
        let bytes = try #require(events.last?.bodies.first { $0.purpose == .rendering }?.plaintext)
        let body = try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any]
        return try #require((body?["data"] as? [String: Any])?["message"] as? [String: Any])
    }

    @Test func anEditIsToldOnceAndTheNewestCounts() throws {
        var (world, client) = world()
        world.receive(message(client))
        let position = try #require(world.state.message(client, World.hash("message/m1")))
        let events = take(&world, followUp(client, edit(2, "third words"), key: "edit/2"))
        #expect(published(events) == ["message.edited"])
        #expect(try told(events)["text"] as? String == "third words")
        #expect(try told(events)["edit_number"] as? Int == 2)
        let newest = world.state.inbox.edits[position]
        take(&world, followUp(client, edit(1, "second words"), key: "edit/1"))
        #expect(world.state.inbox.edits[position] == newest, "an older edit that comes late changes nothing")
        #expect(take(&world, followUp(client, edit(2, "third words"), key: "edit/2")).isEmpty)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func editsThatNobodyCountsAreCountedAsTheyCome() throws {
        var (world, client) = world()
        world.receive(message(client))
        let numbers = try ["one", "two"].map { text in
            try told(take(&world, followUp(client, edit(0, text), key: text)))["edit_number"] as? Int
        }
        #expect(numbers == [1, 2])
    }

    @Test func aReactionIsToldWithItsEmoji() throws {
        var (world, client) = world()
        world.receive(message(client))
        let set = take(&world, followUp(client, .reaction(emoji: "❤️"), key: "r1"))
        #expect(published(set) == ["message.reaction"])
        let reaction = try #require(try told(set)["reaction"] as? [String: Any])
        #expect(reaction["emoji"] as? String == "❤️" && reaction["removed"] as? Bool == false)
        let removed = take(&world, followUp(client, .reaction(emoji: ""), key: "r2"))
        #expect((try told(removed)["reaction"] as? [String: Any])?["removed"] as? Bool == true)
    }

    @Test func aWithdrawalPurgesTheMessage() throws {
        var (world, client) = world()
        world.receive(message(client))
        let position = try #require(world.state.message(client, World.hash("message/m1")))
        let events = take(&world, followUp(client, .unsend, key: "unsend"))
        #expect(world.state.isPurged(position))
        #expect(published(events) == ["message.deleted"])
        #expect(try told(events)["text"] == nil)
        // Its own key, and not the fate of the message: the client is told of it after the purge.
        #expect(events.last?.message == LogPosition.zero)
        #expect(take(&world, followUp(client, .unsend, key: "unsend")).isEmpty)
        let late = take(&world, followUp(client, edit(1, "back again"), key: "edit/1"))
        #expect(late.allSatisfy { event in event.bodies.allSatisfy { !contains($0.plaintext, "back again") } })
    }

    private func contains(_ bytes: [UInt8], _ text: String) -> Bool { bytes.firstRange(of: [UInt8](text.utf8)) != nil }

    // MARK: Before the message

    @Test(arguments: ["edit", "reaction", "unsend"])
    func whatComesFirstWaitsForItsMessage(_ name: String) throws {
        var (world, client) = world()
        let kinds: [String: FollowUp.Kind] = [
            "edit": edit(1, "new"), "reaction": .reaction(emoji: "x"), "unsend": .unsend,
        ]
        var followUp = followUp(client, try #require(kinds[name]), key: name)
        let early = take(&world, followUp)
        #expect(early.map(\.event.type) == [.providerEventParked])
        #expect(take(&world, followUp).isEmpty, "its repeat is a repeat")
        world.receive(message(client))
        let waiting = world.state.parked.waiting(client, for: World.hash("message/m1"))
        let parked = try #require(waiting.first)
        #expect(waiting.count == 1)
        followUp.parked = parked
        #expect(published(take(&world, followUp)).count == 1)
        #expect(world.state.parked.waiting(client, for: World.hash("message/m1")).isEmpty)
        #expect(world.state.purges.entries[.secret(parked)] != nil, "its own copy is destroyed")
        #expect(take(&world, followUp).isEmpty, "it is taken up once")
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func whatCameBeforeTheConversationIsErasedWithIt() throws {
        var (world, client) = world()
        take(&world, followUp(client, .reaction(emoji: "x"), key: "early", target: "never"))
        let parked = try #require(world.state.parked.waiting(client, for: World.hash("message/never")).first)
        world.receive(message(client))
        #expect(world.state.inbox.conversations.values.first?.others == [parked])
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func whatToldNothingNewWaitsNoMore() throws {
        var (world, client) = world()
        let early = followUp(client, .reaction(emoji: "x"), key: "early", target: "m1")
        take(&world, early)
        let parked = try #require(world.state.parked.waiting(client, for: early.target).first)
        var found = UnrecognizedEvent(
            client: client,
            platform: .instagram,
            duplicateKey: early.duplicateKey,
            message: .zero,
            key: nil,
            customer: nil,
            providerBytes: []
        )
        found.parked = parked
        world.apply(world.state.decide(found))
        #expect(world.state.parked.waiting(client, for: early.target).isEmpty)
        #expect(world.state.purges.pending[.secret(parked)] != nil)
        #expect(world.state.decide(found).isEmpty)
    }

    @Test func whatNobodyComesForIsForgotten() throws {
        var (world, client) = world()
        take(&world, followUp(client, .reaction(emoji: "x"), key: "a", target: "never"))
        world.pass(seconds: 7 * 86_400 + 1)
        take(&world, followUp(client, .reaction(emoji: "x"), key: "b", target: "never either"))
        #expect(world.state.parked.waiting(client, for: World.hash("message/never")).isEmpty)
        #expect(world.state.parked.waiting(client, for: World.hash("message/never either")).count == 1)
    }

    @Test func whereBodiesArePurgedWhatWaitsIsPurgedToo() throws {
        var (world, client) = world(.whatsapp)
        world.purgeBodies(client, .whatsapp)
        take(&world, followUp(client, edit(1, "secret"), key: "edit", platform: .whatsapp))
        let parked = try #require(world.state.parked.waiting(client, for: World.hash("message/m1")).first)
        #expect(world.state.purges.due(world.now, limit: 9).isEmpty)
        world.pass(seconds: 901)
        #expect(world.state.purges.due(world.now, limit: 9) == [.secret(parked)])
    }

    // MARK: Echoes

    @Test func anEchoIsOfTheBusinessAndToldToNobody() throws {
        var (world, client) = world()
        world.receive(message(client))
        let events = world.state.decideEcho(message(client, id: "m2"), world.context)
        world.apply(events)
        #expect(published(events).isEmpty)
        let position = try #require(world.state.message(client, World.hash("message/m2")))
        let row = try #require(world.state.inbox.messages[position])
        #expect(row.direction == .outbound && row.status == .sent)
        #expect(world.state.decideEcho(message(client, id: "m2"), world.context).isEmpty)
    }

    @Test func whereBodiesArePurgedAnEchoIsPurgedAtOnce() throws {
        var (world, client) = world(.whatsapp)
        world.purgeBodies(client, .whatsapp)
        world.apply(world.state.decideEcho(message(client, .whatsapp), world.context))
        let echo = try #require(world.state.message(client, World.hash("message/m1")))
        #expect(world.state.purges.watches.overdue(world.now, limit: 9) == [echo])
    }

    /// What is no message any more must not be waited for: nobody could ask for its purge, and would try for ever.
    @Test func whereBodiesArePurgedAMergedEchoIsNotWaitedFor() throws {
        var (world, client) = world(.whatsapp)
        world.receive(message(client, .whatsapp))
        let conversation = try #require(world.state.inbox.messages.values.first?.conversation)
        world.purgeBodies(client, .whatsapp)
        let sent = try world.send(
            world.request(client, key: "k") {
                $0.platform = .whatsapp
                $0.recipient = .conversation(conversation)
            }
        )
        world.apply(world.state.decideEcho(message(client, .whatsapp, id: "ours"), world.context))
        let echo = try #require(world.records.first { $0.event.type == .messageEchoed }).position
        #expect(world.state.purges.watches.overdue(world.now, limit: 9) == [echo])
        var finished = SendFinished()
        finished.outcome = .accepted
        finished.providerKey = World.hash("message/ours")
        world.apply([NewEvent(.sendFinished(finished), client: client, conversation: conversation, message: sent)])
        #expect(!world.state.purges.watches.contains(echo))
        #expect(world.state.purges.pending[.secret(echo)] != nil)
    }

    @Test func whatIsTakenBackBeforeTheAnswerIsPurgedWithIt() throws {
        var (world, client) = world()
        world.receive(message(client))
        let conversation = try #require(world.state.inbox.messages.values.first?.conversation)
        let sent = try world.send(
            world.request(client, key: "k") {
                $0.platform = .instagram
                $0.recipient = .conversation(conversation)
            }
        )
        world.start([sent])
        world.apply(world.state.decideEcho(message(client, id: "ours"), world.context))
        take(&world, followUp(client, .unsend, key: "unsend/ours", target: "ours"))
        #expect(!world.state.isPurged(sent), "nothing has said yet that it is this one")
        world.finish(sent, .accepted) { $0.providerKey = World.hash("message/ours") }
        #expect(world.status(sent) == .sent)
        #expect(world.state.isPurged(sent) && world.state.purges.pending[.message(sent)] != nil)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func anEchoKnowsTheCustomerByEitherAddress() throws {
        var (world, client) = world(.whatsapp)
        world.receive(message(client, .whatsapp, id: "m0"))
        var echo = message(client, .whatsapp)
        echo.otherCustomer = echo.customer
        echo.customer = World.hash("scoped")
        world.apply(world.state.decideEcho(echo, world.context))
        #expect(world.state.inbox.conversations.count == 1)
        #expect(world.state.inbox.conversation(client, .whatsapp, World.hash("scoped"))?.messages.count == 2)
    }

    @Test func anEchoBeforeTheAnswerIsTheSameMessage() throws {
        var (world, client) = world()
        world.receive(message(client))
        let conversation = try #require(world.state.inbox.messages.values.first?.conversation)
        let sent = try world.send(
            world.request(client, key: "k") {
                $0.platform = .instagram
                $0.recipient = .conversation(conversation)
            }
        )
        world.apply(world.state.decideEcho(message(client, id: "ours"), world.context))
        #expect(world.state.inbox.conversations[conversation]?.messages.count == 3)
        var finished = SendFinished()
        finished.outcome = .accepted
        finished.providerKey = World.hash("message/ours")
        world.apply([NewEvent(.sendFinished(finished), client: client, conversation: conversation, message: sent)])
        #expect(world.state.inbox.conversations[conversation]?.messages.count == 2)
        #expect(world.state.message(client, World.hash("message/ours")) == sent)
        let echo = try #require(world.records.first { $0.event.type == .messageEchoed }).position
        #expect(world.state.purges.pending[.secret(echo)] != nil, "a purge of the message would not reach its words")
        #expect(try world.rebuilt().agrees(with: world.state))
    }
}
