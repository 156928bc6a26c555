import Gateway
import Log
import Projections
import Synchronization
import TestSupport
import Testing

/// A table that expectations may change.
private final class Table {
    private var table = WaitingTable<Int>()

    var count: Int { table.count }
    var nextDue: BootTime? { table.nextDue }

    func enter(_ client: LogPosition, for progress: Progress, most: Int) -> UInt64? {
        table.enter(client, for: progress, most: most)
    }

    func leave(_ id: UInt64) { table.leave(id) }
    func isOver(_ id: UInt64) -> Bool { table.isOver(id) }
    func sleep(_ id: UInt64, _ sleeper: Int, until due: BootTime) -> Bool { table.sleep(id, sleeper, until: due) }
    func signal(_ progress: Progress) -> [Int] { table.signal(progress) }
    func signal(client: LogPosition) -> [Int] { table.signal(client: client) }
    func signalDue(at now: BootTime) -> [Int] { table.signalDue(at: now) }
    func end(_ id: UInt64) -> Int? { table.end(id) }
    func stop() -> [Int] { table.stop() }
}

private final class Number: Sendable {
    private let number = Mutex(0)

    var value: Int { number.withLock { $0 } }

    func raise() { number.withLock { $0 += 1 } }
}

@Suite(.timeLimit(.minutes(5)))
struct WaitersTests {
    private static let client = LogPosition(1)
    private static var far: BootTime { BootTime.now.advanced(by: .seconds(120)) }

    // MARK: The table

    @Test func aSignalBeforeTheSleepIsKept() throws {
        let table = Table()
        let id = try #require(table.enter(Self.client, for: .purges, most: 1))
        #expect(table.signal(.purges).isEmpty)
        #expect(!table.sleep(id, 7, until: Self.far), "it is to look again")
        #expect(table.sleep(id, 7, until: Self.far), "the signal was for one look")
        #expect(table.signal(.purges) == [7])
    }

    @Test func aSignalWakesWhomItConcernsAlone() throws {
        let table = Table()
        let two = LogPosition(2)
        let progress: [Progress] = [.events(LogPosition(1)), .events(two), .message(two), .purges]
        for (number, progress) in progress.enumerated() {
            let id = try #require(table.enter(LogPosition(UInt64(number)), for: progress, most: 1))
            #expect(table.sleep(id, number, until: Self.far))
        }
        #expect(table.signal(.events(LogPosition(2))) == [1])
        #expect(table.signal(.events(LogPosition(3))).isEmpty)
        #expect(table.signal(client: LogPosition(2)) == [2])
        #expect(table.signal(client: LogPosition(2)).isEmpty, "nobody is woken twice")
        #expect(table.stop().sorted() == [0, 3])
    }

    @Test func sleepersAreWokenWhenTheyAreDue() throws {
        let table = Table()
        let start = BootTime.now
        for number in [3, 1, 2] {
            let id = try #require(table.enter(Self.client, for: .purges, most: 3))
            #expect(table.sleep(id, number, until: start.advanced(by: .seconds(number))))
        }
        #expect(table.nextDue == start.advanced(by: .seconds(1)))
        #expect(table.signalDue(at: start.advanced(by: .seconds(2))).sorted() == [1, 2])
        #expect(table.nextDue == start.advanced(by: .seconds(3)))
        #expect(table.signal(.purges) == [3])
        #expect(table.nextDue == nil)
    }

    @Test func oneClientCannotHaveAll() throws {
        let table = Table()
        let first = try #require(table.enter(Self.client, for: .purges, most: 2))
        _ = try #require(table.enter(Self.client, for: .events(Self.client), most: 2))
        #expect(table.enter(Self.client, for: .purges, most: 2) == nil)
        #expect(table.enter(LogPosition(2), for: .purges, most: 2) != nil)
        table.leave(first)
        table.leave(first)
        #expect(table.enter(Self.client, for: .purges, most: 2) != nil)
        #expect(table.count == 3)
    }

    @Test func whatIsOverSleepsNoMore() throws {
        let table = Table()
        let left = try #require(table.enter(Self.client, for: .purges, most: 3))
        #expect(table.end(left) == nil)
        #expect(table.isOver(left))
        #expect(!table.sleep(left, 1, until: Self.far))
        #expect(!table.sleep(left, 1, until: Self.far))
        #expect(table.stop().isEmpty)
        let late = try #require(table.enter(Self.client, for: .purges, most: 3))
        #expect(table.isOver(late), "after the stop nobody waits")
    }

