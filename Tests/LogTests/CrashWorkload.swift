import Glibc
import Log
import Synchronization
import TestSupport

/// One life of a log on a simulated disk, drawn from a seed: rounds of appends, reopenings, crashes and failed writes. At
/// its storage calls it takes crash images and hands them to a `CrashCheck`.
///
/// A seed gives the same life again: what gathers behind each flight is controlled through a `WriterGate`, and each round
/// begins when the threads of the log have come to rest. Random names and nonces are not part of the seed; they decide
/// nothing that the oracle looks at.
final class CrashWorkload: Sendable {
    private struct State {
        var check: CrashCheck
        var ledger = CrashLedger()
        /// What had been acknowledged when the log that is open now, or being opened, was opened.
        var acknowledged = LogPosition.zero
        var log: EventLog?
        /// The thread that is opening the log; what other threads do meanwhile is of no interest yet.
        var opener: pthread_t?
        var problem: String?
        /// Writer's calls until one fails, and with which error.
        var failure: (calls: Int, number: Int32)?
        var hasFailed = false
        var changesAfterFailure = 0
        /// The share of large records in this session: some sessions stay in one segment, others fill several.
        var large = 0.0
    }

    private let state: Mutex<State>
    private let gate = WriterGate()
    private let clock = ManualClock()
    private let options: CrashOptions
    private let statesWanted: Int

    init(seed: UInt64, states: Int) {
        let kinds: [CrashOptions.LostSector] = [.old, .garbage, .stale]
        options = CrashOptions(lostSectors: kinds[Int(seed % 3)])
        statesWanted = states
        state = Mutex(State(check: CrashCheck(seed: seed &+ 1 << 32, options)))
    }

    /// Lives until enough states were checked or one was wrong; returns what was wrong with it.
    static func run(seed: UInt64, states: Int) async throws -> String? {
        let workload = CrashWorkload(seed: seed, states: states)
        var generator = SeededGenerator(seed: seed)
        var storage = SimulatedStorage(directory: "/log")
        while !workload.isDone { storage = try await workload.session(on: storage, using: &generator) }
        return workload.state.withLock { $0.problem }
    }

    private var isDone: Bool { state.withLock { $0.problem != nil || $0.check.states >= statesWanted } }

    // MARK: Sessions

    /// Opens the log, works for some rounds, stops in one of several ways, and returns the disk the next session finds.
    private func session(
        on storage: SimulatedStorage,
        using generator: inout SeededGenerator
    ) async throws -> SimulatedStorage {
        storage.setHook { [self] call, storage in observe(call, storage) }
        var configuration = LogConfiguration.unhurried(generator.chance(0.3) ? .strict : .normal)
        let marksWhenIdle = generator.chance(0.2)
        if marksWhenIdle { configuration.idleMarkDelay = .milliseconds(1) }
        let large = ([0.05, 0.3, 0.6] as [Double]).randomElement(using: &generator) ?? 0
        state.withLock { state in
            state.opener = pthread_self()
            state.large = large
        }
        let log = try EventLog.open(directory: "/log", configuration: configuration, storage: storage, now: clock.now)
        adopt(log)
        defer { log.close() }
        let rounds = Int.random(in: 1...12, using: &generator)
        if generator.chance(0.35) { planFailure(rounds, using: &generator) }
        for _ in 0..<rounds where !isDone {
            settle(log, storage, isMarked: marksWhenIdle)
            if try await round(log, using: &generator) == false { break }
        }
        return finish(log, storage, using: &generator)
    }

    private func adopt(_ log: EventLog) {
        state.withLock { state in
            let recovered = log.durable
            if recovered < state.acknowledged || recovered >= state.ledger.next {
                state.problem = "reopening found \(recovered) records; \(state.acknowledged) were acknowledged"
            }
            state.ledger.cut(to: recovered)
            state.acknowledged = recovered
            state.log = log
            state.opener = nil
        }
    }

    /// Waits until the next segment is prepared and, where idle logs are marked, the mark is there.
    private func settle(_ log: EventLog, _ storage: SimulatedStorage, isMarked: Bool) {
        for _ in 0..<2000 where log.failure == nil {
            let isPrepared = storage.paths.contains { $0.hasSuffix(".tmp") }
            if isPrepared, storage.isSynced, !isMarked || hasMark(log, storage) { return }
            usleep(500)
        }
    }

    private func hasMark(_ log: EventLog, _ storage: SimulatedStorage) -> Bool {
        let sample = SampleLog(storage: storage, ledger: CrashLedger())
        let blocks = try? sample.blocks(in: sample.newest)
        return log.durable == log.recovery.recoveredThrough || blocks?.last?.frame == 0
    }

    private func planFailure(_ rounds: Int, using generator: inout SeededGenerator) {
        let calls = Int.random(in: 0..<(rounds * 3), using: &generator)
        state.withLock { $0.failure = (calls, generator.chance(0.7) ? EIO : ENOSPC) }
    }

