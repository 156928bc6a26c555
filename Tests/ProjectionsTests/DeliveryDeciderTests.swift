import Log
import Projections
import Testing

@Suite struct DeliveryDeciderTests {
    /// A client with an endpoint, and the delivery of one event.
    private func scene(_ change: (inout EndpointConfigured) -> Void = { _ in }) -> (World, LogPosition, LogPosition) {
        var world = World()
        let client = world.client()
        world.endpoint(client, change)
        world.receive(world.inbound(client, id: "SM1"))
        return (world, client, world.state.position)
    }

    private func row(_ world: World, _ delivery: LogPosition) throws -> DeliveryBook.Row {
        try #require(world.state.deliveries.rows[delivery])
    }

    // MARK: The plan

    @Test func theFirstAttemptIsImmediate() throws {
        var (world, client, delivery) = scene()
        #expect(try row(world, delivery).state == .scheduled)
        #expect(try row(world, delivery).nextAttemptAt == world.state.time)
        #expect(world.offeredDeliveries() == [delivery])
        world.startDelivery(delivery)
        #expect(try row(world, delivery).state == .inFlight)
        #expect(world.state.deliveries.inFlightByClient[client] == 1)
        world.finishDelivery(delivery, .succeeded)
        #expect(try row(world, delivery).state == .delivered)
        #expect(try row(world, delivery).nextAttemptAt == nil)
        #expect(world.state.deliveries.inFlightByClient[client] == 0)
        #expect(world.finishDelivery(delivery, .failed).isEmpty, "an attempt has one outcome")
    }

    /// One immediate attempt and six retries, then a dead letter.
    @Test func sixRetriesAndThenADeadLetter() throws {
        var (world, _, delivery) = scene()
        for wait in RetrySchedule.standard {
            world.attempt(delivery, .failed)
            #expect(try row(world, delivery).state == .scheduled)
            let failedAt = try #require(world.records.last?.time)
            #expect(try row(world, delivery).nextAttemptAt == failedAt.advanced(bySeconds: wait))
            world.now = failedAt.advanced(bySeconds: wait - 1)
            #expect(world.offeredDeliveries().isEmpty)
        }
        world.attempt(delivery, .failed)
        #expect(try row(world, delivery).state == .dead)
        #expect(try row(world, delivery).attempts == 7)
        #expect(try row(world, delivery).deadReason == "retries_exhausted")
        world.pass(seconds: 1_000_000)
        #expect(world.offeredDeliveries().isEmpty)
    }

    @Test func aClientsOwnScheduleCounts() throws {
        var (world, _, delivery) = scene { $0.retrySchedule = ListField([7]) }
        world.attempt(delivery, .failed)
        #expect(try row(world, delivery).nextAttemptAt == world.state.time.advanced(bySeconds: 7))
        world.attempt(delivery, .failed)
        #expect(try row(world, delivery).state == .dead)
    }

    @Test func anEmptyScheduleMeansOneAttempt() throws {
        var (world, _, delivery) = scene { $0.retrySchedule = ListField([]) }
        world.attempt(delivery, .failed)
        #expect(try row(world, delivery).state == .dead)
    }

    @Test(arguments: [(asked: UInt64(5), wait: UInt64(30)), (asked: 31, wait: 31), (asked: 200_000, wait: 86_400)])
    func retryAfterOnlyPushesLater(_ sample: (asked: UInt64, wait: UInt64)) throws {
        var (world, _, delivery) = scene()
        world.attempt(delivery, .failed, retryAfter: sample.asked)
        #expect(try row(world, delivery).nextAttemptAt == world.state.time.advanced(bySeconds: sample.wait))
        #expect(try row(world, delivery).retry == 1)
    }

