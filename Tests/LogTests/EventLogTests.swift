import Glibc
import Log
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(10))) struct EventLogTests {
    private let directory = TemporaryDirectory()

    private func openLog(
        _ configuration: LogConfiguration = .small(),
        now: @escaping @Sendable () -> UInt64 = EventLog.systemTime
    ) throws -> EventLog {
        try EventLog.open(directory: directory.path, configuration: configuration, now: now)
    }

    private func verify(_ limit: LogPosition? = nil) throws -> LogVerifier.Report {
        try LogVerifier(directory: directory.path, limit: limit).run()
    }

    // MARK: Appending and reading

    @Test func whatWasAppendedIsReadBack() async throws {
        let log = try openLog()
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
        #expect(log.frontier.size == 1)
        #expect(throws: LogError(.notFound, "")) { try log.reader.record(at: last) }
        #expect(try log.reader.digests().isEmpty)
        gate.release()
        try await log.waitUntilDurable(last)
        #expect(try log.reader.digests().count == 1)
    }

    @Test func anotherExpectedPositionIsAConflict() async throws {
        let log = try openLog()
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
        let log = try openLog()
        defer { log.close() }
        #expect(try log.append([], expecting: LogPosition(1)) == .zero)
        try await log.waitUntilDurable(.zero)
        #expect(log.next == LogPosition(1))
    }

    @Test func positionsThatWereNeverAppendedAreNotFound() async throws {
        let log = try openLog()
        defer { log.close() }
        try await log.appendDurably([.plain(1)])
        await #expect(throws: LogError(.notFound, "")) { try await log.waitUntilDurable(LogPosition(2)) }
        #expect(throws: LogError(.notFound, "")) { try log.reader.record(at: LogPosition(2)) }
        #expect(throws: LogError(.notFound, "")) { try log.reader.record(at: .zero) }
    }

    @Test func aRecordMayHave512KiBAndNoMore() async throws {
        let log = try openLog()
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

    // MARK: Several segments

    @Test func aScanCrossesSegments() async throws {
        let log = try openLog()
        defer { log.close() }
        var expected: [[UInt8]] = []
        for number in 0..<60 {
            let draft = RecordDraft.plain(number, count: number % 3 == 0 ? 200_000 : 300)
            expected.append(draft.payload)
            try await log.appendDurably([draft])
        }
        #expect(try PosixStorage().segments(in: directory.path).count >= 4)
        for first in [1, 2, 20, 59, 60] {
            var payloads: [[UInt8]] = []
            try log.reader.scan(from: LogPosition(UInt64(first))) { payloads.append([UInt8]($0.payload)) }
            #expect(payloads == Array(expected[(first - 1)...]))
        }
        var window: [UInt64] = []
        try log.reader.scan(from: LogPosition(10), through: LogPosition(30)) { window.append($0.position.rawValue) }
        #expect(window == Array(10...30))
        try log.reader.scan(from: LogPosition(61)) { _ in Issue.record("there is nothing behind the end") }
    }

    @Test func aScanStopsWhenItsReaderThrows() async throws {
        struct Enough: Error {}
        let log = try openLog()
        defer { log.close() }
        try await log.appendDurably([.plain(1), .plain(2), .plain(3)])
        var seen = 0
        #expect(throws: Enough.self) {
            try log.reader.scan(from: LogPosition(1)) { _ in
                seen += 1
                if seen == 2 { throw Enough() }
            }
        }
        #expect(seen == 2)
    }

    @Test func manyTasksAppendWithoutGaps() async throws {
        let log = try openLog()
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
        #expect(try verify(log.durable).findings.isEmpty)
    }

    // MARK: Durable marks

    @Test func strictModeMarksBeforeItAnswers() async throws {
        var configuration = LogConfiguration.small(.strict)
        configuration.idleMarkDelay = .seconds(3600)
        let log = try openLog(configuration)
        defer { log.close() }
        for number in UInt64(1)...3 {
            try await log.appendDurably([.plain(Int(number))])
            #expect(try marks().last == number)
        }
    }

    @Test func anIdleLogIsMarked() async throws {
        let log = try openLog()
        defer { log.close() }
        try await log.appendDurably([.plain(1), .plain(2)])
        var found: [UInt64] = []
        for _ in 0..<200 where found.last != 2 {
            try await Task.sleep(for: .milliseconds(5))
            found = try marks()
        }
        #expect(found == [2])
    }

    @Test func aClosedLogIsMarked() async throws {
        var configuration = LogConfiguration.small()
        configuration.idleMarkDelay = .seconds(3600)
        let log = try openLog(configuration)
        try await log.appendDurably([.plain(1)])
        #expect(try marks().isEmpty)
        _ = try log.append([.plain(2)], expecting: LogPosition(2))
        log.close()
        #expect(try marks() == [2])
    }

    /// The positions that the marks in the newest segment name: a mark is a block without a group.
    private func marks() throws -> [UInt64] {
        let path = try #require(try PosixStorage().segments(in: directory.path).last)
        let bytes = try PosixStorage().bytes(of: path)
        return stride(from: 4096, to: bytes.count, by: 4096).compactMap { offset in
            guard bytes[offset..<(offset + 4)] == [UInt8]("WBBK".utf8)[...] else { return nil }
            guard bytes[(offset + 40)..<(offset + 44)] == [0, 0, 0, 0] else { return nil }
            return bytes[(offset + 24)..<(offset + 32)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
    }

    // MARK: One writer

    @Test func aSecondWriterIsRefusedWithThePidOfTheFirst() throws {
        let log = try openLog()
        let error = #expect(throws: LogError.self) { try openLog() }
        #expect(error?.code == .locked)
        #expect(error?.message.contains("\(getpid())") == true)
        log.close()
    }

    /// Also while somebody still holds the closed log, for instance to read.
    @Test func closingReleasesTheLock() throws {
        let first = try openLog()
        first.close()
        let second = try openLog()
        second.close()
        #expect(first.id == second.id)
    }

    @Test func aClosedLogAcceptsNothing() async throws {
        let log = try openLog()
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
        let log = try openLog()
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
        let log = try openLog()
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

    @Test func positionsAreFoundByTime() async throws {
        let clock = ManualClock(1000)
        let log = try openLog(now: clock.now)
        defer { log.close() }
        #expect(try log.reader.position(atOrAfter: 0) == LogPosition(1))
        for time in stride(from: UInt64(1000), through: 9000, by: 1000) {
            clock.time = time
            try await log.appendDurably([.plain(Int(time)), .plain(Int(time) + 1)])
        }
        #expect(try log.reader.position(atOrAfter: 0) == LogPosition(1))
        #expect(try log.reader.position(atOrAfter: 1000) == LogPosition(1))
        #expect(try log.reader.position(atOrAfter: 1001) == LogPosition(2))
        #expect(try log.reader.position(atOrAfter: 1002) == LogPosition(3))
        #expect(try log.reader.position(atOrAfter: 5000) == LogPosition(9))
        #expect(try log.reader.position(atOrAfter: 9001) == LogPosition(18))
        #expect(try log.reader.position(atOrAfter: 9002) == LogPosition(19))
    }

    @Test func timeIncreasesThoughTheClockDoesNot() async throws {
        let clock = ManualClock(5000)
        let log = try openLog(now: clock.now)
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

    /// Also when the newest segment of the log is empty, so that its own records say nothing about the time.
    @Test(arguments: 1...3)
    func timeIncreasesAcrossReopening(_ reopenings: Int) async throws {
        let first = try openLog(now: { 5000 })
        try await first.appendDurably([.plain(1)])
        first.close()
        for _ in 1..<reopenings { try openLog(now: { 10 }).close() }
        let last = try openLog(now: { 10 })
        try await last.appendDurably([.plain(2)])
        last.close()
        #expect(try verify().findings.isEmpty)
        #expect(try last.reader.record(at: LogPosition(2)).withView { $0.time } == 5001)
    }

    // MARK: Opening again

    @Test func aReopenedLogGoesOnWhereItStopped() async throws {
        var digests: [Digest] = []
        var id: LogID?
        for session in 0..<5 {
            let log = try openLog()
            #expect(log.recovery.created == (session == 0))
            #expect(log.recovery.recoveredThrough == LogPosition(UInt64(digests.count)))
            #expect(log.recovery.rewritten == 0)
            #expect(log.recovery.discarded.isEmpty)
            #expect(id == nil || id == log.id)
            id = log.id
            #expect(log.frontier.root == root(digests))
            #expect(try log.reader.digests() == digests)
            for number in 0..<10 { try await log.appendDurably([.plain(session * 10 + number, count: 60_000)]) }
            digests = try log.reader.digests()
            #expect(log.frontier.root == root(digests))
            log.close()
        }
        let report = try verify()
        #expect(report.findings.isEmpty)
        #expect(report.records == 50)
        #expect(report.root == root(digests))
        #expect(report.unjudgedTailBytes == 0)
    }

    /// A process that restarts again and again without work must not lose its log.
    @Test(arguments: [0, 1, 3])
    func reopeningWithoutAppendingChangesNothing(_ records: Int) async throws {
        let log = try openLog()
        for number in 0..<records { try await log.appendDurably([.plain(number)]) }
        let digests = try log.reader.digests()
        log.close()
        for _ in 0..<5 {
            let again = try openLog()
            defer { again.close() }
            #expect(try again.reader.digests() == digests)
        }
        #expect(try verify().findings.isEmpty)
    }

    @Test func aLogOfManySessionsVerifies() async throws {
        var generator = SeededGenerator(seed: 7)
        for session in 0..<6 {
            let log = try openLog(.small(session % 2 == 0 ? .normal : .strict))
            for _ in 0..<30 {
                let drafts = (0..<Int.random(in: 1...4, using: &generator)).map { _ in
                    RecordDraft.random(using: &generator)
                }
                try await log.append(drafts)
            }
            try await log.waitUntilDurable(LogPosition(log.next.rawValue - 1))
            #expect(try log.reader.digests().count == Int(log.frontier.size))
            log.close()
        }
        let report = try verify()
        #expect(report.findings.isEmpty)
        #expect(report.segments >= 6)
    }

    // MARK: Reading beside a writer

    @Test func anotherReaderSeesWhatIsDurable() async throws {
        let log = try openLog()
        for number in 0..<30 { try await log.appendDurably([.plain(number, count: 100_000)]) }
        let beside = try ReadOnlyLog(directory: directory.path)
        #expect(beside.hasWriter)
        #expect(beside.end == LogPosition(30))
        #expect(beside.id == log.id)
        #expect(try beside.reader.digests() == log.reader.digests())
        log.close()
    }

    @Test func aReaderNeedsNoWriter() async throws {
        func write() async throws -> [Digest] {
            let log = try openLog()
            defer { log.close() }
            for number in 0..<5 { try await log.appendDurably([.plain(number)]) }
            return try log.reader.digests()
        }
        let digests = try await write()
        let alone = try ReadOnlyLog(directory: directory.path)
        #expect(!alone.hasWriter)
        #expect(try alone.reader.digests() == digests)
    }

    @Test func whereThereIsNoLogNothingIsRead() {
        #expect(throws: LogError(.notFound, "")) { try ReadOnlyLog(directory: directory.path) }
    }

    @Test(arguments: [0, 1 << 19, (1 << 20) + 1, (1 << 30) + 4096])
    func segmentSizesThatCannotWorkAreRefused(_ size: Int) {
        var configuration = LogConfiguration()
        configuration.segmentBytes = size
        #expect(throws: LogError.self) { try openLog(configuration) }
    }

    private func root(_ digests: [Digest]) -> Digest {
        var frontier = MerkleFrontier()
        for digest in digests { frontier.append(entry: digest) }
        return frontier.root
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
