import Foundation
import Gateway
import Log
import Projections
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(30)))
struct LedgerTests {
    /// A ledger with a client that may send SMS.
    private func open(_ directory: TemporaryDirectory) async throws -> (ledger: Ledger, client: LogPosition) {
        let ledger = try await GatewayProbe.openLedger(directory)
        let committed = try await ledger.commit { _, context in
            var created = ClientCreated()
            created.plan = .business
            created.addon = .active
            created.smsMonthlyQuota = 1_000_000
            var connected = ChannelConnected()
            connected.platform = .sms
            var endpoint = EndpointConfigured()
            endpoint.enabled = true
            endpoint.events = ListField(["*"])
            endpoint.retrySchedule = ListField(RetrySchedule.standard)
            endpoint.maxInFlight = 8
            let client = context.next
            let events = [
                NewEvent(
                    .clientCreated(created),
                    client: client,
                    bodies: [SealedPart(.content, [1])],
                    seal: .newKey(.secret)
                ),
                NewEvent(.channelConnected(connected), client: client),
                NewEvent(.endpointConfigured(endpoint), client: client),
            ]
            return (events, client)
        }
        return (ledger, committed.value)
    }

    private func request(_ client: LogPosition, key: UInt64, request: UInt64? = nil) -> SendRequest {
        SendRequest(
            client: client,
            platform: .sms,
            recipient: .phone(LookupHash(high: 1, low: key % 10), "+15550001111"),
            kind: "text",
            content: [UInt8](#"{"text":"hi","idempotency_key":"k"}"#.utf8),
            key: LookupHash(high: 2, low: key),
            fingerprint: LookupHash(high: 3, low: request ?? key),
            keyExpiresAt: Timestamp(.max),
            expiresAt: Timestamp(0),
            segments: 1,
            usageMonth: 202_611,
            queueMax: 100_000
        )
    }

    private func send(_ ledger: Ledger, _ request: SendRequest) async throws -> (message: LogPosition, replayed: Bool) {
        let committed = try await ledger.commit { state, context -> ([NewEvent], SendDecision) in
            let decision = state.decide(request, context)
            if case .accepted(let events, _) = decision { return (events, decision) }
            return ([], decision)
        }
        switch committed.value {
        case .accepted: return (committed.position, false)
        case .replayed(let message): return (message, true)
        case .refused(let refusal, _): throw refusal
        }
    }

    private func inbound(_ client: LogPosition, _ number: UInt64) -> InboundMessage {
        InboundMessage(
            client: client,
            platform: .sms,
            duplicateKey: LookupHash(high: 4, low: number),
            customer: LookupHash(high: 1, low: number % 10),
            account: LookupHash(high: 5, low: 5)
        )
    }

    private func receive(_ ledger: Ledger, _ message: InboundMessage) async throws {
        _ = try await ledger.commit { [ids = ledger.ids] state, context in
            (state.decide(message, ids: ids, context), ())
        }
    }

    // MARK: One writer decides

    /// Two requests with one key inside the same sync cannot both win.
    @Test func concurrentRepeatsAreOneMessage() async throws {
        let directory = TemporaryDirectory()
        let (ledger, client) = try await open(directory)
        for round in 0..<20 as Range<UInt64> {
            let results = try await withThrowingTaskGroup(of: (message: LogPosition, replayed: Bool).self) { group in
                for _ in 0..<16 { group.addTask { try await self.send(ledger, self.request(client, key: round)) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(Set(results.map(\.message)).count == 1)
            #expect(results.count { !$0.replayed } == 1)
            // Whoever was told of the message, also by a replay, can rely on its being on disk.
            #expect(ledger.log.durable >= results[0].message)
        }
        await ledger.close(reason: "test")
    }

    @Test func concurrentRepeatsOfAProviderAreOneMessage() async throws {
        let directory = TemporaryDirectory()
        let (ledger, client) = try await open(directory)
        try await withThrowingTaskGroup { group in
            for number in 0..<64 as Range<UInt64> {
                group.addTask { try await self.receive(ledger, self.inbound(client, number % 8)) }
            }
            try await group.waitForAll()
        }
        let received = try await ledger.read { $0.inbox.messages.count }
        #expect(received == 8)
        await ledger.close(reason: "test")
    }

    @Test func timesRiseAlsoWhenTheClockStands() async throws {
        let directory = TemporaryDirectory()
        let (ledger, client) = try await open(directory)
        let frozen = Ledger(
            log: ledger.log,
            keys: ledger.keys,
            state: try await ledger.read { copy $0 },
            clock: GuardedClock(ClockSources(wall: { 5 }, boot: { BootTime(nanoseconds: 5) }))
        )
        for number in 0..<5 as Range<UInt64> { try await receive(frozen, inbound(client, number)) }
        var before = UInt64(0)
        try ledger.log.reader.scan(from: LogPosition(1)) { record in
            #expect(record.time > before)
            before = record.time
        }
        await ledger.close(reason: "test")
    }

    // MARK: Durability

    @Test func aReadWaitsForWhatItSaw() async throws {
        let directory = TemporaryDirectory()
        let (ledger, client) = try await open(directory)
        for number in 0..<100 as Range<UInt64> {
            let message = inbound(client, number)
            let appended = try ledger.append { [ids = ledger.ids] state, context in
                (state.decide(message, ids: ids, context), ())
            }
            let seen = try await ledger.read { $0.position }
            #expect(seen >= appended.position)
            #expect(ledger.log.durable >= seen)
        }
        await ledger.close(reason: "test")
    }

    @Test func aCommitIsOnDiskWhenItReturns() async throws {
        let directory = TemporaryDirectory()
        let (ledger, client) = try await open(directory)
        for number in 0..<50 as Range<UInt64> {
            let sent = try await send(ledger, request(client, key: number))
            #expect(ledger.log.durable >= sent.message)
        }
        await ledger.close(reason: "test")
    }

    /// A decision that throws leaves nothing behind.
    @Test func aRefusedDecisionChangesNothing() async throws {
        let directory = TemporaryDirectory()
        let (ledger, _) = try await open(directory)
        let before = ledger.head
        await #expect(throws: Refusal(.notFound, "")) {
            _ = try await ledger.commit { _, _ -> ([NewEvent], Void) in throw Refusal(.notFound, "no") }
        }
        #expect(ledger.head == before)
        await ledger.close(reason: "test")
    }

    // MARK: Reopening

    /// What a process did before it ended. Its ledger is gone when this returns, and with it the writer's lock.
    ///
    /// - Parameter orderly: false ends the process without putting its stop on record, as a crash does.
    private func before<Value>(
        _ directory: TemporaryDirectory,
        orderly: Bool = true,
        _ body: (Ledger, LogPosition) async throws -> Value
    ) async throws -> Value {
        let (ledger, client) = try await open(directory)
        let value = try await body(ledger, client)
        if orderly { await ledger.close(reason: "test") } else { ledger.log.close() }
        return value
    }

    /// Enough traffic to fill several segments.
    private func traffic(_ ledger: Ledger, _ client: LogPosition) async throws {
        for batch in 0..<40 as Range<UInt64> {
            try await withThrowingTaskGroup { group in
                for number in 0..<25 as Range<UInt64> {
                    let id = batch * 25 + number
                    group.addTask {
                        try await retryingOverload { try await self.receive(ledger, self.inbound(client, id)) }
                        _ = try await retryingOverload { try await self.send(ledger, self.request(client, key: id)) }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test func stateAfterReopeningAgrees() async throws {
        let directory = TemporaryDirectory()
        let (known, client) = try await before(directory) { ledger, client in
            try await traffic(ledger, client)
            return (try await ledger.read { copy $0 }, client)
        }
        let reopened = try await GatewayProbe.openLedger(directory)
        var past = LogState()
        try past.catchUp(reopened.log.reader, through: known.position)
        #expect(past.agrees(with: known))
        var now = LogState()
        try now.catchUp(reopened.log.reader, through: reopened.head)
        let live = try await reopened.read { copy $0 }
        #expect(now.agrees(with: live))
        #expect(live.inbox.messages.count == 2000)
        let again = try await send(reopened, request(client, key: 7))
        #expect(again.replayed, "a restart forgot an idempotency key")
        let names = try FileManager.default.contentsOfDirectory(atPath: directory.path + "/data")
        #expect(
            names.count { $0.hasSuffix(".wal") || $0.hasSuffix(".sealed") } > 1,
            "the history lies in one segment only"
        )
        await reopened.close(reason: "test")
    }

    /// What recovery discards is on record, once, with the place where it is kept.
    @Test func aDiscardedTailBecomesAnEvent() async throws {
        let directory = TemporaryDirectory()
        _ = try await before(directory) { ledger, client in try await receive(ledger, inbound(client, 1)) }
        let data = directory.path + "/data"
        let names = try FileManager.default.contentsOfDirectory(atPath: data).filter { $0.hasSuffix(".wal") }
        let path = data + "/" + (try #require(names.max()))
        let bytes = try PosixStorage().readAll(path)
        let used = try #require(bytes.lastIndex { $0 != 0 })
        let torn = (used / 4096 + 1) * 4096
        try PosixStorage().open(path, .readWrite).writeAll([UInt8](repeating: 0xEE, count: 100), at: torn)
        for _ in 0..<2 {
            let reopened = try await GatewayProbe.openLedger(directory)
            var tails: [TailDiscarded] = []
            try reopened.log.reader.scan(from: LogPosition(1)) { record in
                if case .tailDiscarded(let event) = try EventRecord(record).event { tails.append(event) }
            }
            #expect(tails.count == 1)
            #expect(tails.first?.offset == UInt64(torn))
            #expect(tails.first?.bytes == 100)
            await reopened.close(reason: "test")
        }
        let kept = try FileManager.default.contentsOfDirectory(atPath: data + "/quarantine")
        #expect(kept.count == 1 && kept.first?.hasSuffix(".tail") == true)
    }

    @Test func bodiesOpenAfterReopening() async throws {
        let directory = TemporaryDirectory()
        let (first, last) = try await before(directory) { ledger, client in
            var message = inbound(client, 1)
            message.content.text = "Grüße aus dem Log"
            message.providerBytes = [1, 2, 3]
            try await receive(ledger, message)
            return try await ledger.read { state in (state.inbox.messages.keys.min(), state.position) }
        }
        let reopened = try await GatewayProbe.openLedger(directory)
        let position = try #require(first)
        let content = try JSONFields(try #require(try reopened.body(at: position, .content)))
        #expect(try content.string("text") == "Grüße aus dem Log")
        #expect(try reopened.body(at: position, .providerBytes) == [1, 2, 3])
        #expect(try reopened.body(at: position, .responseExcerpt) == nil)
        let rendering = try JSONFields(try #require(try reopened.body(at: last, .rendering)))
        #expect(try rendering.object("data")?.object("message")?.string("text") == "Grüße aus dem Log")
        await reopened.close(reason: "test")
    }

    /// At most once: a call that was under way may have had an effect, so it is not made again.
    @Test func sendsInFlightBecomeUnknown() async throws {
        let directory = TemporaryDirectory()
        let (client, sent, queued) = try await before(directory, orderly: false) { ledger, client in
            let sent = try await send(ledger, request(client, key: 1)).message
            let queued = try await send(ledger, request(client, key: 2)).message
            _ = try await ledger.commit { _, _ in
                var event = SendStarted()
                event.messages = ListField([sent])
                return ([NewEvent(.sendStarted(event))], ())
            }
            return (client, sent, queued)
        }
        let reopened = try await GatewayProbe.openLedger(directory)
        let state = try await reopened.read { copy $0 }
        #expect(state.inbox.messages[sent]?.status == .outcomeUnknown)
        #expect(state.sends.rows[sent] == nil)
        #expect(state.usage.month(client, 202_611).reserved == 2, "it may have been sent, so it stays reserved")
        #expect(state.inbox.messages[queued]?.status == .queued)
        #expect(state.sends.inFlight.isEmpty)
        await reopened.close(reason: "test")
    }

    /// At least once: a delivery that was under way is due again, and no step of the schedule is used.
    @Test func deliveriesInFlightAreDueAgain() async throws {
        let directory = TemporaryDirectory()
        let delivery = try await before(directory, orderly: false) { ledger, client in
            try await receive(ledger, inbound(client, 1))
            let delivery = ledger.head
            _ = try await ledger.commit { _, _ in
                var event = DeliveryStarted()
                event.deliveries = ListField([delivery])
                return ([NewEvent(.deliveryStarted(event))], ())
            }
            return delivery
        }
        let reopened = try await GatewayProbe.openLedger(directory)
        let row = try #require(try await reopened.read { $0.deliveries.rows[delivery] })
        #expect(row.state == .scheduled)
        #expect(row.attempts == 1)
        #expect(row.retry == 0)
        #expect(try #require(row.nextAttemptAt) <= reopened.now)
        guard case .deliveryFinished(let event) = try reopened.event(at: row.trail).event else {
            Issue.record("the interrupted attempt is not on record")
            return
        }
        #expect(event.error == "interrupted")
        #expect(event.attempt == 1)
        await reopened.close(reason: "test")
    }
}

/// A small log may still be making its next segment; it says so, and nothing was accepted.
private func retryingOverload<Value: Sendable>(_ body: @Sendable () async throws -> Value) async throws -> Value {
    for _ in 0..<2000 {
        do {
            return try await body()
        } catch let error as LogError where error.code == .overloaded {
            try await Task.sleep(for: .milliseconds(2))
        }
    }
    return try await body()
}
