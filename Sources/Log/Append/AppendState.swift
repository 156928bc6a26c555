/// What waits for the disk and where it will lie: the pure half of appending. `EventLog` holds it in a lock and
/// performs what `takeOff` hands out.
struct AppendState: Sendable {
    /// The next segment file, made ahead of need.
    enum NextSegment: Sendable {
        case working
        case ready(PreparedSegment)
        case failed(LogError)
    }

    struct Follower: Sendable {
        let after: LogPosition
        let continuation: CheckedContinuation<Result<LogPosition, LogError>, Never>
    }

    let configuration: LogConfiguration
    /// The position the next record gets.
    private(set) var next: LogPosition
    private(set) var lastTime: UInt64
    private(set) var durable: LogPosition
    /// The tree of everything durable.
    private(set) var frontier: MerkleFrontier
    /// Set once, by the first failed write or sync; nothing is accepted after it.
    var failure: LogError?
    var isClosing = false
    var nextSegment = NextSegment.working
    /// Why what waits cannot be written now, though nothing is wrong with it; gone with the next flight that lands.
    var obstacle: LogError?

    private var current: GroupBuffer?
    private var closed: [GroupBuffer] = []
    private var pool: [GroupBuffer] = []
    private var pendingBytes = 0
    /// Where the current group will start if nothing comes between, in the last segment planned.
    private var tailOffset: Int
    private var segmentSize: Int

    private var waiters: [Waiter] = []
    private var waitersInFlight: [Waiter] = []
    private var lastInFlight = LogPosition.zero
    private var followers: [Follower] = []

    init(
        configuration: LogConfiguration,
        durable: LogPosition,
        frontier: MerkleFrontier,
        lastTime: UInt64,
        tailOffset: Int,
        segmentSize: Int
    ) {
        self.configuration = configuration
        self.durable = durable
        self.frontier = frontier
        self.lastTime = lastTime
        self.tailOffset = tailOffset
        self.segmentSize = segmentSize
        next = durable.next
    }

    var hasPending: Bool { current != nil || !closed.isEmpty }

    /// Whether somebody writes to the file now: the writer thread, or a waiter in its place.
    private(set) var isFlying = false
    /// Whether the writer thread knows that something is pending.
    private var isRung = false
    /// Whether the writer thread wakes by itself before long, to mark what is durable.
    var isMarkTimerSet = false
    /// How many flights in a row served one waiter and left nobody behind.
    private var quietFlights = AppendState.quietFlightsMin
    /// In a crowd a waiter that writes itself makes a small flight and leaves the large one to a thread that sleeps, so
    /// it takes a run of quiet flights to believe that there is no crowd.
    private static let quietFlightsMin = 16

    /// What an edge must ask before it decides anything: refuses while the log cannot take new work, and keeps the rest
    /// of the last segment for outcomes once the disk is full.
    func admitEdge() throws(LogError) {
        try checkOpen()
        if let obstacle { throw AppendState.refusal(obstacle) }
        guard case .failed(let reason) = nextSegment, segmentSize - planEnd < configuration.reserveBytes else { return }
        throw AppendState.refusal(reason)
    }

    /// Accepts records, in order, without gaps, and gives them a place to be filled. They are not durable yet.
    mutating func reserve(
        _ drafts: [RecordDraft],
        expecting: LogPosition?,
        now: UInt64
    ) throws(LogError) -> RecordPlace {
        try checkOpen()
        if let expecting, expecting != next {
            throw LogError(.positionConflict, "the log is at position \(next), not \(expecting)")
        }
        let size = try checkRoom(drafts)
        if drafts.isEmpty { return RecordPlace(first: next, firstTime: lastTime) }
        // One group for all of them: a group is written whole or not at all, and so a batch is kept whole or not at all.
        let group = groupFor(size)
        let firstTime = max(now, lastTime + 1)
        let bytes = group.reserve(size, records: drafts.count, first: next, time: firstTime)
        defer {
            next = next.advanced(by: drafts.count)
            lastTime = firstTime + UInt64(drafts.count - 1)
            pendingBytes += size
        }
        return RecordPlace(first: next, firstTime: firstTime, group: group, bytes: bytes)
    }

