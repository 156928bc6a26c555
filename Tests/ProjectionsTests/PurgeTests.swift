import Log
import Projections
import Testing

@Suite struct PurgeTests {
    /// A client with an endpoint that wants inbound messages and statuses, and Inbound Body Purge where asked for.
    private func world(purges: Bool = false) -> (World, LogPosition) {
        var world = World()
        let client = world.client()
        world.endpoint(client) { $0.events = ListField(["sms.message_received", "message.status"]) }
        if purges { world.purgeBodies(client, .sms) }
        return (world, client)
    }

    /// Receives an SMS; the message and its delivery.
    private func receive(_ world: inout World, _ client: LogPosition, _ id: String) throws -> (LogPosition, LogPosition)
    {
        let first = world.context.next
        let events = world.receive(world.inbound(client, id: id))
        let message = try #require(events.firstIndex { $0.event.type == .messageReceived })
        let delivery = try #require(events.firstIndex { $0.event.type == .eventPublished })
        return (first.advanced(by: message), first.advanced(by: delivery))
    }

    private func purge(_ world: inout World, _ message: LogPosition, _ client: LogPosition) throws -> [NewEvent] {
        let events = try world.state.decidePurge(
            message,
            client: client,
            reason: "client",
            ids: world.ids,
            world.context
        )
        world.apply(events)
        return events
    }

    private func overdue(_ world: World) -> [LogPosition] { world.state.purges.watches.overdue(world.now, limit: 10) }

    // MARK: By hand

