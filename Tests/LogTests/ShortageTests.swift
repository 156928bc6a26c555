import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// A call that fails before anything was written, for want of a descriptor or a permission, stops nothing: it is made again.
@Suite(.timeLimit(.minutes(30))) struct ShortageTests {
    private let storage = SimulatedStorage(directory: "/log")

    private func open(_ configuration: LogConfiguration = .small()) throws -> EventLog {
        try EventLog.open(directory: "/log", configuration: configuration, storage: storage)
    }

    /// Waits until the next segment is made.
    private func settle() async throws {
        for _ in 0..<2000 where !(storage.isSynced && storage.paths.contains { $0.hasSuffix(".tmp") }) {
            try await Task.sleep(for: .milliseconds(1))
        }
        try await Task.sleep(for: .milliseconds(20))
    }

    @Test(arguments: [EMFILE, ENFILE, ENOMEM, EACCES])
    func aLogWithoutDescriptorsGoesOnWhenThereAreSome(_ number: Int32) async throws {
        let log = try open(.unhurried())
        defer { log.close() }
        try await log.appendDurably([.plain(0)])
        try await settle()
        storage.setHook { call, _ in [.open, .create, .list, .map].contains(call.kind) ? number : nil }
        var count = 1
        // The segment that is ready is begun without a new descriptor; behind it none can be made.
        while count < 30 {
            do throws(LogError) {
                try await log.waitUntilDurable(try log.append([.plain(count, count: 200_000)], expecting: log.next))
            } catch {
                #expect(error.code == .overloaded)
                break
            }
            count += 1
        }
        #expect((6..<12).contains(count))
        #expect(log.failure == nil)
        // Small ones still have room, and edges are refused once that is needed for outcomes.
        try await log.appendDurably([.plain(99)])
        storage.setHook(nil)
        try await log.appendDurably([.plain(100, count: 200_000)])
        try log.admitEdge()
        log.close()
        let report = try LogVerifier(directory: "/log", storage: storage).run()
        #expect(report.findings.isEmpty)
        #expect(report.records == UInt64(count) + 2)
    }

    @Test func aSegmentThatCannotHaveItsNameNowHasItLater() async throws {
        let log = try open()
        defer { log.close() }
        for number in 0..<3 { try await log.appendDurably([.plain(number, count: 270_000)]) }
        try await settle()
        let isDenied = Mutex(true)
        storage.setHook { call, _ in call.kind == .rename && isDenied.withLock { $0 } ? EACCES : nil }
        let position = try await log.append([.plain(10, count: 270_000)])
        let waiter = Task { try await log.waitUntilDurable(position) }
        for _ in 0..<2000 where (try? log.admitEdge()) != nil { try await Task.sleep(for: .milliseconds(1)) }
        #expect(throws: LogError(.overloaded, "")) { try log.admitEdge() }
        // What must not be lost is taken, and waits.
        let outcome = try log.append([.plain(11)], expecting: log.next)
        #expect(log.failure == nil)
        #expect(log.durable < position)
        isDenied.withLock { $0 = false }
        try await waiter.value
        try await log.waitUntilDurable(outcome)
        try log.admitEdge()
        log.close()
        #expect(try LogVerifier(directory: "/log", storage: storage).run().findings.isEmpty)
    }

    @Test func aLogThatCannotGoOnCanBeClosed() async throws {
        let log = try open()
        for number in 0..<3 { try await log.appendDurably([.plain(number, count: 270_000)]) }
        try await settle()
        storage.setHook { call, _ in call.kind == .rename ? EACCES : nil }
        let position = try await log.append([.plain(10, count: 270_000)])
        log.close()
        await #expect(throws: LogError(.indeterminate, "")) { try await log.waitUntilDurable(position) }
    }

    /// What two writers in one directory leave, as it was possible before the directory itself was locked.
    @Test(arguments: [LogConfiguration.small(), .unhurried()])
    func twoHistoriesInOneDirectoryAreFound(_ configuration: LogConfiguration) async throws {
        let first = try EventLog.open(directory: "/log", configuration: configuration, storage: storage)
        for number in 0..<3 { try await first.appendDurably([.plain(number)]) }
        let second = try EventLog.open(directory: "/log", configuration: configuration, storage: storage)
        try await second.appendDurably([.plain(100)])
        for number in 3..<8 { try await first.appendDurably([.plain(number)]) }
        first.close()
        second.close()
        let report = try LogVerifier(directory: "/log", storage: storage).run()
        let finding = try #require(report.findings.first { $0.problem.hasPrefix("two histories") })
        #expect(finding.segment == 1)
        #expect(finding.positions?.upperBound == 8)
        #expect(finding.positions.map { $0.lowerBound <= 4 } == true)
    }

    /// The segment stays as it is: sealed, it would lack what is nowhere else.
    @Test func aSecondHistoryIsNotSealedAway() async throws {
        let first = try open()
        for number in 0..<3 { try await first.appendDurably([.plain(number)]) }
        let second = try open()
        for number in 3..<8 { try await first.appendDurably([.plain(number)]) }
        first.close()
        second.close()
        let alarms = Mutex<[LogError]>([])
        var configuration = LogConfiguration.small()
        configuration.sealing = true
        let third = try EventLog.open(
            directory: "/log",
            configuration: configuration,
            storage: storage,
            alarm: { error in alarms.withLock { $0.append(error) } }
        )
        for _ in 0..<2000 where alarms.withLock({ $0.isEmpty }) { try await Task.sleep(for: .milliseconds(1)) }
        third.close()
        #expect(alarms.withLock { $0.first?.code } == .corrupt)
        #expect(storage.paths.contains("/log/00000000000000000001.wal"))
    }

    @Test func oneWriterAfterAnotherLeavesOneHistory() async throws {
        for round in 0..<3 {
            let log = try open()
            for number in 0..<5 { try await log.appendDurably([.plain(10 * round + number, count: 270_000)]) }
            log.close()
        }
        #expect(try LogVerifier(directory: "/log", storage: storage).run().findings.isEmpty)
    }
}