    /// One flight with what gathers behind it. False when the log has failed.
    private func round(_ log: EventLog, using generator: inout SeededGenerator) async throws -> Bool {
        let gathers = generator.chance(0.7)
        if gathers { gate.hold() }
        // Without the gate a waiter may write its records itself; with it, the writer thread has to come to it.
        let flush = gathers || generator.chance(0.5) ? EventLog.Flush.byWriter : .byWaiter
        guard try append(log, patience: 5000, flush: flush, using: &generator) else {
            gate.forget()
            return false
        }
        if gathers {
            gate.waitUntilHeld()
            for _ in 0..<Int.random(in: 0...5, using: &generator) {
                if try append(log, patience: 20, using: &generator) == false { break }
            }
            gate.release()
        }
        return await isDurable(log)
    }

    private func isDurable(_ log: EventLog) async -> Bool {
        do throws(LogError) {
            try await log.waitUntilDurable(LogPosition(log.next.rawValue - 1))
            return true
        } catch {
            checkFailure(log, error)
            return false
        }
    }

    /// Appends one batch. False when the log has failed or has no room for now.
    private func append(
        _ log: EventLog,
        patience: Int,
        flush: EventLog.Flush = .byWriter,
        using generator: inout SeededGenerator
    ) throws -> Bool {
        let large = state.withLock { $0.large }
        let drafts = (0..<Int.random(in: 1...4, using: &generator)).map { _ in
            RecordDraft.random(using: &generator, largest: 150_000, large: large)
        }
        let before = state.withLock { state in
            defer { state.ledger.add(drafts) }
            return state.ledger.next
        }
        clock.time = state.withLock { $0.ledger.time }
        for _ in 0..<patience {
            do throws(LogError) {
                _ = try log.append(drafts, expecting: before, flush: flush)
                return true
            } catch {
                if error.code == .overloaded {
                    usleep(1000)
                    continue
                }
                checkFailure(log, error)
                break
            }
        }
        state.withLock { $0.ledger.cut(to: LogPosition(before.rawValue - 1)) }
        return false
    }

    /// G4: a failed write or sync is the end, for those who wait and for those who come.
    private func checkFailure(_ log: EventLog, _ error: LogError) {
        let expected = state.withLock { $0.hasFailed }
        if !expected || error.code != .indeterminate || log.failure?.code != .indeterminate {
            report("the log failed with \(error)")
        }
    }

    private func finish(
        _ log: EventLog,
        _ storage: SimulatedStorage,
        using generator: inout SeededGenerator
    ) -> SimulatedStorage {
        let failed = state.withLock { $0.hasFailed }
        let crashes = generator.chance(0.5)
        if failed || !crashes { log.close() }
        storage.setHook(nil)
        let acknowledged = log.durable
        let next = crashes ? storage.crash(using: &generator, options) : storage
        state.withLock { state in
            if state.changesAfterFailure > 0 { state.problem = "something was written or synced after a failure" }
            state.acknowledged = acknowledged
            state.log = nil
            state.failure = nil
            state.hasFailed = false
            state.changesAfterFailure = 0
        }
        return next
    }

    private func report(_ problem: String) { state.withLock { $0.problem = $0.problem ?? problem } }

    // MARK: The storage's calls

    private func observe(_ call: StorageCall, _ storage: SimulatedStorage) -> Int32? {
        gate.pass(call)
        guard call.changesSomething else { return nil }
        let isOpening = state.withLock { $0.opener.map { pthread_equal($0, pthread_self()) != 0 } ?? false }
        guard isOpening || WriterGate.isWriters(call) else { return nil }
        takeImages(of: storage, before: call, isOpening: isOpening)
        return isOpening ? nil : failure(of: call)
    }

    private func failure(of call: StorageCall) -> Int32? {
        state.withLock { state in
            if state.hasFailed { state.changesAfterFailure += 1 }
            guard let (calls, number) = state.failure else { return nil }
            state.failure = calls > 0 ? (calls - 1, number) : nil
            if calls == 0 { state.hasFailed = true }
            return calls == 0 ? number : nil
        }
    }

    /// Most images are taken just before a sync, when most is at stake.
    private func takeImages(of storage: SimulatedStorage, before call: StorageCall, isOpening: Bool) {
        state.withLock { state in
            let count: Int
            if call.kind == .sync, !isOpening { count = 4 } else { count = state.check.generator.chance(0.3) ? 1 : 0 }
            for _ in 0..<count where state.problem == nil && state.check.states < statesWanted {
                let acknowledged = state.log?.durable ?? state.acknowledged
                let image = storage.crash(using: &state.check.generator, options)
                let problem = state.check.problem(with: image, acknowledged: acknowledged, ledger: state.ledger)
                state.problem = problem.map { "\($0) (crashed before \(call))" }
            }
        }
    }
}