    @Test func aRequestIsPendingUntilItIsCompleted() throws {
        var (world, client) = world()
        let (message, _) = try receive(&world, client, "a")
        #expect(!world.state.isPurged(message))
        _ = try purge(&world, message, client)
        #expect(world.state.isPurged(message))
        #expect(world.state.purges.due(world.state.time, limit: 10) == [.message(message)])
        #expect(try purge(&world, message, client).isEmpty)
        var completed = PurgeCompleted()
        completed.messages = ListField([message])
        world.apply(.purgeCompleted(completed))
        #expect(world.state.purges.pending.isEmpty)
        #expect(world.state.isPurged(message))
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func nobodyPurgesWhatIsSomebodyElses() throws {
        var (world, client) = world()
        let (message, _) = try receive(&world, client, "a")
        let other = world.client()
        #expect(throws: Refusal(.notFound, "")) { try purge(&world, message, other) }
    }

    @Test func aQueuedSendFailsAndGivesItsReservationBack() throws {
        var (world, client) = world()
        let message = try world.send(world.request(client, key: "k"))
        #expect(world.month(client) == MonthOfSMS(reserved: 1, used: 0))
        let events = try purge(&world, message, client)
        #expect(world.status(message) == .failed)
        #expect(World.publishedStatus(events) == "failed")
        #expect(world.month(client) == MonthOfSMS(reserved: 0, used: 0))
        #expect(world.offeredSends().isEmpty)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func aSendThatIsUnderWayIsNotTriedAgain() throws {
        var (world, client) = world()
        let message = try world.send(world.request(client, key: "k"))
        world.startOffered()
        _ = try purge(&world, message, client)
        #expect(world.status(message) == .sending)
        world.finish(message, .retryLater, code: "429")
        #expect(world.status(message) == .failed)
        world.pass(seconds: 1000)
        #expect(world.offeredSends().isEmpty)
    }

    @Test func whatIsToldOfAPurgedMessageHasAKeyOfItsOwn() throws {
        var (world, client) = world()
        let message = try world.send(world.request(client, key: "k"))
        world.startOffered()
        world.finish(message, .accepted)
        _ = try purge(&world, message, client)
        let told = try #require(world.report(message, .delivered, client: client).last)
        guard case .newKey = told.seal else { return #expect(Bool(false), "sealed under the destroyed key") }
        let position = world.state.position
        #expect(!world.state.purges.bars(recordAt: position, client: client, conversation: .zero, message: message))
        #expect(world.state.purges.bars(recordAt: message, client: client, conversation: .zero, message: .zero))
    }

    @Test func aRetryBecomesADeadLetterWithoutABody() throws {
        var (world, client) = world()
        let (message, delivery) = try receive(&world, client, "a")
        world.attempt(delivery, .failed)
        #expect(world.state.deliveries.rows[delivery]?.state == .scheduled)
        _ = try purge(&world, message, client)
        let row = try #require(world.state.deliveries.rows[delivery])
        #expect(row.state == .purged && row.isDeadLetter && row.deadReason == "body_purged")
        #expect(throws: Refusal(.bodyPurged, "")) { try world.state.decideReplay(delivery, client: client) }
        world.pass(seconds: 100_000)
        #expect(world.offeredDeliveries().isEmpty)
    }

    @Test(arguments: [DeliveryResult.Verdict.succeeded, .failed, .interrupted])
    func anAttemptThatIsUnderWayIsTheLast(_ verdict: DeliveryResult.Verdict) throws {
        var (world, client) = world()
        let (message, delivery) = try receive(&world, client, "a")
        #expect(world.offeredDeliveries() == [delivery])
        world.startDelivery(delivery)
        _ = try purge(&world, message, client)
        let events = world.finishDelivery(delivery, verdict)
        #expect(events.first?.bodies.isEmpty == true)
        #expect(world.state.deliveries.rows[delivery]?.state == (verdict == .succeeded ? .delivered : .purged))
        world.pass(seconds: 100_000)
        #expect(world.offeredDeliveries().isEmpty)
    }

    // MARK: Erasure

    @Test func anErasureEndsEverythingOfTheConversationAndNothingElse() throws {
        var (world, client) = world()
        let (message, delivery) = try receive(&world, client, "a")
        let conversation = try #require(world.state.inbox.messages[message]?.conversation)
        let queued = try world.send(world.request(client, key: "k"))
        var elsewhere = world.inbound(client, from: "bea", id: "b")
        elsewhere.content.text = "living"
        let other = world.context.next.advanced(by: 1)
        world.receive(elsewhere)
        world.apply(try world.state.decideErase(conversation, client: client, ids: world.ids, world.context))
        #expect(world.state.inbox.conversations[conversation]?.status == .erased)
        #expect(world.state.isPurged(message) && world.state.isPurged(queued) && !world.state.isPurged(other))
        #expect(world.status(queued) == .failed)
        #expect(world.state.deliveries.rows[delivery]?.state == .purged)
        #expect(try world.state.decideErase(conversation, client: client, ids: world.ids, world.context).isEmpty)
        // The same person is somebody new.
        let (again, _) = try receive(&world, client, "c")
        #expect(world.state.inbox.messages[again]?.conversation != conversation)
        #expect(world.refusal(world.request(client, key: "l") { $0.recipient = .conversation(conversation) }) != nil)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    /// Each is told on its own, in the numbers of the client's sequence, and is not taken along by what it tells of.
    @Test func everyQueuedMessageOfAnErasedConversationIsTold() throws {
        var (world, client) = world()
        let messages = try (0..<3).map { try world.send(world.request(client, key: "k\($0)")) }
        let conversation = try #require(world.state.inbox.messages[messages[0]]?.conversation)
        let before = world.state.clients[client]?.sequence ?? 0
        let events = try world.state.decideErase(conversation, client: client, ids: world.ids, world.context)
        let first = world.apply(events)
        let told = zip(first, events).filter { $0.1.event.published != nil }
        #expect(told.compactMap { $0.1.event.published?.sequence } == [before + 1, before + 2, before + 3])
        #expect(told.compactMap { $0.1.event.published?.previousSequence } == [before, before + 1, before + 2])
        for (position, _) in told {
            #expect(world.state.deliveries.rows[position]?.state == .scheduled)
            let isBarred = world.state.purges.bars(
                recordAt: position,
                client: client,
                conversation: conversation,
                message: .zero
            )
            #expect(!isBarred)
        }
        #expect(world.state.clients[client]?.sequence == before + 3)
    }

    /// The provider may have taken what it refused.
    @Test func aSendThatIsReportedAfterARefusalEndsToo() throws {
        var (world, client) = world(purges: true)
        let message = try world.send(world.request(client, key: "k"))
        world.startOffered()
        world.finish(message, .retryLater, code: "429")
        #expect(overdue(world).isEmpty)
        world.report(message, .delivered, client: client)
        #expect(overdue(world) == [message])
    }

    @Test func nothingOpensAnErasedConversationAgain() throws {
        var (world, client) = world()
        let (message, _) = try receive(&world, client, "a")
        let conversation = try #require(world.state.inbox.messages[message]?.conversation)
        world.apply(try world.state.decideErase(conversation, client: client, ids: world.ids, world.context))
        var update = ConversationUpdated()
        update.status = .open
        world.apply([NewEvent(.conversationUpdated(update), client: client, conversation: conversation)])
        #expect(world.state.inbox.conversations[conversation]?.status == .erased)
    }

    // MARK: Inbound Body Purge

    @Test(arguments: [DeliveryResult.Verdict.succeeded, .failed, .interrupted])
    func oneAttemptWhateverCameOfItEndsTheBody(_ verdict: DeliveryResult.Verdict) throws {
        var (world, client) = world(purges: true)
        let (message, delivery) = try receive(&world, client, "a")
        #expect(overdue(world).isEmpty)
        world.attempt(delivery, verdict)
        #expect(overdue(world) == [message])
        _ = try purge(&world, message, client)
        #expect(overdue(world).isEmpty)
        world.pass(seconds: 100_000)
        #expect(world.offeredDeliveries().isEmpty)
    }

    /// Bytes that left make the attempt: what failed before is tried again, until the deadline.
    @Test func anAttemptOfWhichNothingLeftIsNotTheOne() throws {
        var (world, client) = world(purges: true)
        let (message, delivery) = try receive(&world, client, "a")
        world.startDelivery(delivery)
        world.finishDelivery(delivery, .failed, nothingSent: true)
        var row = try #require(world.state.deliveries.rows[delivery])
        #expect(row.state == .scheduled && row.attempts == 1 && row.retry == 1)
        #expect(overdue(world).isEmpty)
        world.attempt(delivery, .failed)
        row = try #require(world.state.deliveries.rows[delivery])
        #expect(overdue(world) == [message])
    }

    /// A lack on this host uses up nothing, however often it is met.
    @Test(arguments: [true, false])
    func whatDidNotBeginIsNoAttempt(_ purges: Bool) throws {
        var (world, client) = world(purges: purges)
        let (message, delivery) = try receive(&world, client, "a")
        for _ in 0..<10 {
            world.attempt(delivery, .notBegun)
            let row = try #require(world.state.deliveries.rows[delivery])
            #expect(row.state == .scheduled && row.attempts == 0 && row.retry == 0 && row.trail == .zero)
            #expect(row.nextAttemptAt.map { $0 > world.now } == true)
            #expect(overdue(world).isEmpty)
        }
        world.attempt(delivery, .succeeded)
        #expect(world.state.deliveries.rows[delivery]?.attempts == 1)
        #expect(overdue(world) == (purges ? [message] : []))
    }

    @Test func aSendThatDidNotBeginIsNoAttempt() throws {
        var (world, client) = world()
        let message = try world.send(world.request(client, key: "k"))
        for _ in 0..<(2 * LogState.sendAttemptsMax) {
            world.pass(seconds: DeliveryResult.pause + 1)
            #expect(world.startOffered() == [message])
            world.finish(message, .retryLater, code: "local_failure") { $0.isNoAttempt = true }
            #expect(world.state.sends.rows[message]?.attempts == 0)
        }
        #expect(world.status(message) == .queued)
    }

    @Test func withoutAnAttemptTheDeadlineEndsTheBody() throws {
        var (world, client) = world(purges: true)
        let (message, _) = try receive(&world, client, "a")
        world.pass(seconds: LogState.purgeDeadline - 1)
        #expect(overdue(world).isEmpty)
        world.pass(seconds: 2)
        #expect(overdue(world) == [message])
    }

    @Test func itConcernsOnlyWhatComesAfterItWasTurnedOn() throws {
        var (world, client) = world()
        let (before, delivery) = try receive(&world, client, "a")
        world.purgeBodies(client, .sms)
        world.attempt(delivery, .succeeded)
        world.pass(seconds: 10 * LogState.purgeDeadline)
        #expect(overdue(world).isEmpty)
        #expect(!world.state.isPurged(before))
    }

    @Test(arguments: [SendOutcome.accepted, .rejected, .unknown])
    func aSendEndsWithItsOutcome(_ outcome: SendOutcome) throws {
        var (world, client) = world(purges: true)
        let message = try world.send(world.request(client, key: "k"))
        world.pass(seconds: 10 * LogState.purgeDeadline)
        #expect(overdue(world).isEmpty)
        world.startOffered()
        #expect(overdue(world).isEmpty)
        let events = world.finish(message, outcome)
        #expect(overdue(world) == [message])
        // The status event is delivered on its own terms, also when it needs a second try.
        let status = LogPosition(world.state.position.rawValue)
        #expect(events.last?.event.published?.wanted == true && events.last?.message == .zero)
        _ = try purge(&world, message, client)
        world.attempt(status, .failed)
        #expect(world.state.deliveries.rows[status]?.state == .scheduled)
    }

    // MARK: Secrets

    @Test func aSecretEndsWhenAnotherTakesItsPlace() throws {
        var (world, client) = world()
        let channel = try #require(world.state.clients[client]?.channels[.sms]?.position)
        let endpoint = try #require(world.state.clients[client]?.endpoint?.position)
        world.connect(client)
        world.endpoint(client)
        let secret = world.apply(.webhookSecretCreated(WebhookSecretCreated()), client: client)
        var expires = WebhookSecretExpires()
        expires.at = world.now.advanced(bySeconds: 60)
        world.apply(.webhookSecretExpires(expires), client: client, subject: secret)
        #expect(Set(world.state.purges.due(world.state.time, limit: 10)) == [.secret(channel), .secret(endpoint)])
        world.pass(seconds: 61)
        #expect(world.state.purges.due(world.now, limit: 10).contains(.secret(secret)))
    }

    @Test func aDeletedClientTakesEverythingAlong() throws {
        var (world, client) = world(purges: true)
        let (message, delivery) = try receive(&world, client, "a")
        world.apply(.clientDeleted(ClientDeleted()), client: client)
        #expect(world.state.isPurged(message))
        #expect(world.state.deliveries.rows[delivery]?.state == .purged)
        #expect(overdue(world).isEmpty)
        #expect(world.state.purges.pending.keys.contains(.client(client)))
        #expect(try world.rebuilt().agrees(with: world.state))
    }
}
