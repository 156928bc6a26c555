import Glibc
import Synchronization

/// The append-only log: one writer, many readers, records in a total order.
///
/// - Durable: `append` accepts records and gives them positions at once; they are durable when `waitUntilDurable` returns,
///   which is after an fdatasync that covers them has succeeded. Nobody outside may learn of a record before that.
/// - Ordered: positions count from 1 without gaps, in the order in which `append` and `reserve` were called.
/// - Visible: readers see exactly the durable records.
/// - After any failed write or sync the log appends no more: who waited gets `indeterminate`, and only a restart, which
///   reads what is really on disk, can go on.
public final class EventLog: Sendable {
    public let id: LogID
    /// What opening found and did.
    package let recovery: RecoveryReport
    private let configuration: LogConfiguration
    private let now: @Sendable () -> UInt64
    private let state: Mutex<AppendState>
    /// Held only by the flight that `state` let take off.
    private let writer: Mutex<SegmentWriter>
    private let writerBell = Doorbell()
    private let preparerBell = Doorbell()
    private let preparer: SegmentPreparer
    private let alarm: @Sendable (LogError) -> Void
    private let sealer = Mutex<BackgroundSealer?>(nil)
    private let scrubber = Mutex<BackgroundScrubber?>(nil)
    private let catalog: SegmentCatalog
    private let status: StatusPage?
    private let lock: Mutex<DirectoryLock?>
    private let threads = Mutex<[DedicatedThread]>([])

    /// Opens the log in `directory`, recovering what a crash may have left, and takes the writer's lock.
    ///
    /// - Parameters:
    ///   - now: UTC nanoseconds; positions get strictly increasing times whatever it returns.
    ///   - alarm: told of what goes wrong in the background without stopping the log: a segment found damaged, or one that
    ///     could not be sealed now.
    /// - Throws: `locked`, `corrupt`, `unknownFormat`, `diskFull` or `inputOutput`.
    package static func open(
        directory: String,
        configuration: LogConfiguration = LogConfiguration(),
        storage: any Storage = PosixStorage(),
        now: @escaping @Sendable () -> UInt64 = GuardedClock().reader,
        alarm: @escaping @Sendable (LogError) -> Void = { _ in }
    ) throws(LogError) -> EventLog {
        try LogOpening(
            directory: directory,
            configuration: configuration,
            storage: storage,
            now: now,
            alarm: alarm
        ).finish()
    }

    /// For `LogOpening`, which calls `start` next.
    init(
        _ recovered: Recovery.Result,
        _ recovery: Recovery,
        _ now: @escaping @Sendable () -> UInt64,
        _ alarm: @escaping @Sendable (LogError) -> Void,
        _ lock: DirectoryLock?,
        _ status: StatusPage?
    ) {
        id = recovered.logID
        self.recovery = recovered.report
        let configuration = recovery.configuration
        self.configuration = configuration
        self.now = now
        self.alarm = alarm
        self.lock = Mutex(lock)
        self.status = status
        catalog = recovered.catalog
        writer = Mutex(recovered.writer)
        preparer = SegmentPreparer(
            storage: recovery.storage,
            directory: recovery.directory,
            size: configuration.segmentBytes
        )
        state = Mutex(
            AppendState(
                configuration: configuration,
                durable: recovered.durable,
                frontier: recovered.writer.frontier,
                lastTime: recovered.lastTime,
                tailOffset: recovered.writer.offset,
                segmentSize: recovered.writer.segment.size
            )
        )
    }

    // MARK: Append

    /// Refuses with `diskFull` or the log's failure when an edge should not be let in. Call before deciding.
    package func admitEdge() throws(LogError) {
        let result = state.withLock { state in Result { () throws(LogError) -> Void in try state.admitEdge() } }
        try result.get()
    }

    /// Who writes appended records to the disk.
    package enum Flush: Sendable {
        /// The writer thread, from now on.
        case byWriter
        /// The caller, who must call `waitUntilDurable` next: on a quiet log it writes by itself, which blocks its thread
        /// for one sync and saves two changes of thread; else the writer thread does.
        case byWaiter
    }

