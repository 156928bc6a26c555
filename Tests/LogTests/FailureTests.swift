import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// Guarantee G4: after a failed write or sync the log says that it does not know, stops for good, and never syncs again.
@Suite(.timeLimit(.minutes(30))) struct FailureTests {
    /// The call that fails, as the writer thread makes it.
    enum Call: CaseIterable, Sendable {
        case groupWrite
        case groupSync
        case headerWrite
        case headerSync
        case rename
        case directorySync
        case markWrite
        case markSync

        /// Whether the failure hits records that somebody waits for.
        var hasWaiters: Bool { self != .markWrite && self != .markSync }
    }

    @Test(arguments: Call.allCases, [EIO, ENOSPC])
    func aFailedCallIsTheEndOfAppending(_ call: Call, _ number: Int32) async throws {
        let disk = FailingDisk(call, number)
        let log = try disk.open()
        defer { log.close() }
        try await fill(log, disk)
        let acknowledged = log.durable
        try await disk.settle()
        disk.arm()
        let waiting = try gather(log, disk)
        let waiters = waiting.map { position in Task { await wait(for: position, in: log) } }
        let follower = Task { await follow(log, after: acknowledged) }
        disk.gate.release()
        for _ in 0..<200 where log.failure == nil { try await Task.sleep(for: .milliseconds(5)) }
        try #require(log.failure == LogError(.indeterminate, ""))
        if call.hasWaiters {
            for waiter in waiters { #expect(await waiter.value?.code == .indeterminate) }
            #expect(await follower.value?.code == .indeterminate)
        }
        #expect(throws: LogError(.indeterminate, "")) { try log.append([.plain(9)], expecting: log.next) }
        #expect(throws: LogError(.indeterminate, "")) { try log.admitEdge() }
        await #expect(throws: LogError(.indeterminate, "")) { try await log.waitForMore(after: log.durable) }
        if call.hasWaiters { #expect(log.durable == acknowledged) }
        log.close()
        #expect(disk.callsAfterFailure.isEmpty)
        expectRecovery(disk, log.durable)
    }

    /// For calls of a roll, fills the segment until the next large record opens another.
    private func fill(_ log: EventLog, _ disk: FailingDisk) async throws {
        for number in 0..<3 { try await log.appendDurably(disk.note([.plain(number, count: 270_000)])) }
    }

    /// Two flights' worth of records; the first waits before its first write.
    private func gather(_ log: EventLog, _ disk: FailingDisk) throws -> [LogPosition] {
        disk.gate.hold()
        let first = try log.append(disk.note([.plain(10, count: 270_000)]), expecting: log.next)
        try #require(disk.gate.waitUntilHeld())
        let second = try log.append(disk.note([.plain(11)]), expecting: log.next)
        return [first, second]
    }

    private func wait(for position: LogPosition, in log: EventLog) async -> LogError? {
        do throws(LogError) {
            try await log.waitUntilDurable(position)
            return nil
        } catch {
            return error
        }
    }

    private func follow(_ log: EventLog, after position: LogPosition) async -> LogError? {
        do throws(LogError) {
            _ = try await log.waitForMore(after: position)
            return nil
        } catch {
            return error
        }
    }

    /// Restarting the process, restarting the machine, and restarting the machine after the process must all be safe.
    private func expectRecovery(_ disk: FailingDisk, _ acknowledged: LogPosition) {
        for seed in UInt64(0)..<10 {
            var check = CrashCheck(seed: seed, CrashOptions(lostSectors: .garbage))
            let image = disk.storage.crash(using: &check.generator, check.options)
            #expect(check.problem(with: image, acknowledged: acknowledged, ledger: disk.ledger) == nil, "seed \(seed)")
        }
        var check = CrashCheck(seed: 99, CrashOptions(), crashesAgain: 1)
        #expect(check.problem(with: disk.storage, acknowledged: acknowledged, ledger: disk.ledger) == nil)
    }

    // MARK: Every call once

    /// Runs a small life of a log, then again and again with another call failing each time.
    @Test(arguments: [EIO, ENOSPC])
    func whicheverCallFailsNothingAcknowledgedIsLost(_ number: Int32) throws {
        let calls = try SmallLife.run(failing: nil, number).calls
        #expect(calls > 60)
        for call in 1...calls {
            let life = try SmallLife.run(failing: call, number)
            let description = "call \(call): \(life.failed ?? "was not made")"
            if let problem = life.problem { Issue.record("\(description): \(problem)") }
            var check = CrashCheck(seed: UInt64(call), CrashOptions(lostSectors: .garbage), crashesAgain: 0.5)
            let image = life.storage.crash(using: &check.generator, check.options)
            #expect(
                check.problem(with: image, acknowledged: life.durable, ledger: life.ledger) == nil,
                "\(description)"
            )
            #expect(
                check.problem(with: life.storage, acknowledged: life.durable, ledger: life.ledger) == nil,
                "\(description), process restarted"
            )
        }
    }
}

/// A simulated disk on which one chosen call of the writer fails.
private final class FailingDisk: Sendable {
    let storage = SimulatedStorage(directory: "/log")
    let gate = WriterGate()
    private let call: FailureTests.Call
    private let number: Int32
    private let clock = ManualClock()

