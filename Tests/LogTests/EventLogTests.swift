import Glibc
import Log
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(30))) struct EventLogTests {
    private let directory = LogDirectory()

    // MARK: Appending and reading

    @Test func whatWasAppendedIsReadBack() async throws {
        let log = try directory.open()
        defer { log.close() }
        #expect(log.recovery.created)
        #expect(log.next == LogPosition(1))
        let drafts = (1...5).map { RecordDraft.plain($0, count: $0 * 50) }
        let last = try log.append(drafts, expecting: LogPosition(1))
        #expect(last == LogPosition(5))
        try await log.waitUntilDurable(last)
        #expect(log.durable == LogPosition(5))
        for (index, draft) in drafts.enumerated() {
            let position = LogPosition(UInt64(index + 1))
            try log.reader.record(at: position).withView { view in
                #expect(view.position == position)
                #expect([UInt8](view.payload) == draft.payload)
                #expect(view.subject == draft.subject)
                #expect(view.computedDigest == ExpectedRecord.digest(draft, position: position, time: view.time))
            }
        }
    }

    @Test func nothingIsVisibleBeforeItIsDurable() async throws {
        let storage = SimulatedStorage(directory: "/log")
        let gate = WriterGate()
        storage.setHook(gate.hook)
        let log = try EventLog.open(directory: "/log", configuration: .small(), storage: storage)
        defer { log.close() }
        gate.hold()
        let last = try log.append([.plain(1)], expecting: LogPosition(1))
        gate.waitUntilHeld()
        #expect(log.durable == .zero)
        #expect(log.next == LogPosition(2))
        #expect(log.frontier.size == 0)
        #expect(throws: LogError(.notFound, "")) { try log.reader.record(at: last) }
        #expect(try log.reader.digests().isEmpty)
        gate.release()
        try await log.waitUntilDurable(last)
        #expect(log.frontier.size == 1)
        #expect(try log.reader.digests().count == 1)
    }

    @Test func anotherExpectedPositionIsAConflict() async throws {
        let log = try directory.open()
        defer { log.close() }
        try await log.appendDurably([.plain(1), .plain(2)])
        for wrong in [0, 1, 2, 4, UInt64.max] {
            #expect(throws: LogError(.positionConflict, "")) {
                try log.append([.plain(3)], expecting: LogPosition(wrong))
            }
        }
        #expect(log.next == LogPosition(3))
        #expect(try log.append([.plain(3)], expecting: LogPosition(3)) == LogPosition(3))
    }

    @Test func anEmptyBatchIsNoRecord() async throws {
        let log = try directory.open()
        defer { log.close() }
        #expect(try log.append([], expecting: LogPosition(1)) == .zero)
        try await log.waitUntilDurable(.zero)
        #expect(log.next == LogPosition(1))
    }

    @Test func positionsThatWereNeverAppendedAreNotFound() async throws {
        let log = try directory.open()
        defer { log.close() }
        try await log.appendDurably([.plain(1)])
        await #expect(throws: LogError(.notFound, "")) { try await log.waitUntilDurable(LogPosition(2)) }
        #expect(throws: LogError(.notFound, "")) { try log.reader.record(at: LogPosition(2)) }
        #expect(throws: LogError(.notFound, "")) { try log.reader.record(at: .zero) }
    }

    @Test func aRecordMayHave512KiBAndNoMore() async throws {
        let log = try directory.open()
        defer { log.close() }
        let largest = RecordDraft.plain(1, count: (512 << 10) - 96)
        try await log.appendDurably([largest])
        let tooLarge = RecordDraft.plain(2, count: (512 << 10) - 95)
        #expect(throws: LogError(.recordTooLarge, "")) {
            try log.append([.plain(3), tooLarge], expecting: LogPosition(2))
        }
        #expect(log.next == LogPosition(2))
        let record = try log.reader.record(at: LogPosition(1))
        #expect(record.withView { [UInt8]($0.payload) } == largest.payload)
    }

    @Test func moreThanMayWaitIsRefusedAndChangesNothing() async throws {
        let storage = SimulatedStorage(directory: "/log")
        let gate = WriterGate()
        storage.setHook(gate.hook)
        var configuration = LogConfiguration.small()
        configuration.pendingBytesMax = 10_000
        let log = try EventLog.open(directory: "/log", configuration: configuration, storage: storage)
        defer { log.close() }
        gate.hold()
        _ = try log.append([.plain(1)], expecting: LogPosition(1))
        gate.waitUntilHeld()
        _ = try log.append([.plain(2, count: 9000)], expecting: LogPosition(2))
        #expect(throws: LogError(.overloaded, "")) {
            try log.append([.plain(3, count: 2000)], expecting: LogPosition(3))
        }
        #expect(log.next == LogPosition(3))
        gate.release()
        try await log.waitUntilDurable(LogPosition(2))
        try await log.appendDurably([.plain(3, count: 2000)])
    }

    /// On a quiet log the waiter writes; the mark and the next appends by the writer thread must follow all the same.
    @Test(arguments: [LogConfiguration.Durability.normal, .strict])
    func waitersMayWriteThemselves(_ durability: LogConfiguration.Durability) async throws {
        let log = try directory.open(.small(durability))
        for round in 0..<40 {
            let position = try await log.append([.plain(round, count: 60_000)], flush: .byWaiter)
            try await log.waitUntilDurable(position)
            #expect(log.durable == position)
            if round % 7 == 0 { try await log.appendDurably([.plain(round)]) }
        }
        let digests = try log.reader.digests()
        log.close()
        let again = try directory.open()
        defer { again.close() }
        #expect(again.recovery.rewritten == 0)
        #expect(try again.reader.digests() == digests)
        #expect(try directory.verify(again.durable).findings.isEmpty)
    }

    /// Records nobody waits for yet are written as soon as anybody appends for the writer thread.
    @Test func recordsLeftToAWaiterAreNotForgotten() async throws {
        let log = try directory.open()
        defer { log.close() }
        _ = try log.append([.plain(1)], expecting: LogPosition(1), flush: .byWaiter)
        let last = try log.append([.plain(2)], expecting: LogPosition(2))
        for _ in 0..<2000 where log.durable < last { try await Task.sleep(for: .milliseconds(1)) }
        #expect(log.durable == last)
    }

    @Test func manyTasksAppendWithoutGaps() async throws {
        let log = try directory.open()
        defer { log.close() }
        let appender = SerialAppender(log)
        let positions = try await withThrowingTaskGroup(of: [LogPosition].self) { group in
            for task in 0..<16 {
                group.addTask { try await SerialAppender.run(appender, task: task, count: 100) }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        let count = UInt64(16 * 100)
        #expect(positions.map(\.rawValue).sorted() == Array(1...count))
        #expect(log.durable == LogPosition(count))
        #expect(try log.reader.digests().count == Int(count))
        #expect(try directory.verify(log.durable).findings.isEmpty)
    }

    // MARK: One writer

    @Test func aSecondWriterIsRefusedWithThePidOfTheFirst() throws {
        let log = try directory.open()
        let error = #expect(throws: LogError.self) { try directory.open() }
        #expect(error?.code == .locked)
        #expect(error?.message.contains("\(getpid())") == true)
        log.close()
    }

    /// Also while somebody still holds the closed log, for instance to read.
    @Test func closingReleasesTheLock() throws {
        let first = try directory.open()
        first.close()
        let second = try directory.open()
        second.close()
        #expect(first.id == second.id)
    }

    @Test func aClosedLogAcceptsNothing() async throws {
        let log = try directory.open()
        _ = try log.append([.plain(1)], expecting: LogPosition(1))
        log.close()
        log.close()
        #expect(log.durable == LogPosition(1))
        #expect(throws: LogError(.closed, "")) { try log.append([.plain(2)], expecting: LogPosition(2)) }
        #expect(throws: LogError(.closed, "")) { try log.admitEdge() }
        #expect(try log.reader.digests().count == 1)
    }

    // MARK: Followers

    @Test func followersHearOfWhatBecomesDurable() async throws {
        let log = try directory.open()
        defer { log.close() }
        let follower = Task {
            var seen = LogPosition.zero
            while seen < LogPosition(50) { seen = try await log.waitForMore(after: seen) }
            return seen
        }
        for number in 1...50 { try await log.appendDurably([.plain(number)]) }
        #expect(try await follower.value == LogPosition(50))
        #expect(try await log.waitForMore(after: LogPosition(3)) == LogPosition(50))
    }

    @Test func closingEndsTheWaitOfFollowers() async throws {
        let log = try directory.open()
        let outcome = Mutex<Result<LogPosition, LogError>?>(nil)
        let follower = Task { () -> Void in
            do throws(LogError) {
                let position = try await log.waitForMore(after: .zero)
                outcome.withLock { $0 = .success(position) }
            } catch {
                outcome.withLock { $0 = .failure(error) }
            }
        }
        try await Task.sleep(for: .milliseconds(50))
        log.close()
        for _ in 0..<100 where outcome.withLock({ $0 == nil }) { try await Task.sleep(for: .milliseconds(10)) }
        #expect(outcome.withLock { $0 } == .failure(LogError(.closed, "")))
        await #expect(throws: LogError(.closed, "")) { try await log.waitForMore(after: .zero) }
        follower.cancel()
    }

    // MARK: Time

    @Test func timeIncreasesThoughTheClockDoesNot() async throws {
        let clock = ManualClock(5000)
        let log = try directory.open(now: clock.now)
        defer { log.close() }
        try await log.appendDurably([.plain(1), .plain(2)])
        clock.time = 10
        try await log.appendDurably([.plain(3)])
        clock.time = 6000
        try await log.appendDurably([.plain(4)])
        var times: [UInt64] = []
        try log.reader.scan(from: LogPosition(1)) { times.append($0.time) }
        #expect(times == [5000, 5001, 5002, 6000])
    }

    @Test(arguments: [0, 1 << 19, (1 << 20) + 1, (1 << 30) + 4096])
    func segmentSizesThatCannotWorkAreRefused(_ size: Int) {
        var configuration = LogConfiguration()
        configuration.segmentBytes = size
        #expect(throws: LogError.self) { try directory.open(configuration) }
    }

}

/// Gives each of many callers the log's next position: reading it and appending must be one step.
private final class SerialAppender: Sendable {
    private let log: EventLog
    private let turn = Mutex(())

    init(_ log: EventLog) { self.log = log }

    static func run(_ appender: SerialAppender, task: Int, count: Int) async throws -> [LogPosition] {
        var positions: [LogPosition] = []
        while positions.count < count {
            let draft = RecordDraft.plain(
                task * 1000 + positions.count,
                count: positions.count % 20 == 0 ? 20_000 : 100
            )
            guard let position = try appender.append(draft) else {
                try await Task.sleep(for: .milliseconds(1))
                continue
            }
            positions.append(position)
            try await appender.log.waitUntilDurable(position)
        }
        return positions
    }

    /// Nil when the log is overloaded.
    private func append(_ draft: RecordDraft) throws -> LogPosition? {
        try turn.withLock { _ in
            do throws(LogError) {
                return try log.append([draft], expecting: log.next)
            } catch {
                guard error.code == .overloaded else { throw error }
                return nil
            }
        }
    }
}
