import DequeModule
import HeapModule
package import Log

/// Which jobs may start now: order within a lane, fairness between groups, waiting until a time.
///
/// A lane (one conversation) holds its jobs in order, and only its first may run; a group (one client, or one sender) is
/// what capacity and fairness are counted by. The schedule is derived: every change comes from folding an event, but for
/// `pick` and `advance`, which only move jobs that the next folded event would move anyway.
package struct LaneScheduler<Group: Hashable & Sendable>: Sendable {
    package typealias Job = LogPosition

    private struct Timer: Comparable, Sendable {
        let at: Timestamp
        let job: Job

        static func < (a: Timer, b: Timer) -> Bool { (a.at, a.job) < (b.at, b.job) }
    }

    private struct Place: Sendable {
        var lane: LogPosition
        let group: Group
        /// The timer that counts. A timer is left behind when the job starts or is over, and must not offer it again: a
        /// rebuild folds starts and retries without ever looking at the clock.
        var dueAt: Timestamp?
        /// Whether it stands in `ready`; looking there for what was picked would cost as much as is waiting.
        var isReady = false
        /// When it may start first, although its turn comes earlier.
        var notBefore: Timestamp?
        /// Between its start and its next `retry`.
        var isRunning = false
        /// Until it is released: only then does it keep order with others.
        var isInLane = true
    }

    private var places: [Job: Place] = [:]
    private var lanes: [LogPosition: Deque<Job>] = [:]
    /// Jobs that ran when their lane was merged with another, and are not the first of it. Nothing else of that lane may start.
    private var strays: [LogPosition: Set<Job>] = [:]
    private var timers = Heap<Timer>()
    private var ready: [Group: Deque<Job>] = [:]
    private var rotation: Deque<Group> = []
    /// Set when something may start that could not before. A planner that looked since then need not look again: what is
    /// still waiting waits for a timer, or for capacity that only a folded event frees.
    package private(set) var needsPlanning = false

    package init() {}

    /// Whether the planner has to look, asked once per change.
    package mutating func takeNeedsPlanning() -> Bool {
        defer { needsPlanning = false }
        return needsPlanning
    }

    /// A job ended, or a group may run more than before: whoever is ready may have a place now.
    package mutating func capacityChanged() {
        if rotation.contains(where: { !(ready[$0]?.isEmpty ?? true) }) { needsPlanning = true }
    }

    /// A new job at the end of its lane.
    ///
    /// - Parameter notBefore: when it may start first, unless `hasten` comes before.
    package mutating func enqueue(_ job: Job, lane: LogPosition, group: Group, notBefore: Timestamp? = nil) {
        places[job] = Place(lane: lane, group: group, dueAt: nil, notBefore: notBefore)
        lanes[lane, default: []].append(job)
        if lanes[lane]?.count == 1 { offer(job) }
    }

    /// What the job had to wait for is there.
    package mutating func hasten(_ job: Job) {
        guard let place = places[job], place.notBefore != nil else { return }
        places[job]?.notBefore = nil
        // Its turn has come, and only this held it back.
        guard place.dueAt == place.notBefore else { return }
        places[job]?.dueAt = nil
        makeReady(job, place.group)
    }

    /// The turn of the job has come.
    private mutating func offer(_ job: Job) {
        guard let place = places[job] else { return }
        if let time = place.notBefore { retry(job, at: time) } else { makeReady(job, place.group) }
    }

    /// The job runs now: it is not offered again until `retry` or, for the next in its lane, `release`.
    package mutating func started(_ job: Job) {
        guard places[job] != nil else { return }
        places[job]?.dueAt = nil
        places[job]?.notBefore = nil
        places[job]?.isRunning = true
        withdraw(job)
    }

    private mutating func withdraw(_ job: Job) {
        guard let group = places[job]?.group, places[job]?.isReady == true else { return }
        places[job]?.isReady = false
        if ready[group]?.first == job {
            ready[group]?.removeFirst()
        } else if let index = ready[group]?.firstIndex(of: job) {
            ready[group]?.remove(at: index)
        }
    }

    /// Offers the job again at a time. Whether it still holds its lane is the caller's choice.
    package mutating func retry(_ job: Job, at time: Timestamp) {
        guard let place = places[job] else { return }
        places[job]?.isRunning = false
        endStray(job, place.lane)
        guard mayStart(job) else {
            // Its turn is yet to come, and it may have come already for another.
            places[job]?.notBefore = time
            offerFirst(place.lane)
            return
        }
        places[job]?.dueAt = time
        timers.insert(Timer(at: time, job: job))
    }

    /// The next job of the lane may start.
    package mutating func release(_ job: Job) {
        guard let lane = places[job]?.lane else { return }
        if lanes[lane]?.first == job || strays[lane]?.contains(job) == true { leave(job) }
    }

    private mutating func leave(_ job: Job) {
        guard let place = places[job], place.isInLane else { return }
        places[job]?.isInLane = false
        let wasFirst = lanes[place.lane]?.first == job
        if wasFirst {
            lanes[place.lane]?.removeFirst()
        } else if let index = lanes[place.lane]?.firstIndex(of: job) {
            lanes[place.lane]?.remove(at: index)
        }
        let wasStray = endStray(job, place.lane)
        if wasFirst || wasStray { offerFirst(place.lane) }
        if lanes[place.lane]?.isEmpty == true { lanes[place.lane] = nil }
    }

    /// Whether it is the job's turn: it is the first of its lane, or keeps no order any more.
    package func mayStart(_ job: Job) -> Bool {
        guard let place = places[job], place.isInLane else { return true }
        return lanes[place.lane]?.first == job && strays[place.lane, default: [job]] == [job]
    }

    /// The first of a lane may start, unless it runs, waits for a time or is offered already.
    private mutating func offerFirst(_ lane: LogPosition) {
        guard let first = lanes[lane]?.first, let place = places[first], mayStart(first) else { return }
        if !place.isRunning, !place.isReady, place.dueAt == nil { offer(first) }
    }

    /// - Returns: whether the lane waited for the job's end, though it was not its first.
    @discardableResult
    private mutating func endStray(_ job: Job, _ lane: LogPosition) -> Bool {
        guard strays[lane]?.remove(job) != nil else { return false }
        if strays[lane]?.isEmpty == true { strays[lane] = nil }
        return true
    }

    // MARK: Two lanes that become one

    package func jobs(of lane: LogPosition) -> [Job] { Array(lanes[lane] ?? []) }

    /// The jobs of both lanes keep one order from here on, that of their positions. What runs goes on, and only when it has
    /// ended does the next one start.
    package mutating func merge(lane other: LogPosition, into lane: LogPosition) {
        guard other != lane, let moved = lanes.removeValue(forKey: other) else { return }
        for job in moved { places[job]?.lane = lane }
        if let waiting = strays.removeValue(forKey: other) { strays[lane, default: []].formUnion(waiting) }
        guard let kept = lanes[lane] else {
            lanes[lane] = moved
            return
        }
        let heads = [kept.first, moved.first].compactMap { $0 }
        lanes[lane] = Deque((kept + moved).sorted())
        for head in heads where places[head]?.isRunning == true && lanes[lane]?.first != head {
            strays[lane, default: []].insert(head)
        }
        for head in heads where !mayStart(head) { hold(head) }
    }

    /// Takes back the offer of a job whose turn it is not any more; what it waited for it still waits for then.
    private mutating func hold(_ job: Job) {
        guard let place = places[job], !place.isRunning else { return }
        if let due = place.dueAt {
            places[job]?.notBefore = due
            places[job]?.dueAt = nil
        }
        withdraw(job)
    }

    /// The job is over, wherever it was.
    package mutating func remove(_ job: Job) {
        guard places[job] != nil else { return }
        withdraw(job)
        leave(job)
        places[job] = nil
    }

    private mutating func makeReady(_ job: Job, _ group: Group) {
        if places[job]?.isReady == true { return }
        places[job]?.isReady = true
        if ready[group]?.isEmpty ?? true {
            needsPlanning = true
            if !rotation.contains(group) { rotation.append(group) }
        }
        ready[group, default: []].append(job)
    }

    /// Makes every job whose time has come ready.
    package mutating func advance(to now: Timestamp) {
        while let timer = timers.min, timer.at <= now {
            timers.removeMin()
            guard let place = places[timer.job], place.dueAt == timer.at else { continue }
            places[timer.job]?.dueAt = nil
            // It has waited, should it lose its turn once more.
            places[timer.job]?.notBefore = nil
            makeReady(timer.job, place.group)
        }
    }

    /// When the next waiting job becomes ready, if any waits.
    package var nextTimer: Timestamp? { timers.min?.at }

    /// Takes up to `limit` ready jobs, one group after the other, never more from a group than it has capacity for.
    ///
    /// - Parameter held: how many of the places that `limit` is the rest of a group holds already. With it, no group gets a
    ///   place while it holds at least as many as are left: so greedy groups always leave some to others, and one alone
    ///   gets half (the dynamic thresholds of Choudhury and Hahne, 1998).
    package mutating func pick(
        limit: Int,
        held: ((Group) -> Int)? = nil,
        capacity: (Group) -> Int
    ) -> [Job] {
        var picked: [Job] = []
        var room: [Group: (left: Int, held: Int)] = [:]
        var skipped = 0
        while picked.count < limit, skipped < rotation.count, let group = rotation.popFirst() {
            guard let job = ready[group]?.first else {
                ready[group] = nil
                continue
            }
            rotation.append(group)
            let (left, mine) = room[group] ?? (capacity(group), held?(group) ?? 0)
            if left <= 0 || (held != nil && mine >= limit - picked.count) {
                room[group] = (left, mine)
                skipped += 1
                continue
            }
            room[group] = (left - 1, mine + 1)
            skipped = 0
            ready[group]?.removeFirst()
            places[job]?.isReady = false
            picked.append(job)
        }
        return picked
    }
}
