import Foundation
import Log
import Projections
import TestSupport
import Testing

/// Messages of Meta's channels: who wrote, what is told, and when the business may write.
@Suite struct MetaMessageTests {
    private func world(_ platforms: [Platform] = [.instagram]) -> (World, LogPosition) {
        var world = World()
        let client = world.client(sms: false)
        for platform in platforms { world.connect(client, platform) }
        return (world, client)
    }

    private func message(
        _ client: LogPosition,
        _ platform: Platform = .instagram,
        id: String = "m1",
        from customer: String = "ana",
        also other: String? = nil
    ) -> InboundMessage {
        var message = InboundMessage(
            client: client,
            platform: platform,
            duplicateKey: World.hash("message/" + id),
            customer: World.hash(customer),
            account: World.hash("account")
        )
        message.otherCustomer = other.map { World.hash($0) }
        message.content.platformMessageID = id
        return message
    }

    private func types(_ events: [NewEvent]) -> [String] {
        events.compactMap { if case .eventPublished(let event) = $0.event { event.type } else { nil } }
    }

    private func request(
        _ world: World,
        _ client: LogPosition,
        _ platform: Platform,
        key: String,
        to recipient: SendRequest.Recipient,
        _ change: (inout SendRequest) -> Void = { _ in }
    ) -> SendRequest {
        world.request(client, key: key) {
            $0.platform = platform
            $0.recipient = recipient
            change(&$0)
        }
    }

    private func refusal(_ decision: SendDecision) -> Refusal.Code? {
        if case .refused(let refusal, _) = decision { refusal.code } else { nil }
    }

    // MARK: What is told

    @Test func eachSharedReelAndPostIsAnEventAndNumbered() {
        var (world, client) = world()
        world.endpoint(client) { $0.events = ListField(["post_shared"]) }
        var inbound = message(client)
        inbound.content.kind = "share"
        inbound.content.shares = ["reel", "post", "post"].enumerated().map { index, kind in
            var share = MessageContent.Share(kind: kind)
            share.mediaID = "media\(index)"
            return share
        }
        let events = world.receive(inbound)
        #expect(types(events) == ["reel_shared", "post_shared", "post_shared"])
        let numbers = events.compactMap { event -> [UInt64]? in
            guard case .eventPublished(let published) = event.event else { return nil }
            return [published.sequence, published.previousSequence, published.wanted ? 1 : 0]
        }
        #expect(numbers == [[1, 0, 0], [2, 0, 1], [3, 2, 1]])
    }

    @Test func anotherShareIsAMessage() {
        var (world, client) = world()
        var inbound = message(client)
        inbound.content.shares = [MessageContent.Share(kind: "link")]
        #expect(types(world.receive(inbound)) == ["message_received"])
    }

    @Test func theFirstReferralStaysWithTheConversation() throws {
        var (world, client) = world([.whatsapp])
        var inbound = message(client, .whatsapp)
        inbound.content.referral = MessageContent.Referral(source: "ad")
        world.receive(inbound)
        let row = try #require(world.state.inbox.conversations.values.first)
        let first = try #require(row.attribution)
        let message = try #require(row.messages.first)
        let record = try #require(world.records.first { $0.position == first })
        #expect(record.message == message, "it goes with the message that told it")
        inbound.duplicateKey = World.hash("message/m2")
        world.receive(inbound)
        #expect(world.state.inbox.conversations[row.id]?.attribution == first)
    }

    @Test func whereBodiesArePurgedAReferralIsNotKept() throws {
        var (world, client) = world([.whatsapp])
        world.purgeBodies(client, .whatsapp)
        var inbound = message(client, .whatsapp)
        inbound.content.referral = MessageContent.Referral(source: "ad")
        #expect(!world.receive(inbound).contains { $0.event.type == .conversationAttributed })
    }

    // MARK: Who