    /// Accepts records and writes them into the group that fills.
    ///
    /// - Parameters:
    ///   - expecting: must be the log's next position, which the first record gets; nil for whatever that is.
    ///   - time: the first record's time in UTC nanoseconds, if it is after the record before; each further one
    ///     is a nanosecond later. Nil takes the log's clock.
    /// - Returns: the position of the last record.
    @discardableResult
    package func append(
        _ drafts: [RecordDraft],
        expecting: LogPosition?,
        time: UInt64? = nil,
        flush: Flush = .byWriter
    ) throws(LogError) -> LogPosition {
        let place = try place(drafts, expecting, time)
        place.fill(drafts)
        announce(flush)
        return place.last(of: drafts)
    }

    /// The half of `append` that has to happen in order: gives the records their positions. The other half is
    /// `Reservation.fill`, which the caller does next, outside of every lock it holds.
    package func reserve(
        _ drafts: [RecordDraft],
        expecting: LogPosition?,
        time: UInt64? = nil,
        flush: Flush = .byWriter
    ) throws(LogError) -> Reservation {
        Reservation(drafts, try place(drafts, expecting, time)) { [self] in announce(flush) }
    }

    private func place(
        _ drafts: [RecordDraft],
        _ expecting: LogPosition?,
        _ time: UInt64?
    ) throws(LogError) -> RecordPlace {
        let time = time ?? now()
        let result = state.withLock { state in
            Result { () throws(LogError) in try state.reserve(drafts, expecting: expecting, now: time) }
        }
        return try result.get()
    }

    /// There is something to write.
    private func announce(_ flush: Flush) {
        if flush == .byWriter, state.withLock({ $0.ringOnce() }) { writerBell.ring() }
    }

    /// Returns when the record at `position`, which was appended, is on disk.
    package func waitUntilDurable(_ position: LogPosition) async throws(LogError) {
        if performInsteadOfSleeping(position) { return }
        let landing = await withCheckedContinuation { continuation in
            let (answer, ring) = state.withLock { state in
                (state.wait(for: position, Waiter(continuation: continuation)), state.ringOnce())
            }
            if ring { writerBell.ring() }
            if let answer { continuation.resume(returning: Waiter.Landing(result: answer)) }
        }
        Waiter.tellOthers(landing)
        try landing.result.get()
    }

    /// Returns the durable position as soon as it is beyond `position`. For tails.
    package func waitForMore(after position: LogPosition) async throws(LogError) -> LogPosition {
        let result = await withCheckedContinuation { continuation in
            let follower = AppendState.Follower(after: position, continuation: continuation)
            let answer = state.withLock { $0.follow(follower) }
            if let answer { continuation.resume(returning: answer) }
        }
        return try result.get()
    }

    /// The last durable position.
    package var durable: LogPosition { state.withLock { $0.durable } }

    /// The position the next appended record will get.
    package var next: LogPosition { state.withLock { $0.next } }

    /// Whether the log still appends; the reason when not.
    package var failure: LogError? { state.withLock { $0.failure } }

    /// Size and root of the Merkle tree over every durable record.
    package var frontier: MerkleFrontier { state.withLock { $0.frontier } }

    /// Reads up to the durable position.
    package var reader: LogReader { LogReader(catalog: catalog, end: { [self] in durable }, alarm: alarm) }

    /// Writes what waits, marks it durable, and stops. Later appends throw `closed`.
    package func close() {
        state.withLock { $0.isClosing = true }
        writerBell.ring()
        preparerBell.ring()
        sealer.withLock { $0?.ring() }
        scrubber.withLock { $0?.ring() }
        // Inside the lock, so that a second closer, too, goes on only when nothing is written any more.
        threads.withLock { threads in
            for thread in threads { thread.join() }
            threads = []
        }
        // They refer to this log, so that they would keep each other.
        sealer.withLock { $0 = nil }
        scrubber.withLock { $0 = nil }
        for follower in state.withLock({ $0.takeFollowers() }) {
            follower.continuation.resume(returning: .failure(LogError(.closed, "the log is closing")))
        }
        // Only now may another process write here.
        lock.withLock { $0 = nil }
    }

