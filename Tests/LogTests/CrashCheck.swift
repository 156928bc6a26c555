import Glibc
import Log
import Synchronization
import TestSupport

/// What was handed to a log: the digest that each position must have, computed independently of the log.
struct CrashLedger: Sendable {
    private(set) var digests: [Digest] = []
    /// The clock's time at the last append.
    private(set) var time: UInt64 = 1_000_000_000

    var next: LogPosition { LogPosition(UInt64(digests.count) + 1) }

    /// Notes drafts that are about to be appended while the clock shows `time`.
    mutating func add(_ drafts: [RecordDraft]) {
        time += 1_000_000
        for (index, draft) in drafts.enumerated() {
            digests.append(ExpectedRecord.digest(draft, position: next, time: time + UInt64(index)))
        }
    }

    /// Notes a record that somebody else made.
    mutating func note(_ digest: Digest) { digests.append(digest) }

    mutating func cut(to last: LogPosition) { digests.removeLast(max(0, digests.count - Int(last.rawValue))) }

    func root(through last: LogPosition) -> Digest {
        var frontier = MerkleFrontier()
        for digest in digests.prefix(Int(last.rawValue)) { frontier.append(entry: digest) }
        return frontier.root
    }
}

/// The oracle: opens what a crash left, and says what is wrong with it.
///
/// It must open; hold every acknowledged record; hold nothing but a prefix of what was appended, byte for byte; take new
/// records; and verify. While it does all that, the machine may crash again, and the same must hold for what that leaves.
struct CrashCheck {
    let options: CrashOptions
    var generator: SeededGenerator
    private let crashesAgain: Double
    /// States checked so far, those after second crashes included.
    private(set) var states = 0

    /// - Parameter crashesAgain: the chance that the machine crashes again while the check is under way.
    init(seed: UInt64, _ options: CrashOptions, crashesAgain: Double = 0.4) {
        generator = SeededGenerator(seed: seed)
        self.options = options
        self.crashesAgain = crashesAgain
    }

    /// Returns what is wrong, or nil.
    mutating func problem(
        with image: SimulatedStorage,
        acknowledged: LogPosition,
        ledger: CrashLedger,
        crashes: Int = 1
    ) -> String? {
        states += 1
        let again = crashes < 3 && generator.chance(crashesAgain) ? SecondCrash(using: &generator, options) : nil
        image.setHook(again?.hook)
        var later = ledger
        do {
            let clock = ManualClock(ledger.time + 1_000_000)
            var configuration = LogConfiguration.unhurried()
            configuration.sealing = generator.chance(0.5)
            let log = try EventLog.open(
                directory: "/log",
                configuration: configuration,
                storage: image,
                now: clock.now
            )
            defer { log.close() }
            again?.serve()
            let recovered = log.durable
            if let problem = try contradiction(log, acknowledged, ledger) { return describe(problem, crashes) }
            later.cut(to: recovered)
            try append(to: log, clock, &later)
            log.close()
            if let problem = try verify(image, later) { return describe(problem, crashes) }
            guard let again, let (second, served) = again.image else { return nil }
            return problem(
                with: second,
                acknowledged: served ? recovered : acknowledged,
                ledger: served ? later : ledger,
                crashes: crashes + 1
            )
        } catch {
            return describe("\(error)", crashes)
        }
    }

    private func contradiction(_ log: EventLog, _ acknowledged: LogPosition, _ ledger: CrashLedger) throws -> String? {
        let recovered = log.durable
        if recovered < acknowledged { return "holds \(recovered) of \(acknowledged) acknowledged records" }
        if recovered >= ledger.next { return "holds \(recovered) records, more than were appended" }
        if log.recovery.recoveredThrough != recovered { return "reports \(log.recovery.recoveredThrough)" }
        var position = 0
        var wrong: Int?
        try log.reader.scan(from: LogPosition(1)) { record in
            if record.storedDigest != ledger.digests[position] { wrong = wrong ?? position + 1 }
            position += 1
        }
        if let wrong { return "position \(wrong) is not what was appended" }
        if position != Int(recovered.rawValue) { return "a scan finds \(position) of \(recovered) records" }
        if log.frontier.root != ledger.root(through: recovered) { return "the tree's root is wrong" }
        return nil
    }

    private mutating func append(to log: EventLog, _ clock: ManualClock, _ ledger: inout CrashLedger) throws {
        for _ in 0..<Int.random(in: 0...2, using: &generator) {
            let drafts = [RecordDraft.random(using: &generator, largest: 5000)]
            ledger.add(drafts)
            clock.time = ledger.time
            try log.appendDurablyBlocking(drafts)
        }
    }

    private func verify(_ image: SimulatedStorage, _ ledger: CrashLedger) throws -> String? {
        let report = try LogVerifier(directory: "/log", storage: image).run()
        if let finding = report.findings.first { return "verify: \(finding)" }
        if report.last.next != ledger.next { return "verify finds \(report.last) of \(ledger.digests.count) records" }
        if report.root != ledger.root(through: report.last) { return "verify finds another root" }
        if report.unjudgedTailBytes != 0 { return "verify finds an unjudged tail" }
        return nil
    }

    private func describe(_ problem: String, _ crashes: Int) -> String { "after crash \(crashes): \(problem)" }
}

/// Crashes the machine once more at some call while it recovers from a crash or has just gone on.
private final class SecondCrash: Sendable {
    private struct State {
        var callsLeft: Int
        var isServing = false
        var generator: SeededGenerator
        var image: (SimulatedStorage, Bool)?
    }

    private let state: Mutex<State>
    private let options: CrashOptions
    private let opener = pthread_self()

    init(using generator: inout SeededGenerator, _ options: CrashOptions) {
        // Opening makes about a dozen changing calls; with what follows, it is rarely more than twenty.
        let calls = Int.random(in: 0..<20, using: &generator)
        state = Mutex(State(callsLeft: calls, generator: SeededGenerator(seed: generator.next())))
        self.options = options
    }

    /// The log has opened: what it holds counts as acknowledged from here on.
    func serve() { state.withLock { $0.isServing = true } }

    /// What the second crash left, and whether the log was already serving.
    var image: (SimulatedStorage, Bool)? { state.withLock { $0.image } }

    var hook: SimulatedStorage.Hook {
        { [self] call, storage in
            state.withLock { state in
                // The thread that prepares segments comes and goes as it likes; what it writes has no meaning yet.
                let isOpening = !state.isServing && pthread_equal(opener, pthread_self()) != 0
                guard call.changesSomething, isOpening || WriterGate.isWriters(call) else { return }
                if state.callsLeft == 0 {
                    state.image = (storage.crash(using: &state.generator, options), state.isServing)
                }
                state.callsLeft -= 1
            }
            return nil
        }
    }
}

extension EventLog {
    /// Appends at the log's end from a thread and waits until the records are durable.
    func appendDurablyBlocking(_ drafts: [RecordDraft]) throws {
        for _ in 0..<5000 {
            do throws(LogError) {
                let last = try append(drafts, expecting: next)
                while durable < last && failure == nil { usleep(20) }
                return
            } catch {
                guard error.code == .overloaded else { throw error }
                usleep(1000)
            }
        }
        throw LogError(.overloaded, "the next segment did not come")
    }
}