    private func checkOpen() throws(LogError) {
        if let failure { throw failure }
        if isClosing { throw LogError(.closed, "the log is closing") }
    }

    /// Refuses the whole batch up front, so that nothing is accepted that the disk has no room for (G5). The value is the size
    /// of the batch in bytes.
    private func checkRoom(_ drafts: [RecordDraft]) throws(LogError) -> Int {
        var total = 0
        for draft in drafts {
            let size = draft.encodedSize
            guard size <= LogConfiguration.recordBytesMax else {
                throw LogError(.recordTooLarge, "a record of \(size) bytes; the format allows 524288")
            }
            total += size
        }
        guard pendingBytes + total <= configuration.pendingBytesMax else {
            throw LogError(.overloaded, "more than \(configuration.pendingBytesMax) bytes wait for the disk; try again")
        }
        // The group wastes up to a block, and so does the one before it.
        let bound = total + 4 * (Block.size + GroupHeader.size + Block.headerSize)
        if bound <= segmentSize - planEnd { return total }
        switch nextSegment {
        case .failed(let reason): throw AppendState.refusal(reason)
        case .working: throw LogError(.overloaded, "the next segment is still being prepared; try again")
        case .ready(let segment):
            guard bound <= segment.size - Block.size else {
                throw LogError(.recordTooLarge, "one batch of \(total) bytes does not fit a segment")
            }
            return total
        }
    }

    /// Why there is no next segment. It is tried again every second, so all but a full disk counts as being busy.
    private static func refusal(_ reason: LogError) -> LogError {
        reason.code == .diskFull
            ? reason : LogError(.overloaded, "the next segment could not be made yet: \(reason.message); try again")
    }

    /// Where the plan ends in the last segment, with room for a mark before and after the current group.
    private var planEnd: Int { tailOffset + (current?.alignedSize ?? 0) + 2 * Block.size }

    /// The group for a batch of `size` bytes: the one that fills, or a new one, in the next segment if need be. A batch that is
    /// larger than a group should be has one of its own.
    private mutating func groupFor(_ size: Int) -> GroupBuffer {
        if let current, current.isEmpty || current.bodyCount + size <= configuration.groupBytesMax,
            fits(frame: current.frameCount + size)
        {
            return current
        }
        closeCurrent()
        let group = pool.popLast() ?? GroupBuffer(bodyBytes: configuration.groupBytesMax)
        if !fits(frame: GroupHeader.size + size) { openNextSegment(with: group) }
        current = group
        return group
    }

    private func fits(frame: Int) -> Bool {
        tailOffset + Block.alignedSize(frame: frame) + 2 * Block.size <= segmentSize
    }

    private mutating func openNextSegment(with group: GroupBuffer) {
        guard case .ready(let segment) = nextSegment else { preconditionFailure("room was checked before appending") }
        group.opens = segment
        nextSegment = .working
        tailOffset = Block.size
        segmentSize = segment.size
    }

    private mutating func closeCurrent() {
        guard let group = current else { return }
        tailOffset += group.alignedSize
        closed.append(group)
        current = nil
    }

    // MARK: The writer's side

    /// Everything that waits, for one sync; nil when nothing waits or a flight is on its way. Who waits for what was taken
    /// waits for this flight from here on.
    mutating func takeOff() -> [GroupBuffer]? {
        guard hasPending, !isFlying, failure == nil else { return nil }
        isFlying = true
        isRung = false
        closeCurrent()
        let groups = closed
        closed = []
        pendingBytes = 0
        lastInFlight = groups.last?.last ?? lastInFlight
        waitersInFlight += waiters
        waiters = []
        return groups
    }