    // MARK: Threads

    func start() {
        let writerThread = DedicatedThread { [self] in writerLoop() }
        let preparerThread = DedicatedThread { [self] in preparerLoop() }
        threads.withLock { $0 = [writerThread, preparerThread] }
        if configuration.sealing { startSealing() }
        if let interval = configuration.scrubInterval { startScrubbing(interval) }
    }

    private func startSealing() {
        let sealer = BackgroundSealer(
            storage: preparer.storage,
            directory: preparer.directory,
            catalog: catalog,
            isEnding: { [self] in isEnding },
            alarm: alarm
        )
        self.sealer.withLock { $0 = sealer }
        let thread = DedicatedThread { sealer.run() }
        threads.withLock { $0.append(thread) }
    }

    private func startScrubbing(_ interval: Duration) {
        let scrubber = BackgroundScrubber(
            listing: SegmentListing(storage: preparer.storage, directory: preparer.directory),
            catalog: catalog,
            interval: interval,
            now: now,
            durable: { [self] in durable },
            isEnding: { [self] in isEnding },
            alarm: alarm
        )
        self.scrubber.withLock { $0 = scrubber }
        let thread = DedicatedThread { scrubber.run() }
        threads.withLock { $0.append(thread) }
    }

    /// Whether background work is to stop.
    private var isEnding: Bool { state.withLock { $0.isClosing || $0.failure != nil } }

    private func writerLoop() {
        while true {
            // Whoever is ready to run may still add to this group; on an idle machine this returns at once. Not a timer:
            // nobody waits longer than the work that is there to be done.
            sched_yield()
            let turn = state.withLock { $0.nextTurn() }
            switch turn {
            case .fly(let groups): perform(groups)
            case .wait: _ = writerBell.wait(timeout: configuration.idleMarkDelay / 2)
            case .rest(let durable): rest(durable)
            case .end(let durable):
                markIfIdle(durable)
                return
            case .stop: return
            }
        }
    }

    /// Nothing to write: marks what is durable once nothing moves any more.
    private func rest(_ durable: LogPosition) {
        let needsMark = writer.withLock { $0.markedThrough } < durable
        let moved = state.withLock { state in
            state.isMarkTimerSet = needsMark
            // A waiter may have written since, and have seen a timer that is not set any more.
            return state.isFlying || state.durable != durable
        }
        if moved { return }
        // Half of the promised delay, because what moved in between starts it anew.
        if writerBell.wait(timeout: needsMark ? configuration.idleMarkDelay / 2 : nil) { return }
        markIfIdle(durable)
    }

    private func markIfIdle(_ durable: LogPosition) {
        guard state.withLock({ $0.takeOffForMark(durable) }) else { return }
        if writer.withLock({ $0.markedThrough }) >= durable || mark(durable) { state.withLock { $0.landed() } }
    }

    /// Writes a mark in a flight that has the file. Returns false when that failed.
    private func mark(_ durable: LogPosition) -> Bool {
        state.withLock { $0.planMark() }
        let result = writer.withLock { writer in
            Result { () throws(LogError) -> Void in try writer.writeMark(durable) }
        }
        if case .failure(let error) = result { stop(error) }
        return failure == nil
    }

    /// Writes what was taken and tells who waits for it; on failure stops the log.
    private func perform(_ groups: [GroupBuffer]) {
        let durable = self.durable
        let result = writer.withLock { writer in
            Result { () throws(LogError) -> MerkleFrontier in
                try writer.write(groups, durable: durable) { waitToRoll($0) }
                // Nobody may be told of what is durable in a place where nobody will look for it.
                try checkPlace()
                guard writer.segment.file.isLinked else { throw DirectoryLock.lost("the newest segment in", directory) }
                return writer.frontier
            }
        }
        guard case .success(let frontier) = result else {
            if case .failure(let error) = result { stop(error) }
            return
        }
        if groups.contains(where: { $0.opens != nil }) {
            preparerBell.ring()
            sealer.withLock { $0?.ring() }
        }
        if configuration.durability == .strict, let last = groups.last?.last, !mark(last) { return }
        // Before the next flight may take off, so that the page never goes backwards.
        if let last = groups.last?.last { status?.publish(durable: last) }
        let (told, landed) = state.withLock { state in (state.landed(groups, frontier), state.durable) }
        Waiter.tell(told.waiters[...], .success(()))
        for follower in told.followers { follower.continuation.resume(returning: .success(landed)) }
    }