    /// The process ended: the attempt shows in the history, the schedule is as it was, and it is due at once.
    @Test func anInterruptionUsesNoStep() throws {
        var (world, _, delivery) = scene()
        world.attempt(delivery, .failed)
        for _ in 0..<10 {
            world.attempt(delivery, .interrupted)
            #expect(try row(world, delivery).state == .scheduled)
            #expect(try row(world, delivery).retry == 1)
            #expect(try row(world, delivery).nextAttemptAt == world.state.time)
        }
        #expect(try row(world, delivery).attempts == 11)
        world.attempt(delivery, .failed)
        #expect(try row(world, delivery).nextAttemptAt == world.state.time.advanced(bySeconds: 60))
    }

    @Test func outcomesNameTheOneBefore() throws {
        var (world, _, delivery) = scene()
        world.attempt(delivery, .failed)
        let first = world.state.position
        #expect(try row(world, delivery).trail == first)
        world.attempt(delivery, .failed)
        guard case .deliveryFinished(let event) = world.records.last?.event else {
            Issue.record("no outcome")
            return
        }
        #expect(event.previous == first)
        #expect(event.attempt == 2)
    }

    // MARK: Endpoints

    @Test func goneDisablesTheEndpoint() throws {
        var (world, client, delivery) = scene()
        world.attempt(delivery, .gone)
        #expect(try row(world, delivery).state == .dead)
        #expect(try row(world, delivery).deadReason == "endpoint_gone")
        #expect(world.state.clients[client]?.endpoint?.enabled == false)
        #expect(world.state.clients[client]?.endpoint?.disabledReason == "gone")
        world.receive(world.inbound(client, id: "SM2"))
        #expect(world.state.deliveries.rows.count == 1, "a disabled endpoint wants nothing")
        #expect(world.state.clients[client]?.sequence == 2, "the sequence goes on for who pulls")
        world.endpoint(client)
        #expect(world.state.clients[client]?.endpoint?.enabled == true)
        #expect(world.state.clients[client]?.endpoint?.disabledReason == nil)
    }

    /// An attempt at the old URL may end after the client moved.
    @Test func anEndpointThatIsGoneDoesNotDisableTheNextOne() throws {
        var (world, client, delivery) = scene()
        let old = try #require(world.state.clients[client]?.endpoint?.position)
        world.startDelivery(delivery)
        world.endpoint(client)
        #expect(world.finishDelivery(delivery, .gone, endpoint: old).map(\.event.type) == [.deliveryFinished])
        #expect(world.state.clients[client]?.endpoint?.enabled == true)
        #expect(try row(world, delivery).state == .scheduled, "it is tried again at the new one")
    }

    @Test func goneIsSaidOnce() throws {
        var (world, client, first) = scene()
        world.receive(world.inbound(client, from: "bea", id: "SM2"))
        let second = world.state.position
        world.startDelivery(first)
        world.startDelivery(second)
        #expect(world.finishDelivery(first, .gone).map(\.event.type) == [.deliveryFinished, .endpointDisabled])
        #expect(world.finishDelivery(second, .gone).map(\.event.type) == [.deliveryFinished])
    }

    // MARK: Order

    @Test(arguments: [true, false])
    func whetherAFailureHoldsItsConversation(_ strict: Bool) throws {
        var (world, client, first) = scene { $0.strictOrdering = strict }
        world.receive(world.inbound(client, id: "SM2"))
        let second = world.state.position
        world.receive(world.inbound(client, from: "bea", id: "SM3"))
        let other = world.state.position
        #expect(Set(world.offeredDeliveries()) == [first, other])
        world.startDelivery(first)
        #expect(world.offeredDeliveries().isEmpty, "first attempts keep order in a conversation")
        world.finishDelivery(first, .failed)
        #expect(world.offeredDeliveries() == (strict ? [] : [second]))
        world.pass(seconds: 31)
        #expect(world.offeredDeliveries() == [first])
        world.startDelivery(first)
        world.finishDelivery(first, .succeeded)
        #expect(world.offeredDeliveries() == (strict ? [second] : []))
    }

    // MARK: Dead letters

    private func deadScene() -> (World, LogPosition, LogPosition) {
        var (world, client, delivery) = scene { $0.retrySchedule = ListField([]) }
        world.attempt(delivery, .failed)
        return (world, client, delivery)
    }