    private struct State {
        var ledger = CrashLedger()
        var isArmed = false
        var hasFailed = false
        var previous: StorageCall?
        var after: [String] = []
    }

    private let state = Mutex(State())

    init(_ call: FailureTests.Call, _ number: Int32) {
        self.call = call
        self.number = number
    }

    var ledger: CrashLedger { state.withLock { $0.ledger } }

    /// Changing calls that the writer made after the one that failed.
    var callsAfterFailure: [String] { state.withLock { $0.after } }

    func arm() { state.withLock { $0.isArmed = true } }

    /// Waits until the next segment is prepared.
    func settle() async throws {
        for _ in 0..<2000 where !(storage.isSynced && storage.paths.contains { $0.hasSuffix(".tmp") }) {
            try await Task.sleep(for: .milliseconds(1))
        }
        // The log learns of the file just after it was synced.
        try await Task.sleep(for: .milliseconds(20))
    }

    func note(_ drafts: [RecordDraft]) -> [RecordDraft] {
        clock.time = state.withLock { state in
            state.ledger.add(drafts)
            return state.ledger.time
        }
        return drafts
    }

    func open() throws -> EventLog {
        var configuration = LogConfiguration.small(.normal)
        configuration.idleMarkDelay = call.hasWaiters ? .seconds(3600) : .milliseconds(1)
        let log = try EventLog.open(directory: "/log", configuration: configuration, storage: storage, now: clock.now)
        storage.setHook { [self] call, _ in
            gate.pass(call)
            return state.withLock { observe(call, &$0) }
        }
        return log
    }

    private func observe(_ call: StorageCall, _ state: inout State) -> Int32? {
        guard call.changesSomething, WriterGate.isWriters(call) || isHeaderSync(call, state) else { return nil }
        defer { state.previous = call }
        if state.hasFailed {
            state.after.append("\(call)")
            return nil
        }
        guard state.isArmed, fails(call, state) else { return nil }
        state.hasFailed = true
        return number
    }

    /// The one sync of an unnamed file that the writer makes follows its write of the header.
    private func isHeaderSync(_ call: StorageCall, _ state: State) -> Bool {
        call.kind == .sync && call.path == state.previous?.path && state.previous?.count == 4096
    }

    private func fails(_ call: StorageCall, _ state: State) -> Bool {
        let isNamed = call.path.hasSuffix(".wal")
        switch self.call {
        case .groupWrite: return call.kind == .write && isNamed && call.count > 4096
        case .groupSync: return call.kind == .sync && isNamed
        case .headerWrite: return call.kind == .write && !isNamed
        case .headerSync: return call.kind == .sync && !isNamed
        case .rename: return call.kind == .rename
        case .directorySync: return call.kind == .syncDirectory
        // The second record's group is larger than a block, so a block of one page with nothing after it is a mark.
        case .markWrite: return call.kind == .write && isNamed && call.count == 4096 && state.previous?.kind == .sync
        case .markSync:
            return call.kind == .sync && isNamed && state.previous?.kind == .write && state.previous?.count == 4096
        }
    }
}

/// A log's life from its first opening over a roll to a second opening, in which one call may fail.
private struct SmallLife {
    let storage = SimulatedStorage(directory: "/log")
    var ledger = CrashLedger()
    var durable = LogPosition.zero
    var calls = 0
    var failed: String?
    var problem: String?

    static func run(failing wanted: Int?, _ number: Int32) throws -> SmallLife {
        var life = SmallLife()
        let counter = Mutex<(calls: Int, failed: String?)>((0, nil))
        life.storage.setHook { call, _ in
            counter.withLock { state in
                state.calls += 1
                guard state.calls == wanted else { return nil }
                state.failed = "\(call)"
                return number
            }
        }
        for session in 0..<3 { life.session(session) }
        life.storage.setHook(nil)
        (life.calls, life.failed) = counter.withLock { $0 }
        return life
    }

    private mutating func session(_ session: Int) {
        let clock = ManualClock()
        do throws(LogError) {
            let log = try EventLog.open(
                directory: "/log",
                configuration: .small(.strict),
                storage: storage,
                now: clock.now
            )
            defer {
                log.close()
                durable = max(durable, log.durable)
            }
            if log.durable < durable { problem = "opened with \(log.durable) of \(durable) acknowledged records" }
            ledger.cut(to: log.durable)
            for number in 0..<4 { try append(.plain(session * 10 + number, count: 200_000), to: log, clock) }
        } catch {
            // Refusing is right as long as it is not taken for damage.
            if error.code == .corrupt { problem = "\(error)" }
        }
    }

    private mutating func append(_ draft: RecordDraft, to log: EventLog, _ clock: ManualClock) throws(LogError) {
        ledger.add([draft])
        clock.time = ledger.time
        for _ in 0..<50 {
            do throws(LogError) {
                let last = try log.append([draft], expecting: log.next)
                for _ in 0..<20_000 where log.durable < last && log.failure == nil { usleep(50) }
                durable = log.durable
                return
            } catch {
                guard error.code == .overloaded else {
                    ledger.cut(to: LogPosition(log.next.rawValue - 1))
                    throw error
                }
                usleep(1000)
            }
        }
        ledger.cut(to: LogPosition(log.next.rawValue - 1))
    }
}