    /// Whether to try again to give a segment its name. Nothing is written meanwhile: edges are refused, and outcomes wait.
    private func waitToRoll(_ cause: LogError) -> Bool {
        let goesOn = state.withLock { state in
            state.obstacle = cause
            return !state.isClosing && state.failure == nil
        }
        if goesOn { usleep(100_000) }
        return goesOn
    }

    /// Throws when the data directory is not this process's any more.
    private func checkPlace() throws(LogError) {
        let result = lock.withLock { lock in Result { () throws(LogError) -> Void in try lock?.confirm() } }
        try result.get()
    }

    private var directory: String { preparer.directory }

    /// Stops the log when the data directory, or the lock in it, was removed or replaced. Every group that is written asks by
    /// itself; this is for whoever writes beside the log, or has a clock.
    ///
    /// - Throws: `directoryLost`.
    package func confirmPlace() throws(LogError) {
        do {
            try checkPlace()
        } catch {
            stop(error)
            throw error
        }
    }

    /// What the writer thread does, done by a waiter that finds the log quiet. True when the position is durable already.
    private func performInsteadOfSleeping(_ position: LogPosition) -> Bool {
        let (isDurable, taken) = state.withLock { state in
            (position <= state.durable, state.takeOff(insteadOf: position))
        }
        guard let groups = taken else { return isDurable }
        perform(groups)
        let (wake, isDone) = state.withLock { state in
            let isLate = state.isClosing || state.failure != nil || !state.isMarkTimerSet
            return (state.ringOnce() || isLate, position <= state.durable)
        }
        if wake { writerBell.ring() }
        return isDone
    }

    /// G4: after a failed write or sync nobody knows what is on disk. The sync is never tried again.
    private func stop(_ cause: LogError) {
        let error =
            cause.code == .directoryLost
            ? cause
            : LogError(
                .indeterminate,
                "writing failed and the log has stopped; restart to recover. \(cause.message)",
                errno: cause.errno
            )
        let (waiters, followers) = state.withLock { $0.fail(error) }
        Waiter.tell(waiters[...], .failure(error))
        for follower in followers { follower.continuation.resume(returning: .failure(error)) }
    }

    private func preparerLoop() {
        while true {
            let (wanted, stopping) = state.withLock { state -> (Bool, Bool) in
                let stopping = state.isClosing || state.failure != nil
                if case .ready = state.nextSegment { return (false, stopping) }
                return (true, stopping)
            }
            if stopping { return discardPrepared() }
            if wanted { prepareOnce() }
            // A full disk may have room again later; until then ask once a second.
            let retry: Duration? = state.withLock { if case .failed = $0.nextSegment { .seconds(1) } else { nil } }
            _ = preparerBell.wait(timeout: retry)
        }
    }

    private func prepareOnce() {
        let result = Result { () throws(LogError) -> PreparedSegment in try preparer.prepare() }
        state.withLock { state in
            switch result {
            case .success(let segment): state.nextSegment = .ready(segment)
            case .failure(let error): state.nextSegment = .failed(error)
            }
        }
    }

    /// A prepared file that was never named is of no use to the next open, which makes its own.
    private func discardPrepared() {
        guard case .ready(let segment) = state.withLock({ $0.nextSegment }) else { return }
        try? preparer.storage.remove(segment.path)
    }
}

extension EventLog {
    /// Notes that an event about a discarded tail is durable, so that it is not reported at the next open.
    package func acknowledgeDiscarded(_ tail: RecoveryReport.DiscardedTail) throws(LogError) {
        try Quarantine(storage: preparer.storage, root: preparer.directory).markRecorded(tail)
    }
}
