import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// Guarantees G1, G2 and G4 on a simulated disk.
///
/// `WAYBILL_CRASH_STATES` sets how many states are checked, `WAYBILL_CRASH_SEED` repeats one seed that a failure named.
@Suite struct CrashTests {
    private static let statesPerSeed = 100

    private static func number(_ name: String) -> UInt64? {
        getenv(name).flatMap { UInt64(String(cString: $0)) }
    }

    static var seeds: [UInt64] {
        if let seed = number("WAYBILL_CRASH_SEED") { return [seed] }
        return Array(0..<max(1, (number("WAYBILL_CRASH_STATES") ?? 10_000) / UInt64(statesPerSeed)))
    }

    @Test(arguments: seeds)
    func everyCrashLeavesAPrefixWithEverythingAcknowledged(_ seed: UInt64) async throws {
        let problem = try await CrashWorkload.run(seed: seed, states: Self.statesPerSeed)
        #expect(problem == nil, "WAYBILL_CRASH_SEED=\(seed)")
    }

    /// Making the data directory is part of making the log, so it must be as durable as the first record.
    @Test func aLogInANewDirectorySurvives() async throws {
        let storage = SimulatedStorage()
        let log = try EventLog.open(directory: "/log", configuration: .unhurried(), storage: storage)
        try await log.appendDurably([.plain(1)])
        for seed in UInt64(0)..<50 {
            var generator = SeededGenerator(seed: seed)
            let image = storage.crash(using: &generator)
            let again = try EventLog.open(directory: "/log", configuration: .unhurried(), storage: image)
            #expect(again.durable == LogPosition(1), "seed \(seed)")
            again.close()
        }
        log.close()
    }

    /// The same with appenders that race each other, where only the crash's own choices follow from the seed.
    @Test(arguments: UInt64(0)..<10)
    func concurrentAppendersLoseNothing(_ seed: UInt64) async throws {
        let storage = SimulatedStorage(directory: "/log")
        let clock = ManualClock()
        let log = try EventLog.open(directory: "/log", configuration: .small(), storage: storage, now: clock.now)
        defer { log.close() }
        let crowd = Crowd(log, clock, seed: seed)
        storage.setHook { call, storage in crowd.observe(call, storage) }
        defer { storage.setHook(nil) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in UInt64(0)..<8 { group.addTask { try await crowd.append(task: seed * 8 + task, count: 25) } }
            try await group.waitForAll()
        }
        #expect(crowd.problem == nil, "seed \(seed)")
        #expect(try log.reader.digests() == crowd.ledger.digests)
    }
}

/// Many tasks that append to one log, and crash images of the disk under it.
private final class Crowd: Sendable {
    private struct State {
        var check: CrashCheck
        var problem: String?
    }

    private let log: EventLog
    private let clock: ManualClock
    private let ledgerLock = Mutex(CrashLedger())
    private let state: Mutex<State>

    init(_ log: EventLog, _ clock: ManualClock, seed: UInt64) {
        self.log = log
        self.clock = clock
        state = Mutex(State(check: CrashCheck(seed: seed, CrashOptions(lostSectors: .garbage))))
    }

    var ledger: CrashLedger { ledgerLock.withLock { $0 } }
    var problem: String? { state.withLock { $0.problem } }

    func append(task: UInt64, count: Int) async throws {
        var generator = SeededGenerator(seed: task)
        for _ in 0..<count {
            let draft = RecordDraft.random(using: &generator, largest: 60_000)
            var position = try appendInTurn(draft)
            while position == nil {
                try await Task.sleep(for: .milliseconds(1))
                position = try appendInTurn(draft)
            }
            if let position { try await log.waitUntilDurable(position) }
        }
    }

    /// Nil when the log is overloaded.
    private func appendInTurn(_ draft: RecordDraft) throws -> LogPosition? {
        try ledgerLock.withLock { ledger in
            var next = ledger
            next.add([draft])
            clock.time = next.time
            do throws(LogError) {
                let position = try log.append([draft], expecting: ledger.next)
                ledger = next
                return position
            } catch {
                guard error.code == .overloaded else { throw error }
                return nil
            }
        }
    }

    func observe(_ call: StorageCall, _ storage: SimulatedStorage) -> Int32? {
        guard call.changesSomething, WriterGate.isWriters(call) else { return nil }
        state.withLock { state in
            guard state.problem == nil, state.check.generator.chance(call.kind == .sync ? 0.3 : 0.1) else { return }
            let acknowledged = log.durable
            let image = storage.crash(using: &state.check.generator, state.check.options)
            // Read after the image was taken, so that it names everything the image can hold.
            state.problem = state.check.problem(with: image, acknowledged: acknowledged, ledger: ledger)
        }
        return nil
    }
}