    @Test func aCustomerIsKnownByEitherAddress() throws {
        var (world, client) = world([.whatsapp])
        world.receive(message(client, .whatsapp, id: "1", from: "number"))
        world.receive(message(client, .whatsapp, id: "2", from: "scoped", also: "number"))
        world.receive(message(client, .whatsapp, id: "3", from: "scoped"))
        #expect(world.state.inbox.conversations.count == 1)
        #expect(world.state.inbox.conversations.values.first?.messages.count == 3)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func anErasedCustomerIsSomebodyNewUnderEveryAddress() throws {
        var (world, client) = world([.whatsapp])
        world.receive(message(client, .whatsapp, id: "1", from: "scoped", also: "number"))
        let old = try #require(world.state.inbox.conversations.keys.first)
        world.apply(try world.state.decideErase(old, client: client, ids: world.ids, world.context))
        world.receive(message(client, .whatsapp, id: "2", from: "number"))
        #expect(world.state.inbox.conversations.count == 2)
        #expect(world.state.inbox.conversations[old]?.messages.count == 1)
    }

    @Test func anIdThatTwoPlatformsKnowNeedsOne() throws {
        var (world, client) = world([.facebook, .instagram])
        world.receive(message(client, .facebook, id: "1"))
        let both = SendRequest.Recipient.platformUser([.facebook: World.hash("ana"), .instagram: World.hash("ana")])
        var wanted = request(world, client, .facebook, key: "a", to: both) { $0.platform = nil }
        #expect(refusal(world.decide(wanted)) == nil)
        world.receive(message(client, .instagram, id: "2"))
        wanted.key = World.hash("key/b")
        #expect(refusal(world.decide(wanted)) == .ambiguousRecipient)
        wanted.recipient = .platformUser([.instagram: World.hash("ana")])
        #expect(refusal(world.decide(wanted)) == nil)
        wanted.key = World.hash("key/c")
        wanted.recipient = .platformUser([.instagram: World.hash("nobody")])
        #expect(refusal(world.decide(wanted)) == .unknownRecipient)
    }

    @Test func anAccountBelongsToOneClient() {
        var (world, first) = world([])
        let second = world.client(sms: false)
        var event = ChannelConnected()
        event.platform = .facebook
        event.route = World.hash("page")
        world.apply(.channelConnected(event), client: first)
        #expect(world.state.clients.routes[World.hash("page")] == first)
        var ended = ChannelDisconnected()
        ended.platform = .facebook
        world.apply(.channelDisconnected(ended), client: first)
        #expect(world.state.clients.routes.isEmpty)
        world.apply(.channelConnected(event), client: second)
        #expect(world.state.clients.routes[World.hash("page")] == second)
        event.route = World.hash("another page")
        world.apply(.channelConnected(event), client: second)
        #expect(world.state.clients.routes == [World.hash("another page"): second])
        world.apply(.clientDeleted(ClientDeleted()), client: second)
        #expect(world.state.clients.routes.isEmpty)
    }

    // MARK: When

