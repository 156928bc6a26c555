import Log
import Projections
import TestSupport
import Testing

/// Inbound Body Purge where no endpoint takes a message: its body is held for one until the deadline, and never lost unseen.
@Suite struct HeldBodyTests {
    private let wanted = ["sms.message_received"]

    private func world(endpoint: Bool = true) -> (World, LogPosition) {
        var world = World()
        let client = world.client()
        if endpoint { world.endpoint(client) }
        world.purgeBodies(client, .sms)
        return (world, client)
    }

    /// What came, the numbers of its message and of its delivery.
    private func receive(
        _ world: inout World,
        _ client: LogPosition,
        _ id: String,
        from customer: String = "ana"
    ) throws -> (message: LogPosition, delivery: LogPosition, EventPublished) {
        let first = world.context.next
        let events = world.receive(world.inbound(client, from: customer, id: id))
        let message = try #require(events.firstIndex { $0.event.type == .messageReceived })
        let published = try #require(events.firstIndex { $0.event.type == .eventPublished })
        let event = try #require(events[published].event.published)
        return (first.advanced(by: message), first.advanced(by: published), event)
    }

    private func row(_ world: World, _ delivery: LogPosition) throws -> DeliveryBook.Row {
        try #require(world.state.deliveries.rows[delivery])
    }

    private func overdue(_ world: World) -> [LogPosition] { world.state.purges.watches.overdue(world.now, limit: 1000) }

    /// What the purge service does at the time.
    @discardableResult
    private func purgeOverdue(_ world: inout World) throws -> [PurgeRequested] {
        try overdue(world).sorted().compactMap { message in
            let client = try #require(world.state.inbox.messages[message]?.client)
            let events = try world.state.decidePurge(
                message,
                client: client,
                reason: LogState.purgeByMode,
                ids: world.ids,
                world.context
            )
            world.apply(events)
            if case .purgeRequested(let event) = events.first?.event { return event }
            return nil
        }
    }

    // MARK: Holding

