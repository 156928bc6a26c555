import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// The background check and reads find damage and say so; what is whole stays readable.
@Suite(.timeLimit(.minutes(2))) struct ScrubTests {
    private func open(
        _ sample: SealingSample,
        _ interval: Duration?,
        _ alarms: Alarms
    ) throws(LogError) -> EventLog {
        var configuration = LogConfiguration.small()
        configuration.scrubInterval = interval
        return try EventLog.open(
            directory: "/log",
            configuration: configuration,
            storage: sample.storage,
            now: ManualClock(sample.ledger.time + 1_000_000).now,
            alarm: { alarms.add($0) }
        )
    }

    private final class Alarms: Sendable {
        private let errors = Mutex<[LogError]>([])
        func add(_ error: LogError) { errors.withLock { $0.append(error) } }
        var all: [LogError] { errors.withLock { $0 } }
    }

    @Test(arguments: [false, true])
    func aPassFindsDamageWhereverItIs(_ isSealed: Bool) async throws {
        let sample = try await SealingSample.make(seed: 31)
        if isSealed {
            let log = try sample.openSealing()
            try sample.waitUntilSealed()
            log.close()
        }
        let paths = sample.storage.paths.filter { $0.hasSuffix(isSealed ? ".sealed" : ".wal") }
        let sizes = try paths.map { try sample.storage.bytes(of: $0).count }
        // Whatever owns nothing but its header holds no record that could be damaged.
        for (path, _) in zip(paths, sizes).filter({ $0.1 > 3 * 4096 }).dropLast(isSealed ? 0 : 1) {
            let damaged = sample.copy()
            damaged.storage.damage(path, at: 4096 + 64 + 96 + 80) { $0[0] ^= 4 }
            let alarms = Alarms()
            let log = try open(damaged, .milliseconds(20), alarms)
            defer { log.close() }
            for _ in 0..<4000 where alarms.all.isEmpty { usleep(500) }
            let name = path.split(separator: "/").last ?? ""
            #expect(alarms.all.first?.code == .corrupt)
            #expect(alarms.all.first?.message.contains(name) == true, "\(path)")
            #expect(alarms.all.allSatisfy { $0.message.contains(name) })
            #expect(log.failure == nil)
        }
    }

    @Test func aWholeLogRaisesNoAlarmWhileItGrowsAndIsSealed() async throws {
        let sample = try await SealingSample.make(seed: 32)
        var configuration = LogConfiguration.small()
        configuration.sealing = true
        configuration.scrubInterval = .milliseconds(2)
        let alarms = Alarms()
        let log = try EventLog.open(
            directory: "/log",
            configuration: configuration,
            storage: sample.storage,
            now: ManualClock(sample.ledger.time + 1_000_000).now,
            alarm: { alarms.add($0) }
        )
        for number in 0..<60 { try await log.appendDurably([.plain(number, count: 60_000)]) }
        try sample.waitUntilSealed()
        log.close()
        #expect(alarms.all.isEmpty, "\(alarms.all)")
    }

    /// What was the newest segment when a wait began has been followed by others and sealed when it ends.
    @Test func aLogThatMovesOnDuringTheWaitRaisesNoAlarm() async throws {
        let storage = SimulatedStorage(directory: "/log")
        var configuration = LogConfiguration.small()
        configuration.sealing = true
        configuration.scrubInterval = .milliseconds(600)
        let alarms = Alarms()
        let log = try EventLog.open(
            directory: "/log",
            configuration: configuration,
            storage: storage,
            alarm: { alarms.add($0) }
        )
        for number in 0..<60 { try await log.appendDurably([.plain(number, count: 60_000)]) }
        try SealingSample(storage: storage, ledger: CrashLedger()).waitUntilSealed()
        try await Task.sleep(for: .seconds(2))
        log.close()
        #expect(alarms.all.isEmpty, "\(alarms.all)")
    }

    @Test func aReadThatMeetsDamageRaisesAnAlarm() async throws {
        let sample = try await SealingSample.make(seed: 33)
        let path = try #require(try sample.storage.segments(in: "/log").first)
        sample.storage.damage(path, at: 4096 + 64 + 96 + 80) { $0[0] ^= 4 }
        let alarms = Alarms()
        let log = try open(sample, nil, alarms)
        defer { log.close() }
        #expect(throws: LogError(.corrupt, "")) { try log.reader.record(at: LogPosition(1)) }
        #expect(alarms.all.count == 1)
        #expect(throws: LogError(.corrupt, "")) { try log.reader.digests() }
        #expect(alarms.all.count == 2)
        let last = log.durable
        #expect(try log.reader.record(at: last).withView { $0.position } == last)
        #expect(throws: LogError(.notFound, "")) { try log.reader.record(at: last.next) }
        #expect(alarms.all.count == 2)
    }
}