    @Test func replayIsANewDeliveryOfTheSameEvent() throws {
        var (world, client, dead) = deadScene()
        let events = try world.state.decideReplay(dead, client: client)
        #expect(events.map(\.event.type) == [.deliveryReplayed])
        world.apply(events)
        let replay = world.state.position
        #expect(try row(world, replay).event == dead)
        #expect(try row(world, replay).attempts == 0)
        #expect(try row(world, dead).state == .discarded, "replaying by filter twice must not deliver twice")
        #expect(try row(world, dead).replacedBy == replay)
        #expect(try row(world, replay).replacedBy == nil)
        #expect(throws: Refusal(.notADeadLetter, "")) { try world.state.decideReplay(dead, client: client) }
        world.attempt(replay, .failed)
        #expect(try row(world, replay).state == .dead)
        world.apply(try world.state.decideReplay(replay, client: client))
        #expect(try row(world, world.state.position).event == dead, "a replay of a replay is still the first event")
    }

    /// A replay neither waits for what is new in its conversation nor holds it up.
    @Test func aReplayHasALaneOfItsOwn() throws {
        var (world, client, dead) = deadScene()
        world.receive(world.inbound(client, id: "SM2"))
        let new = world.state.position
        world.apply(try world.state.decideReplay(dead, client: client))
        #expect(Set(world.offeredDeliveries()) == [new, world.state.position])
    }

    @Test func whatCannotBeReplayed() throws {
        var (world, client, delivery) = scene()
        #expect(throws: Refusal(.notADeadLetter, "")) { try world.state.decideReplay(delivery, client: client) }
        #expect(throws: Refusal(.notFound, "")) { try world.state.decideReplay(.zero, client: client) }
        let other = world.client()
        world.attempt(delivery, .gone)
        #expect(throws: Refusal(.notFound, "")) { try world.state.decideReplay(delivery, client: other) }
        #expect(throws: Refusal(.endpointDisabled, "")) { try world.state.decideReplay(delivery, client: client) }
        #expect(try row(world, delivery).state == .dead)
    }

    @Test func discarding() throws {
        var (world, client, dead) = deadScene()
        let other = world.client()
        #expect(throws: Refusal(.notFound, "")) { try world.state.decideDiscard(dead, client: other) }
        world.apply(try world.state.decideDiscard(dead, client: client))
        #expect(try row(world, dead).state == .discarded)
        #expect(throws: Refusal(.notADeadLetter, "")) { try world.state.decideDiscard(dead, client: client) }
        #expect(throws: Refusal(.notADeadLetter, "")) { try world.state.decideReplay(dead, client: client) }
    }

    // MARK: Tests

    @Test func aTestIsTriedOnceAndIsNoDeadLetter() throws {
        var world = World()
        let client = world.client()
        #expect(throws: Refusal(.endpointDisabled, "")) {
            try world.state.decideTest(client: client, ids: world.ids, world.context)
        }
        world.endpoint(client) { $0.events = ListField(["escalation"]) }
        world.apply(try world.state.decideTest(client: client, ids: world.ids, world.context))
        let delivery = world.state.position
        world.attempt(delivery, .failed)
        #expect(try row(world, delivery).state == .discarded)
        #expect(try row(world, delivery).deadReason == "test_failed")
    }

    // MARK: Restart

    /// What a restart computes from the log is due when the running process would have found it due.
    @Test func aRestartKeepsTheRetryPlan() throws {
        var (world, _, delivery) = scene()
        world.attempt(delivery, .failed)
        world.attempt(delivery, .failed)
        world.state = try world.rebuilt()
        #expect(try row(world, delivery).nextAttemptAt == world.state.time.advanced(bySeconds: 60))
        #expect(world.offeredDeliveries().isEmpty)
        world.state = try world.rebuilt()
        world.pass(seconds: 100)
        #expect(world.offeredDeliveries() == [delivery])
    }
}