    // MARK: Sleeping

    /// Workers raise a number and signal; waiters must see each of them end, however the two interleave.
    @Test func noWakeIsLost() async throws {
        let waiters = Waiters()
        let rounds = 200
        let number = Number()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<16 {
                group.addTask {
                    for round in 1...rounds {
                        guard let id = waiters.enter(Self.client, for: .purges) else { return }
                        while number.value < round { await waiters.sleep(id, until: Self.far) }
                        waiters.leave(id)
                    }
                }
            }
            group.addTask {
                for _ in 1...rounds {
                    number.raise()
                    waiters.signal(.purges)
                    if Bool.random() { await Task.yield() }
                }
            }
        }
        #expect(waiters.count == 0)
    }

    @Test func aSleepEndsWhenItIsDueAndNotBefore() async throws {
        let waiters = Waiters()
        await withTaskGroup(of: Void.self) { group in
            for milliseconds in [60, 20, 40, 0] {
                group.addTask {
                    guard let id = waiters.enter(Self.client, for: .purges) else { return }
                    defer { waiters.leave(id) }
                    let due = BootTime.now.advanced(by: .milliseconds(milliseconds))
                    await waiters.sleep(id, until: due)
                    #expect(BootTime.now >= due)
                }
            }
        }
        #expect(waiters.count == 0)
    }

    @Test func aCancelledTaskWakes() async throws {
        let waiters = Waiters()
        let id = try #require(waiters.enter(Self.client, for: .purges))
        let task = Task { await waiters.sleep(id, until: Self.far) }
        task.cancel()
        await task.value
        #expect(waiters.isOver(id))
        waiters.leave(id)
    }

    @Test func aStopWakesAll() async throws {
        let waiters = Waiters()
        let id = try #require(waiters.enter(Self.client, for: .purges))
        async let sleep: Void = waiters.sleep(id, until: Self.far)
        waiters.stop()
        await sleep
        #expect(waiters.isOver(id))
        waiters.leave(id)
    }

    // MARK: Requests

    /// Far more than a woken answer takes, and far less than the wait that is asked for.
    private static let soon = Duration.seconds(15)

    /// Asks for something, and acts once the request waits.
    private static func whileWaiting(
        _ probe: GatewayProbe,
        _ ask: @escaping @Sendable () async throws -> Reply,
        _ act: () async throws -> Void
    ) async throws -> Reply {
        let began = BootTime.now
        async let reply = ask()
        while probe.ledger.waiters.count == 0, BootTime.now.since(began) < soon { await Task.yield() }
        try await act()
        let answer = try await reply
        #expect(BootTime.now.since(began) < soon)
        #expect(probe.ledger.waiters.count == 0)
        return answer
    }

    @Test func aLongPollIsAnsweredByTheEvent() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let reply = try await Self.whileWaiting(probe) {
                try await probe.ask(.get, "/v1/events?wait=30", token: account.key)
            } _: {
                let taken = try await probe.twilio(account, GatewayProbe.message("SM00000000000000000000000000000001"))
                #expect(taken.status == 200)
            }
            #expect(reply.status == 200)
            #expect(try reply.data().isEmpty == false)
        }
    }

    @Test(arguments: [0, 1]) func aLongPollEndsWithItsKey(overlap: Int) async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let reply = try await Self.whileWaiting(probe) {
                try await probe.ask(.get, "/v1/events?wait=30", token: account.key)
            } _: {
                let body = #"{"overlap_seconds":\#(overlap)}"#
                _ = try await probe.ask(.post, "/v1/api-key/rotate", token: account.key, body: body)
            }
            #expect(reply.status == 401)
        }
    }

    /// Nobody sends here: the answer is that of the acceptance, because the gateway stops or the key ends.
    @Test(arguments: [true, false]) func anAcceptedSendIsAnsweredWithWhatThereIs(stops: Bool) async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let reply = try await Self.whileWaiting(probe) {
                try await probe.send(
                    account,
                    #"{"to_phone":"+14155552671","text":"hi"}"#,
                    headers: ["Prefer": "wait=30", "Idempotency-Key": "k"]
                )
            } _: {
                if stops { return probe.ledger.waiters.stop() }
                let body = #"{"overlap_seconds":0}"#
                _ = try await probe.ask(.post, "/v1/api-key/rotate", token: account.key, body: body)
            }
            #expect(reply.status == 202)
            #expect(try reply.text("status") == "queued")
        }
    }
}
