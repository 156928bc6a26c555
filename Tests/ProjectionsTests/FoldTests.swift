import Log
import Projections
import TestSupport
import Testing

/// State is a pure fold: what the running process holds is what a restart computes from the encoded events.
@Suite struct FoldTests {
    @Test(arguments: 1...24 as ClosedRange<UInt64>)
    func liveAndRebuiltAgree(_ seed: UInt64) throws {
        var run = RandomHistory(seed: seed)
        for step in 0..<400 {
            try run.step()
            if step % 100 == 99 { #expect(try run.world.rebuilt().agrees(with: run.world.state), "seed \(seed)") }
        }
        let types = Set(run.world.records.map(\.event.type))
        #expect(types.count >= 15, "seed \(seed) did too little to show anything")
    }

    /// A comparison that could not fail would prove nothing.
    @Test func aMissingEventIsNoticed() throws {
        var run = RandomHistory(seed: 99)
        for _ in 0..<200 { try run.step() }
        let records = run.world.records
        let telling: Set<EventType> = [
            .logCreated, .clientCreated, .conversationOpened, .messageReceived, .sendAccepted, .eventPublished,
            .deliveryReplayed, .apiKeyCreated, .webhookSecretCreated,
        ]
        for skipped in records.dropLast() where telling.contains(skipped.event.type) {
            var state = LogState()
            for record in records where record.position != skipped.position { state.apply(record) }
            #expect(!state.agrees(with: run.world.state), "without \(skipped.event.type) at \(skipped.position)")
        }
    }

    /// As of any position the state is the same whether computed on the way or afterwards.
    @Test func prefixesAgree() throws {
        var run = RandomHistory(seed: 5)
        for _ in 0..<300 { try run.step() }
        var onTheWay = LogState()
        for record in run.world.records {
            onTheWay.apply(record)
            guard record.position.rawValue % 97 == 0 else { continue }
            var afterwards = LogState()
            for earlier in run.world.records where earlier.position <= record.position { afterwards.apply(earlier) }
            #expect(onTheWay.agrees(with: afterwards))
        }
    }

    /// An epoch that began because the one before was full is on record only in what it sealed.
    @Test func theNewestEpochIsThatOfAnyRecord() {
        var state = LogState()
        var started = ProcessStarted()
        started.keyEpoch = 3
        for (position, epoch) in [(1, 0), (2, 5), (3, 4)] as [(UInt64, UInt32)] {
            var record = FoldTests.record(.processStarted(started), LogPosition(position))
            record.keyEpoch = epoch
            state.apply(record)
        }
        #expect(state.keyEpoch == 5)
    }

    @Test func theLatestHorizonOfTheBackupsBeforeCounts() {
        var state = LogState()
        for (position, horizon) in [(2, 100), (4, 300), (6, 200), (8, 900)] as [(UInt64, UInt64)] {
            var event = LogBackedUp()
            event.horizon = Timestamp(horizon)
            state.apply(FoldTests.record(.logBackedUp(event), LogPosition(position)))
        }
        func horizon(_ last: UInt64) -> UInt64? {
            state.backups.horizon(before: LogPosition(last))?.nanoseconds
        }
        #expect(horizon(2) == nil)
        #expect(horizon(3) == 100)
        #expect(horizon(7) == 300)
        #expect(horizon(8) == 300)
        #expect(horizon(9) == 900)
    }

    private static func record(_ event: Event, _ position: LogPosition) -> EventRecord {
        EventRecord(
            event,
            position: position,
            time: Timestamp(position.rawValue),
            client: .zero,
            conversation: .zero,
            message: .zero,
            subject: .zero
        )
    }
}

/// Commands as they might come, decided and folded.
private struct RandomHistory {
    private(set) var world = World()
    private var random: SeededGenerator
    private var clients: [LogPosition] = []
    private var number = 0

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        clients = [world.client(quota: 30), world.client(plan: .creator), world.client()]
        for client in clients { world.endpoint(client) { $0.events = ListField(["*"]) } }
    }

    mutating func step() throws {
        number += 1
        world.now = Timestamp(world.now.nanoseconds + UInt64.random(in: 0..<20_000_000_000, using: &random))
        let client = clients.randomElement(using: &random) ?? .zero
        switch Int.random(in: 0..<14, using: &random) {
        case 0...2: receive(client)
        case 3...5: send(client)
        case 6: cancel(client)
        case 7...8: callProviders()
        case 9: report(client)
        case 10...11: deliver()
        case 12: settleDeadLetters(client)
        default: change(client)
        }
    }