    /// One 410 disables the endpoint; whatever comes next waits for it.
    @Test func whatComesAfterA410IsDeliveredOnceTheEndpointIsEnabled() throws {
        var (world, client) = world()
        let first = try receive(&world, client, "a")
        world.attempt(first.delivery, .gone)
        let (message, delivery, event) = try receive(&world, client, "b")
        #expect(event.held == "endpoint_disabled" && event.wanted)
        #expect(try row(world, delivery).state == .scheduled)
        #expect(try row(world, delivery).nextAttemptAt == nil)
        #expect(world.offeredDeliveries().isEmpty)
        #expect(overdue(world) == [first.message])
        world.pass(seconds: LogState.purgeDeadline - 10)
        let events = world.configure(client) { $0.events = ListField(wanted) }
        #expect(events.map(\.event.type) == [.endpointConfigured, .deliveryReleased])
        #expect(world.state.deliveries.held.isEmpty)
        world.attempt(delivery, .succeeded)
        #expect(try row(world, delivery).state == .delivered)
        #expect(overdue(world).contains(message))
        #expect(try purgeOverdue(&world).map(\.undelivered) == ["", ""])
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    enum Obstacle: CaseIterable, Sendable {
        case noEndpoint
        case disabled
        case gone
        case otherEvents
        case otherChannels
        case addonEnded
        case trialEnded
        case planTooSmall
        case disconnected

        var reason: HoldReason {
            switch self {
            case .noEndpoint: .noEndpoint
            case .disabled, .gone: .endpointDisabled
            case .otherEvents, .otherChannels: .notSubscribed
            case .addonEnded, .trialEnded, .planTooSmall: .planRequired
            case .disconnected: .channelNotConnected
            }
        }
    }

    private func put(_ obstacle: Obstacle, before world: inout World, _ client: LogPosition) {
        switch obstacle {
        case .noEndpoint: break
        case .disabled: world.configure(client) { $0.enabled = false }
        case .gone: world.change(.endpointDisabled(EndpointDisabled()), client)
        case .otherEvents: world.configure(client) { $0.events = ListField(["escalation"]) }
        case .otherChannels: world.configure(client) { $0.channels = ListField([UInt64(Platform.whatsapp.rawValue)]) }
        case .addonEnded: world.account(client) { $0.addon = .none }
        case .trialEnded:
            let end = world.now.advanced(bySeconds: 1)
            world.account(client) { event in
                event.addon = .trial
                event.trialEndsAt = end
            }
            world.pass(seconds: 2)
        case .planTooSmall: world.account(client) { $0.plan = .creator }
        case .disconnected:
            var event = ChannelDisconnected()
            event.platform = .sms
            world.change(.channelDisconnected(event), client)
        }
    }

    private func take(_ obstacle: Obstacle, from world: inout World, _ client: LogPosition) -> [NewEvent] {
        switch obstacle {
        case .noEndpoint, .disabled, .gone, .otherEvents, .otherChannels: return world.configure(client)
        case .addonEnded, .trialEnded, .planTooSmall: return world.account(client)
        case .disconnected:
            var event = ChannelConnected()
            event.platform = .sms
            return world.change(.channelConnected(event), client)
        }
    }

    @Test(arguments: Obstacle.allCases)
    func withoutAnEndpointUntilTheDeadlineThereIsADeadLetterThatSaysWhy(_ obstacle: Obstacle) throws {
        var (world, client) = world(endpoint: obstacle != .noEndpoint)
        put(obstacle, before: &world, client)
        let (message, delivery, event) = try receive(&world, client, "a")
        #expect(event.held == obstacle.reason.rawValue)
        #expect(event.sequence == 1)
        world.pass(seconds: LogState.purgeDeadline - 1)
        #expect(overdue(world).isEmpty && world.offeredDeliveries().isEmpty)
        world.pass(seconds: 2)
        #expect(overdue(world) == [message])
        #expect(try purgeOverdue(&world).map(\.undelivered) == [obstacle.reason.rawValue])
        let row = try row(world, delivery)
        #expect(row.state == .purged && row.isDeadLetter && row.deadReason == obstacle.reason.rawValue)
        #expect(row.attempts == 0)
        #expect(throws: Refusal(.bodyPurged, "")) { try world.state.decideReplay(delivery, client: client) }
        #expect(take(obstacle, from: &world, client).count == 1, "nothing is left to go on")
        world.pass(seconds: 100_000)
        #expect(world.offeredDeliveries().isEmpty)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test(arguments: Obstacle.allCases)
    func whateverOpensTheWayBeforeTheDeadlineLetsItGo(_ obstacle: Obstacle) throws {
        var (world, client) = world(endpoint: obstacle != .noEndpoint)
        put(obstacle, before: &world, client)
        let (message, delivery, _) = try receive(&world, client, "a")
        world.pass(seconds: LogState.purgeDeadline - 1)
        #expect(take(obstacle, from: &world, client).map(\.event.type).last == .deliveryReleased)
        #expect(try row(world, delivery).heldFor.isEmpty)
        #expect(overdue(world).isEmpty)
        world.attempt(delivery, .failed)
        #expect(overdue(world) == [message], "one attempt, whatever came of it")
        put(obstacle, before: &world, client)
        #expect(take(obstacle, from: &world, client).map(\.event.type).last != .deliveryReleased)
        #expect(world.offeredDeliveries().isEmpty)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func aChangeThatOpensNothingReleasesNothing() throws {
        var (world, client) = world()
        world.configure(client) { $0.enabled = false }
        let (_, delivery, _) = try receive(&world, client, "a")
        #expect(world.configure(client) { $0.events = ListField(["escalation"]) }.count == 1)
        #expect(world.account(client) { $0.smsMonthlyQuota = 7 }.count == 1)
        #expect(try row(world, delivery).heldFor == "endpoint_disabled")
        let other = world.client()
        #expect(world.configure(other).count == 1)
    }

    @Test func theConversationKeepsItsOrder() throws {
        var (world, client) = world()
        world.configure(client) { $0.enabled = false }
        let held = try ["a", "b"].map { try receive(&world, client, $0).delivery }
        world.configure(client)
        let later = try receive(&world, client, "c").delivery
        for delivery in held + [later] {
            #expect(world.offeredDeliveries() == [delivery])
            world.startDelivery(delivery)
            world.finishDelivery(delivery, .succeeded)
        }
    }

    /// A receiver that saw neither the message nor its dead letter sees at least that there was something.
    @Test func whatIsHeldCountsAsMeantForTheEndpoint() throws {
        var (world, client) = world()
        world.configure(client) { $0.enabled = false }
        _ = try receive(&world, client, "a")
        world.configure(client)
        #expect(try receive(&world, client, "b").2.previousSequence == 1)
    }

    // MARK: The deadline

    /// A purge that comes late, after a stop for example, does not make the deadline later.
    @Test func afterTheDeadlineNothingIsReleased() throws {
        var (world, client) = world()
        world.configure(client) { $0.enabled = false }
        let (message, delivery, _) = try receive(&world, client, "a")
        world.pass(seconds: LogState.purgeDeadline + 1)
        #expect(world.configure(client).count == 1)
        #expect(world.state.purges.watches.isOver(message, world.now))
        #expect(try purgeOverdue(&world).map(\.undelivered) == ["endpoint_disabled"])
        #expect(try row(world, delivery).state == .purged)
    }

    @Test func whatWaitsForItsTurnWhenTheEndpointIsLostWaitsOn() throws {
        var (world, client) = world()
        let (message, delivery, event) = try receive(&world, client, "a")
        #expect(event.held.isEmpty)
        world.change(.endpointDisabled(EndpointDisabled()), client)
        #expect(overdue(world).isEmpty)
        #expect(try row(world, delivery).state == .scheduled)
        world.pass(seconds: LogState.purgeDeadline + 1)
        #expect(overdue(world) == [message])
        #expect(try purgeOverdue(&world).map(\.undelivered) == ["endpoint_disabled"])
        #expect(try row(world, delivery).deadReason == "endpoint_disabled")
    }

    @Test func whoseTurnDidNotComeInTimeIsADeadLetterToo() throws {
        var (world, client) = world()
        let (_, delivery, _) = try receive(&world, client, "a")
        world.pass(seconds: LogState.purgeDeadline + 1)
        #expect(try purgeOverdue(&world).map(\.undelivered) == ["not_attempted"])
        #expect(try row(world, delivery).deadReason == "not_attempted")
    }

    @Test func anAttemptThatIsUnderWayAtTheDeadlineIsOne() throws {
        var (world, client) = world()
        let (_, delivery, _) = try receive(&world, client, "a")
        #expect(world.offeredDeliveries() == [delivery])
        world.startDelivery(delivery)
        world.pass(seconds: LogState.purgeDeadline + 1)
        #expect(try purgeOverdue(&world).map(\.undelivered) == [""])
        world.finishDelivery(delivery, .failed)
        #expect(try row(world, delivery).deadReason == "body_purged")
    }

    // MARK: By hand

    @Test func aPurgeByHandEndsTheWait() throws {
        var (world, client) = world()
        world.configure(client) { $0.enabled = false }
        let (message, delivery, _) = try receive(&world, client, "a")
        world.apply(
            try world.state.decidePurge(message, client: client, reason: "client", ids: world.ids, world.context)
        )
        #expect(try row(world, delivery).deadReason == "body_purged")
        #expect(world.configure(client).count == 1)
        #expect(world.offeredDeliveries().isEmpty && world.state.deliveries.held.isEmpty)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func anErasureAndADeletionEndTheWait() throws {
        var (world, client) = world()
        world.configure(client) { $0.enabled = false }
        let (message, erased, _) = try receive(&world, client, "a")
        let conversation = try #require(world.state.inbox.messages[message]?.conversation)
        let (_, deleted, _) = try receive(&world, client, "b", from: "bea")
        world.apply(try world.state.decideErase(conversation, client: client, ids: world.ids, world.context))
        #expect(try row(world, erased).state == .purged)
        #expect(try row(world, deleted).state == .scheduled)
        world.apply(.clientDeleted(ClientDeleted()), client: client)
        #expect(try row(world, deleted).state == .purged)
        #expect(world.state.deliveries.held.isEmpty)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    // MARK: What is refused

    struct Wish: Sendable {
        let events: [String]
        let channels: [UInt64]
        let enabled: Bool
        let isTaken: Bool
    }

    static let wishes = [
        Wish(events: ["*"], channels: [], enabled: true, isTaken: true),
        Wish(events: ["sms.message_received"], channels: [3, 4], enabled: true, isTaken: true),
        Wish(events: ["sms.message_received"], channels: [], enabled: false, isTaken: false),
        Wish(events: ["message.status"], channels: [], enabled: true, isTaken: false),
        Wish(events: ["whatsapp.message_received"], channels: [], enabled: true, isTaken: false),
        Wish(events: ["*"], channels: [4], enabled: true, isTaken: false),
    ]

    @Test(arguments: wishes)
    func theEndpointMustTakeWhatIsPurged(_ wish: Wish) throws {
        var world = World()
        let client = world.client()
        var event = EndpointConfigured()
        event.events = ListField(wish.events)
        event.channels = ListField(wish.channels)
        event.enabled = wish.enabled
        #expect(throws: Never.self) { try world.state.admit(event, for: client) }
        #expect(throws: Refusal(.purgeRequiresWebhook, "")) {
            try world.state.clients[client]?.requireEndpoint(for: [.sms])
        }
        world.change(.endpointConfigured(event), client)
        #expect(throws: Never.self) { try world.state.clients[client]?.requireEndpoint(for: []) }
        let isAllowed = (try? world.state.clients[client]?.requireEndpoint(for: [.sms])) != nil
        #expect(isAllowed == wish.isTaken)
        world.purgeBodies(client, .sms)
        let isAdmitted = (try? world.state.admit(event, for: client)) != nil
        #expect(isAdmitted == wish.isTaken)
    }

    // MARK: What is about a message

    private func worldOfReactions() throws -> (World, LogPosition, message: LogPosition, event: LogPosition) {
        var world = World()
        let client = world.client(sms: false)
        world.connect(client, .whatsapp)
        world.endpoint(client) { $0.events = ListField(["whatsapp.message_received", "message.reaction"]) }
        world.purgeBodies(client, .whatsapp)
        world.change(.endpointDisabled(EndpointDisabled()), client)
        var inbound = world.inbound(client, id: "m1")
        inbound.platform = .whatsapp
        inbound.duplicateKey = World.hash("message/m1")
        let first = world.context.next
        let events = world.receive(inbound)
        let message = try #require(events.firstIndex { $0.event.type == .messageReceived })
        let event = try #require(events.firstIndex { $0.event.type == .eventPublished })
        return (world, client, first.advanced(by: message), first.advanced(by: event))
    }

    private func react(_ world: inout World, _ client: LogPosition, to message: LogPosition) throws -> LogPosition {
        let reaction = FollowUp(
            client: client,
            platform: .whatsapp,
            duplicateKey: World.hash("reaction"),
            customer: nil,
            target: World.hash("message/m1"),
            kind: .reaction(emoji: "x"),
            providerBytes: [],
            envelope: []
        )
        let events = world.state.decide(reaction, about: message, seal: World.seal, ids: world.ids, world.context)
        let positions = world.apply(events)
        return positions[try #require(events.firstIndex { $0.event.type == .eventPublished })]
    }

    @Test func aReactionToAHeldMessageWaitsWithIt() throws {
        var (world, client, message, event) = try worldOfReactions()
        let reaction = try react(&world, client, to: message)
        #expect(try row(world, reaction).heldFor == "endpoint_disabled")
        world.configure(client) { $0.events = ListField(["*"]) }
        world.attempt(event, .failed)
        #expect(overdue(world).isEmpty, "the reaction is to have its attempt too")
        #expect(try row(world, event).state == .dead)
        #expect(throws: Refusal(.bodyPurged, "")) { try world.state.decideReplay(event, client: client) }
        world.attempt(reaction, .succeeded)
        #expect(overdue(world) == [message])
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func aReactionThatNobodyTakesDoesNotKeepTheMessage() throws {
        var (world, client, message, event) = try worldOfReactions()
        let reaction = try react(&world, client, to: message)
        world.configure(client) { $0.events = ListField(["whatsapp.message_received"]) }
        world.attempt(event, .succeeded)
        #expect(overdue(world) == [message])
        #expect(try purgeOverdue(&world).map(\.undelivered) == ["not_subscribed"])
        #expect(try row(world, event).state == .delivered)
        #expect(try row(world, reaction).deadReason == "not_subscribed")
    }

    @Test func aReactionThatNobodyAskedForIsNotHeld() throws {
        var (world, client, message, _) = try worldOfReactions()
        world.configure(client) { event in
            event.enabled = false
            event.events = ListField(["whatsapp.message_received"])
        }
        let reaction = try react(&world, client, to: message)
        #expect(world.state.deliveries.rows[reaction] == nil)
    }

    // MARK: Files

    /// A WhatsApp image that is yet to be fetched, and no endpoint.
    private func heldImage() throws -> (World, client: LogPosition, message: LogPosition, event: LogPosition) {
        var world = World()
        let client = world.client(sms: false)
        world.connect(client, .whatsapp)
        world.purgeBodies(client, .whatsapp)
        var inbound = world.inbound(client, id: "m1")
        inbound.platform = .whatsapp
        var image = MessageContent.Media(type: "image")
        image.providerID = "m"
        inbound.content.media = [image]
        let first = world.context.next
        let events = world.receive(inbound)
        let message = first.advanced(by: try #require(events.firstIndex { $0.event.type == .messageReceived }))
        let event = first.advanced(by: try #require(events.firstIndex { $0.event.type == .eventPublished }))
        return (world, client, message, event)
    }

    @Test func filesThatAreNotThereYetAreWaitedForAfterwards() throws {
        var (world, client, message, event) = try heldImage()
        world.configure(client) { $0.events = ListField(["*"]) }
        #expect(world.offeredDeliveries().isEmpty)
        let failed = MediaResult.failed(code: "not_found", isFinal: true)
        world.apply(world.state.decide(failed, message: message, index: 0, seal: World.seal, world.context))
        #expect(world.offeredDeliveries() == [event])
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func filesThatCameWhileItWasHeldDoNotLetItGo() throws {
        var (world, client, message, event) = try heldImage()
        let failed = MediaResult.failed(code: "not_found", isFinal: true)
        world.apply(world.state.decide(failed, message: message, index: 0, seal: World.seal, world.context))
        #expect(world.offeredDeliveries().isEmpty)
        #expect(try row(world, event).nextAttemptAt == nil)
        world.configure(client) { $0.events = ListField(["*"]) }
        #expect(world.offeredDeliveries() == [event])
    }

    // MARK: Old records

    /// Before there was holding, what nobody wanted had no delivery, and its body ended at once.
    @Test func anOldRecordMeansWhatItMeant() throws {
        var (world, client) = world()
        world.configure(client) { $0.enabled = false }
        let events = world.state.decide(world.inbound(client, id: "a"), ids: world.ids, world.context).map { new in
            guard case .eventPublished(var event) = new.event else { return new }
            event.held = ""
            event.wanted = false
            var old = new
            old.event = .eventPublished(event)
            return old
        }
        let positions = world.apply(events)
        let received = try #require(events.firstIndex { $0.event.type == .messageReceived })
        #expect(overdue(world) == [positions[received]])
        #expect(world.state.deliveries.rows.isEmpty)
        #expect(try purgeOverdue(&world).map(\.undelivered) == [""])
    }

    // MARK: Any order

    /// Whatever happens in whatever order: no message is attempted twice, none outlives its deadline, and each ends as delivered or as
    /// a dead letter.
    @Test(arguments: 0..<40 as Range<UInt64>)
    func nothingIsLostUnseenAndNothingTriedTwice(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var (world, client) = world()
        var messages: [LogPosition: (delivery: LogPosition, since: Timestamp)] = [:]
        var attempts: [LogPosition: Int] = [:]
        var running: [LogPosition] = []
        var obstacle: Obstacle?
        let obstacles = Obstacle.allCases.filter { $0 != .noEndpoint }
        for step in 0..<120 {
            switch Int.random(in: 0..<8, using: &generator) {
            case 0, 1, 2:
                let customer = ["ana", "bea", "cem"].randomElement(using: &generator) ?? "ana"
                let (message, delivery, _) = try receive(&world, client, "m\(step)", from: customer)
                messages[message] = (delivery, world.now)
            case 3:
                guard obstacle == nil, let next = obstacles.randomElement(using: &generator) else { continue }
                put(next, before: &world, client)
                obstacle = next
            case 4:
                guard let found = obstacle else { continue }
                _ = take(found, from: &world, client)
                obstacle = nil
            case 5:
                // As the delivery service: none while the endpoint is disabled.
                guard world.state.clients[client]?.endpoint?.enabled == true else { continue }
                let offered = world.offeredDeliveries().filter { delivery in
                    world.state.deliveries.rows[delivery].map {
                        !world.state.purges.watches.isOver($0.message, world.now)
                    } ?? false
                }
                for delivery in offered {
                    world.startDelivery(delivery)
                    attempts[delivery, default: 0] += 1
                }
                running += offered
            case 6:
                guard let delivery = running.popLast() else { continue }
                let verdicts: [DeliveryResult.Verdict] = [.succeeded, .failed, .interrupted]
                world.finishDelivery(delivery, verdicts.randomElement(using: &generator) ?? .failed)
            default: world.pass(seconds: UInt64.random(in: 0..<400, using: &generator))
            }
            try purgeOverdue(&world)
            for (message, came) in messages where world.now.nanoseconds - came.since.nanoseconds > 901_000_000_000 {
                #expect(world.state.isPurged(message), "seed \(seed)")
            }
        }
        for delivery in running { world.finishDelivery(delivery, .failed) }
        world.pass(seconds: 2 * LogState.purgeDeadline)
        try purgeOverdue(&world)
        #expect(attempts.values.allSatisfy { $0 == 1 }, "seed \(seed)")
        for (message, came) in messages {
            let row = try row(world, came.delivery)
            #expect(world.state.isPurged(message), "seed \(seed)")
            #expect(row.state == .delivered || row.isDeadLetter, "seed \(seed)")
            #expect(row.attempts == UInt64(attempts[came.delivery] ?? 0), "seed \(seed)")
            if row.attempts == 0 {
                #expect(HoldReason(rawValue: row.deadReason) != nil, "seed \(seed)")
            }
        }
        #expect(world.state.deliveries.held.isEmpty)
        #expect(try world.rebuilt().agrees(with: world.state))
    }
}

extension World {
    /// A change of a client with what goes on because of it, in one batch as the routes have it.
    @discardableResult
    fileprivate mutating func change(_ event: Event, _ client: LogPosition) -> [NewEvent] {
        let new = NewEvent(event, client: client)
        let events = [new] + state.released(by: new, context)
        apply(events)
        return events
    }

    @discardableResult
    fileprivate mutating func configure(
        _ client: LogPosition,
        _ change: (inout EndpointConfigured) -> Void = { _ in }
    ) -> [NewEvent] {
        var event = EndpointConfigured()
        event.enabled = true
        event.events = ListField(["sms.message_received"])
        event.retrySchedule = ListField(RetrySchedule.standard)
        event.maxInFlight = 64
        change(&event)
        return self.change(.endpointConfigured(event), client)
    }

    /// An account that may do everything, unless changed.
    @discardableResult
    fileprivate mutating func account(
        _ client: LogPosition,
        _ change: (inout ClientUpdated) -> Void = { _ in }
    ) -> [NewEvent] {
        var event = ClientUpdated()
        event.plan = .business
        event.addon = .active
        event.smsMonthlyQuota = 1000
        event.timeZone = "UTC"
        change(&event)
        return self.change(.clientUpdated(event), client)
    }
}