    @Test(arguments: [Platform.facebook, .instagram, .whatsapp])
    func theWindowIsADay(_ platform: Platform) throws {
        var (world, client) = world([platform])
        world.receive(message(client, platform))
        let conversation = try #require(world.state.inbox.conversations.keys.first)
        world.pass(seconds: 86_398)
        #expect(
            refusal(world.decide(request(world, client, platform, key: "1", to: .conversation(conversation)))) == nil
        )
        world.pass(seconds: 3)
        let late = request(world, client, platform, key: "2", to: .conversation(conversation))
        #expect(refusal(world.decide(late)) == .outsideWindow)
        let human = request(world, client, platform, key: "3", to: .conversation(conversation)) { $0.isByHuman = true }
        #expect(refusal(world.decide(human)) == (platform == .whatsapp ? .outsideWindow : nil))
        let template = request(world, client, platform, key: "4", to: .conversation(conversation)) {
            $0.isTemplate = true
        }
        #expect(refusal(world.decide(template)) == nil)
    }

    @Test func anOldMessageThatComesLateOpensNoWindow() throws {
        var (world, client) = world([.whatsapp])
        world.pass(seconds: 1_000_000)
        var old = message(client, .whatsapp)
        old.providerTime = Timestamp(world.now.nanoseconds - 90_000 * 1_000_000_000)
        world.receive(old)
        let conversation = try #require(world.state.inbox.conversations.keys.first)
        let recipient = SendRequest.Recipient.conversation(conversation)
        #expect(refusal(world.decide(request(world, client, .whatsapp, key: "1", to: recipient))) == .outsideWindow)
        world.receive(message(client, .whatsapp, id: "new"))
        #expect(refusal(world.decide(request(world, client, .whatsapp, key: "2", to: recipient))) == nil)
        // One that is older still does not close it.
        old.duplicateKey = World.hash("message/older")
        world.receive(old)
        #expect(refusal(world.decide(request(world, client, .whatsapp, key: "3", to: recipient))) == nil)
    }

    @Test func aNumberThatAnswersIsKnownByWhatTheProviderCallsIt() throws {
        var (world, client) = world([.whatsapp])
        let template = request(world, client, .whatsapp, key: "1", to: .phone(World.hash("ana"), "+5511987654321")) {
            $0.isTemplate = true
        }
        #expect(refusal(world.decide(template)) == nil)
        let row = try #require(world.state.inbox.conversations.values.first)
        #expect(row.identifiersAt == row.id)
        world.receive(message(client, .whatsapp))
        let answered = try #require(world.state.inbox.conversations[row.id])
        #expect(answered.identifiersAt > row.id)
        #expect(answered.others.contains(answered.identifiersAt), "an erasure destroys it too")
        world.receive(message(client, .whatsapp, id: "m2"))
        #expect(world.state.inbox.conversations[row.id]?.identifiersAt == answered.identifiersAt)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func aNewNumberNeedsATemplate() {
        var (world, client) = world([.whatsapp])
        let phone = SendRequest.Recipient.phone(World.hash("new"), "+15550001111")
        #expect(refusal(world.decide(request(world, client, .whatsapp, key: "1", to: phone))) == .outsideWindow)
        #expect(world.state.inbox.conversations.isEmpty)
        let template = request(world, client, .whatsapp, key: "2", to: phone) { $0.isTemplate = true }
        #expect(refusal(world.decide(template)) == nil)
    }

    @Test func whatWaitedBeyondTheWindowIsNotSent() throws {
        var (world, client) = world([.whatsapp])
        world.receive(message(client, .whatsapp))
        let conversation = try #require(world.state.inbox.conversations.keys.first)
        let sent = try world.send(request(world, client, .whatsapp, key: "1", to: .conversation(conversation)))
        world.pass(seconds: 86_401)
        #expect(world.state.decideStart([sent], now: world.now).drop == [sent])
        let body = SentBody(seal: .newKey(.message), metadata: [])
        world.apply(world.state.decideDrop(sent, body, ids: world.ids, world.context))
        #expect(world.state.inbox.messages[sent]?.status == .canceled)
        // The customer writes again, and what waits then goes out.
        world.receive(message(client, .whatsapp, id: "m2"))
        let next = try world.send(request(world, client, .whatsapp, key: "2", to: .conversation(conversation)))
        #expect(world.state.decideStart([next], now: world.now).start == [next])
    }

    @Test func aReferenceIsWithinTheConversation() throws {
        var (world, client) = world()
        world.receive(message(client, id: "1"))
        world.receive(message(client, id: "2", from: "bea"))
        let rows = world.state.inbox.messages.sorted { $0.key < $1.key }
        let (mine, other) = (rows[0], rows[1])
        func decide(_ key: String, _ message: LogPosition) -> Refusal.Code? {
            let wanted = request(world, client, .instagram, key: key, to: .conversation(mine.value.conversation)) {
                $0.refersTo = message
            }
            return refusal(world.decide(wanted))
        }
        #expect(decide("1", mine.key) == nil)
        #expect(decide("2", other.key) == .notFound)
        #expect(decide("3", .zero) == .notFound)
    }
}
