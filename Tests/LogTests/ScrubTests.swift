import Log
import Synchronization
import TestSupport
import Testing

/// The background check and reads find damage and say so; what is whole stays readable.
@Suite(.timeLimit(.minutes(30))) struct ScrubTests {
    private func open(
        _ sample: SealingSample,
        _ interval: Duration?,
        _ alarms: Alarms,
        after: UInt64 = 1_000_000
    ) throws(LogError) -> EventLog {
        var configuration = LogConfiguration.small()
        configuration.scrubInterval = interval
        return try EventLog.open(
            directory: "/log",
            configuration: configuration,
            storage: sample.storage,
            now: ManualClock(sample.ledger.time + after).now,
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
            // Else a copy may hold an original again, which then counts, and not its damaged sealed file.
            try sample.storage.syncDirectory("/log")
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
            try await waitUntil { !alarms.all.isEmpty }
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

    // MARK: Restarts

    private static let hour: UInt64 = 3_600_000_000_000

    /// The number of the segment that is next, as file `scrub` has it.
    private func next(_ sample: SealingSample) -> UInt8 {
        guard let bytes = try? sample.storage.bytes(of: "/log/scrub"), bytes.count == 32 else { return 0 }
        return bytes[16]
    }

    private func waitUntil(_ condition: () -> Bool) async throws {
        for _ in 0..<2000 where !condition() { try await Task.sleep(for: .milliseconds(5)) }
    }

    /// A process that never lives as long as the wait for one segment reads the whole log all the same.
    @Test func aLogThatRestartsOftenIsReadAsAWhole() async throws {
        let sample = try await SealingSample.make(seed: 34)
        let paths = try sample.storage.segments(in: "/log")
        let damaged = try #require(
            paths.dropLast().last { sample.storage.contents[$0].map { $0.count > 3 * 4096 } == true }
        )
        sample.storage.damage(damaged, at: 4096 + 64 + 96 + 80) { $0[0] ^= 4 }
        var found: [Int] = []
        for session in 1...paths.count {
            let alarms = Alarms()
            let log = try open(sample, .seconds(3600), alarms, after: UInt64(session) * Self.hour)
            try await waitUntil { next(sample) == UInt8(session + 1) }
            #expect(next(sample) == UInt8(session + 1))
            log.close()
            if !alarms.all.isEmpty { found.append(session) }
        }
        #expect(found == [(paths.firstIndex(of: damaged) ?? -1) + 1])
    }

    /// The wait goes on where the process before stopped, neither anew nor not at all.
    @Test func aRestartDoesNotCutTheWait() async throws {
        let sample = try await SealingSample.make(seed: 35)
        try open(sample, .seconds(3600), Alarms()).close()
        let log = try open(sample, .seconds(3600), Alarms())
        try await waitUntil { next(sample) == 2 }
        log.close()
        // Also when the clock was set back.
        for after in [2_000_000, 0] {
            let again = try open(sample, .seconds(3600), Alarms(), after: UInt64(after))
            try await Task.sleep(for: .milliseconds(100))
            #expect(next(sample) == 2)
            again.close()
        }
    }

    @Test(arguments: ["none", "empty", "short", "long", "garbage", "another segment"])
    func withoutAPlaceThePassBeginsAnew(_ kind: String) async throws {
        let sample = try await SealingSample.make(seed: 36)
        let log = try open(sample, .seconds(3600), Alarms())
        try await waitUntil { next(sample) == 2 }
        log.close()
        let place = try sample.storage.bytes(of: "/log/scrub")
        try sample.storage.remove("/log/scrub")
        let bytes: [UInt8]? =
            switch kind {
            case "none": nil
            case "empty": []
            case "short": Array(place.dropLast())
            case "long": place + [0]
            case "garbage": [UInt8](repeating: 0xFF, count: 32)
            default: place.enumerated().map { $0 == 16 ? 3 : $1 }
            }
        if let bytes { try sample.storage.open("/log/scrub", .create).writeAll(bytes, at: 0) }
        sample.storage.damage("/log/00000000000000000001.wal", at: 4096 + 64 + 96 + 80) { $0[0] ^= 4 }
        let alarms = Alarms()
        let again = try open(sample, .seconds(3600), alarms)
        try await waitUntil { !alarms.all.isEmpty }
        #expect(alarms.all.first?.message.contains("00000000000000000001.wal") == true)
        again.close()
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