    private mutating func receive(_ client: LogPosition) {
        let customer = "c\(Int.random(in: 0..<4, using: &random))"
        let consents: [InboundMessage.Consent?] = [nil, nil, nil, nil, .optIn, .optOut]
        let consent = consents.randomElement(using: &random) ?? nil
        // Some ids come twice, as a provider's repeats do.
        let id = "SM\(Int.random(in: 0..<max(number, 1), using: &random))"
        world.receive(world.inbound(client, from: customer, id: id, consent: consent))
    }

    private mutating func send(_ client: LogPosition) {
        let customer = "c\(Int.random(in: 0..<4, using: &random))"
        let key = "\(Int.random(in: 0..<40, using: &random))"
        let body = "\(Int.random(in: 0..<2, using: &random))"
        let expires = random.chance(0.3)
        let request = world.request(client, to: customer, key: key, request: key + body) { request in
            request.keyExpiresAt = world.now.advanced(bySeconds: 400)
            if expires { request.expiresAt = world.now.advanced(bySeconds: 30) }
            request.queueMax = 10
        }
        _ = world.decide(request)
    }

    private mutating func cancel(_ client: LogPosition) {
        guard let message = world.state.inbox.messages.keys.sorted().randomElement(using: &random),
            let events = try? world.cancel(message, client: client)
        else { return }
        world.apply(events)
    }

    private mutating func callProviders() {
        let decided = world.state.decideStart(world.offeredSends(), now: world.now)
        world.drop(decided.drop)
        if !decided.start.isEmpty { world.start(decided.start) }
        for message in world.state.sends.inFlight where random.chance(0.8) {
            let outcome = SendOutcome.allCases.randomElement(using: &random) ?? .accepted
            world.finish(message, outcome, code: "1") { $0.providerKey = World.hash("sent/\(message)") }
        }
    }

    private mutating func report(_ client: LogPosition) {
        guard let message = world.state.inbox.messages.keys.sorted().randomElement(using: &random) else { return }
        let status = [MessageStatus.sent, .delivered, .failed, .read].randomElement(using: &random) ?? .sent
        world.report(message, status, client: client)
    }

    private mutating func deliver() {
        for delivery in world.offeredDeliveries() { world.startDelivery(delivery) }
        let verdicts: [DeliveryResult.Verdict] = [.succeeded, .succeeded, .failed, .failed, .interrupted, .gone]
        for delivery in world.state.deliveries.inFlight where random.chance(0.8) {
            world.finishDelivery(delivery, verdicts.randomElement(using: &random) ?? .failed)
        }
    }

    private mutating func settleDeadLetters(_ client: LogPosition) {
        let dead = world.state.deliveries.rows.filter { $0.value.state == .dead }.keys.sorted()
        guard let letter = dead.randomElement(using: &random) else { return }
        let events =
            random.chance(0.7)
            ? try? world.state.decideReplay(letter, client: client)
            : try? world.state.decideDiscard(letter, client: client)
        world.apply(events ?? [])
    }

    private mutating func change(_ client: LogPosition) {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: world.connect(client)
        case 1: world.apply(.channelDisconnected(ChannelDisconnected()), client: client)
        case 2: rotateKeys(client)
        case 3: createToken()
        case 4: world.apply((try? world.state.decideTest(client: client, ids: world.ids, world.context)) ?? [])
        default:
            let strict = random.chance(0.5)
            world.endpoint(client) { event in
                event.events = ListField(["*"])
                event.retrySchedule = ListField([5, 20])
                event.strictOrdering = strict
            }
        }
    }

    private mutating func rotateKeys(_ client: LogPosition) {
        for key in world.state.clients[client]?.apiKeys ?? [] {
            var expires = APIKeyExpires()
            expires.at = world.now.advanced(bySeconds: 60)
            world.apply(.apiKeyExpires(expires), client: client, subject: key.position)
        }
        var created = APIKeyCreated()
        created.hash = Digest(Crypto.sha256([UInt8]("k\(number)".utf8))) ?? .zero
        world.apply(.apiKeyCreated(created), client: client)
        world.apply(.webhookSecretCreated(WebhookSecretCreated()), client: client)
    }

    private mutating func createToken() {
        if let any = world.state.tokens.rows.keys.sorted().randomElement(using: &random), random.chance(0.3) {
            world.apply(.tokenUsed(TokenUsed()), subject: any)
        }
        if let old = world.state.tokens.rows.keys.min(), random.chance(0.5) {
            world.apply(.tokenRevoked(TokenRevoked()), subject: old)
            return
        }
        var created = TokenCreated()
        created.role = random.chance(0.5) ? .operator : .auditor
        created.hash = Digest(Crypto.sha256([UInt8]("t\(number)".utf8))) ?? .zero
        created.label = "t\(number)"
        world.apply(.tokenCreated(created))
    }
}