    /// What the writer thread does next.
    enum Turn {
        case fly([GroupBuffer])
        /// A waiter writes; look again when it is done.
        case wait
        /// Nothing to do; all up to the position is durable.
        case rest(LogPosition)
        /// As `rest`, and nothing will come any more.
        case end(LogPosition)
        /// The log has failed.
        case stop
    }

    mutating func nextTurn() -> Turn {
        if failure != nil { return .stop }
        if let groups = takeOff() { return .fly(groups) }
        if isFlying {
            isMarkTimerSet = true
            return .wait
        }
        return isClosing ? .end(durable) : .rest(durable)
    }

    /// As `takeOff`, for a waiter that would otherwise sleep: on a quiet log it writes its own records, which saves two
    /// changes of thread. In a crowd that would only make many small flights of one large.
    mutating func takeOff(insteadOf position: LogPosition) -> [GroupBuffer]? {
        guard position > durable, quietFlights >= AppendState.quietFlightsMin, !isRung else { return nil }
        return takeOff()
    }

    /// Whether the writer thread has to be told of what is pending.
    mutating func ringOnce() -> Bool {
        guard hasPending, !isFlying, !isRung else { return false }
        isRung = true
        return true
    }

    /// Takes the file for a durable mark, if nothing moved since `durable`.
    mutating func takeOffForMark(_ durable: LogPosition) -> Bool {
        guard !isFlying, !hasPending, self.durable == durable, failure == nil else { return false }
        isFlying = true
        return true
    }

    /// The mark is written, or was not possible.
    mutating func landed() {
        isFlying = false
    }

    /// Plans a durable mark in the writer's segment. When the next group already opens another file, the mark lies in
    /// the old one, whose spare block was kept for it.
    mutating func planMark() {
        let rollsNext = closed.first?.opens != nil || (closed.isEmpty && current?.opens != nil)
        if !rollsNext && !closed.contains(where: { $0.opens != nil }) { tailOffset += Block.size }
    }

    /// The flight has landed: returns who is to be told.
    ///
    /// - Parameter frontier: the tree with the records of these groups.
    mutating func landed(
        _ groups: [GroupBuffer],
        _ frontier: MerkleFrontier
    ) -> (waiters: [Waiter], followers: [Follower]) {
        isFlying = false
        obstacle = nil
        durable = lastInFlight
        self.frontier = frontier
        for group in groups where pool.count < 4 {
            group.reset()
            pool.append(group)
        }
        let done = waitersInFlight
        waitersInFlight = []
        quietFlights = done.count > 1 || hasPending ? 0 : quietFlights + 1
        let ready = followers.filter { $0.after < durable }
        if !ready.isEmpty { followers.removeAll { $0.after < durable } }
        return (done, ready)
    }

    /// Nothing will ever be durable again: returns everyone who waits.
    mutating func fail(_ error: LogError) -> (waiters: [Waiter], followers: [Follower]) {
        failure = failure ?? error
        defer {
            waiters = []
            waitersInFlight = []
            followers = []
        }
        return (waitersInFlight + waiters, followers)
    }

    /// Who follows a log that closes will see no more.
    mutating func takeFollowers() -> [Follower] {
        defer { followers = [] }
        return followers
    }

    /// Registers a waiter, or answers at once.
    mutating func wait(for position: LogPosition, _ waiter: Waiter) -> Result<Void, LogError>? {
        if position <= durable { return .success(()) }
        if let failure { return .failure(failure) }
        guard position < next else {
            return .failure(LogError(.notFound, "position \(position) was never appended"))
        }
        if position <= lastInFlight { waitersInFlight.append(waiter) } else { waiters.append(waiter) }
        return nil
    }

    mutating func follow(_ follower: Follower) -> Result<LogPosition, LogError>? {
        if follower.after < durable { return .success(durable) }
        if let failure { return .failure(failure) }
        if isClosing { return .failure(LogError(.closed, "the log is closing")) }
        followers.append(follower)
        return nil
    }
}
