import Glibc
import Synchronization

/// The append-only log: one writer, many readers, records in a total order.
///
/// - Durable: `append` accepts records and gives them positions at once; they are durable when `waitUntilDurable` returns,
///   which is after an fdatasync that covers them has succeeded. Nobody outside may learn of a record before that.
/// - Ordered: positions count from 1 without gaps, in the order in which `append` was called.
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
    private let writerBell = Doorbell()
    private let preparerBell = Doorbell()
    private let preparer: SegmentPreparer
    private let catalog: SegmentCatalog
    private let status: StatusPage?
    private let lock: Mutex<DirectoryLock?>
    private let threads = Mutex<[DedicatedThread]>([])

    /// Opens the log in `directory`, recovering what a crash may have left, and takes the writer's lock.
    ///
    /// - Parameters:
    ///   - now: UTC nanoseconds; positions get strictly increasing times whatever it returns.
    /// - Throws: `locked`, `corrupt`, `unknownFormat`, `diskFull` or `inputOutput`.
    package static func open(
        directory: String,
        configuration: LogConfiguration = LogConfiguration(),
        storage: any Storage = PosixStorage(),
        now: @escaping @Sendable () -> UInt64 = systemTime
    ) throws(LogError) -> EventLog {
        let configuration = try configuration.validated()
        let isReal = storage is PosixStorage
        try storage.makeDurableDirectory(directory)
        let lock = isReal ? try DirectoryLock(path: directory + "/" + LogPath.lock) : nil
        let recovered = try Recovery(storage: storage, directory: directory, configuration: configuration).run()
        let status = isReal ? try StatusPage.create(directory + "/" + LogPath.status) : nil
        let log = EventLog(recovered, configuration, storage, directory, now, lock, status)
        log.start(recovered.writer)
        return log
    }

    private init(
        _ recovered: Recovery.Result,
        _ configuration: LogConfiguration,
        _ storage: any Storage,
        _ directory: String,
        _ now: @escaping @Sendable () -> UInt64,
        _ lock: DirectoryLock?,
        _ status: StatusPage?
    ) {
        id = recovered.logID
        recovery = recovered.report
        self.configuration = configuration
        self.now = now
        self.lock = Mutex(lock)
        self.status = status
        catalog = recovered.catalog
        preparer = SegmentPreparer(storage: storage, directory: directory, size: configuration.segmentBytes)
        state = Mutex(
            AppendState(
                configuration: configuration,
                durable: recovered.durable,
                frontier: recovered.frontier,
                lastTime: recovered.lastTime,
                tailOffset: recovered.writer.offset,
                segmentSize: recovered.writer.segment.size
            )
        )
        status?.publish(durable: recovered.durable)
    }

    /// UTC nanoseconds since 1970 from the system's clock.
    package static let systemTime: @Sendable () -> UInt64 = {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    // MARK: Append

    /// Refuses with `diskFull` or the log's failure when an edge should not be let in. Call before deciding.
    package func admitEdge() throws(LogError) {
        let result = state.withLock { state in Result { () throws(LogError) -> Void in try state.admitEdge() } }
        try result.get()
    }

    /// Accepts records; the first gets `expecting`, which must be the log's next position.
    ///
    /// - Parameter time: the first record's time in UTC nanoseconds, if it is after the record before; each further one
    ///   is a nanosecond later. Nil takes the log's clock.
    /// - Returns: the position of the last record.
    package func append(
        _ drafts: [RecordDraft],
        expecting: LogPosition,
        time: UInt64? = nil
    ) throws(LogError) -> LogPosition {
        let time = time ?? now()
        let result = state.withLock { state -> Result<(LogPosition, Bool), LogError> in
            let wasIdle = !state.hasPending
            return Result { () throws(LogError) -> (LogPosition, Bool) in
                (try state.append(drafts, expecting: expecting, now: time), wasIdle)
            }
        }
        let (last, wasIdle) = try result.get()
        if wasIdle { writerBell.ring() }
        return last
    }

    /// Returns when the record at `position`, which was appended, is on disk.
    package func waitUntilDurable(_ position: LogPosition) async throws(LogError) {
        if position <= durable { return }
        let result = await withCheckedContinuation { continuation in
            let answer = state.withLock { $0.wait(for: position, AppendState.Waiter(continuation: continuation)) }
            if let answer { continuation.resume(returning: answer) }
        }
        try result.get()
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

    /// Size and root of the Merkle tree over every record appended so far, durable or not.
    package var frontier: MerkleFrontier { state.withLock { $0.frontier } }

    /// Reads up to the durable position.
    package var reader: LogReader { LogReader(catalog: catalog, end: { [self] in durable }) }

    /// Writes what waits, marks it durable, and stops. Later appends throw `closed`.
    package func close() {
        state.withLock { $0.isClosing = true }
        writerBell.ring()
        preparerBell.ring()
        let running = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in running { thread.join() }
        for follower in state.withLock({ $0.takeFollowers() }) {
            follower.continuation.resume(returning: .failure(LogError(.closed, "the log is closing")))
        }
        // Only now may another process write here.
        lock.withLock { $0 = nil }
    }

    // MARK: Threads

    private func start(_ writer: SegmentWriter) {
        let writerThread = DedicatedThread { [self] in
            var writer = writer
            writerLoop(&writer)
        }
        let preparerThread = DedicatedThread { [self] in preparerLoop() }
        threads.withLock { $0 = [writerThread, preparerThread] }
    }

    private func writerLoop(_ writer: inout SegmentWriter) {
        while true {
            let (groups, durable, closing) = state.withLock { ($0.take(), $0.durable, $0.isClosing) }
            if groups.isEmpty {
                if rest(&writer, durable: durable, closing: closing) { return }
                continue
            }
            guard perform(groups, &writer, durable: durable) else { return }
        }
    }

    /// Nothing to write: marks what is durable once the log is idle. Returns true when the thread is to end.
    private func rest(_ writer: inout SegmentWriter, durable: LogPosition, closing: Bool) -> Bool {
        let needsMark = writer.markedThrough < durable
        if !closing, writerBell.wait(timeout: needsMark ? configuration.idleMarkDelay : nil) { return false }
        if needsMark, !mark(&writer, durable) { return true }
        return closing
    }

    private func mark(_ writer: inout SegmentWriter, _ durable: LogPosition) -> Bool {
        state.withLock { $0.planMark() }
        let result = Result { () throws(LogError) -> Void in try writer.writeMark(durable) }
        if case .failure(let error) = result { stop(error) }
        return failure == nil
    }

    private func perform(_ groups: [GroupBuffer], _ writer: inout SegmentWriter, durable: LogPosition) -> Bool {
        let result = Result { () throws(LogError) -> Void in try writer.write(groups, durable: durable) }
        if case .failure(let error) = result {
            stop(error)
            return false
        }
        if groups.contains(where: { $0.opens != nil }) { preparerBell.ring() }
        if configuration.durability == .strict, let last = groups.last?.last, !mark(&writer, last) { return false }
        let (waiters, followers, durable) = state.withLock { state in
            let told = state.landed(groups)
            return (told.waiters, told.followers, state.durable)
        }
        status?.publish(durable: durable)
        for waiter in waiters { waiter.continuation.resume(returning: .success(())) }
        for follower in followers { follower.continuation.resume(returning: .success(durable)) }
        return true
    }

    /// G4: after a failed write or sync nobody knows what is on disk. The sync is never tried again.
    private func stop(_ cause: LogError) {
        let error = LogError(
            .indeterminate,
            "writing failed and the log has stopped; restart to recover. \(cause.message)",
            errno: cause.errno
        )
        let (waiters, followers) = state.withLock { $0.fail(error) }
        for waiter in waiters { waiter.continuation.resume(returning: .failure(error)) }
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
