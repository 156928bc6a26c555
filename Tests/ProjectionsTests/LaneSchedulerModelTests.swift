import Log
import Projections
import TestSupport
import Testing

/// The scheduler as a list, too slow and too simple to be wrong.
private struct NaiveScheduler {
    enum State: Equatable {
        case queued, ready, running
        case waiting(Timestamp)
    }

    struct Job {
        let id: LogPosition
        var lane: LogPosition
        let group: Int
        var state = State.queued
        /// What it waited for when it lost its turn.
        var heldUntil: Timestamp?
        var holdsLane = true
        var readyOrder = 0
    }

    var jobs: [Job] = []
    private var readyCount = 0

    /// The first of its lane, while nothing else of that runs.
    private func hasTurn(_ job: Job) -> Bool {
        let lane = jobs.filter { $0.lane == job.lane && $0.holdsLane }
        return lane.first?.id == job.id && !lane.contains { $0.state == .running && $0.id != job.id }
    }

    mutating func merge(_ other: LogPosition, into lane: LogPosition) {
        for index in jobs.indices where jobs[index].lane == other { jobs[index].lane = lane }
    }

    mutating func settle(now: Timestamp) {
        for (index, job) in jobs.enumerated() where job.holdsLane && job.state != .running && !hasTurn(job) {
            if case .waiting(let time) = job.state { jobs[index].heldUntil = time }
            jobs[index].state = .queued
        }
        for (index, job) in jobs.enumerated() where job.state == .queued && hasTurn(job) {
            if let time = job.heldUntil {
                jobs[index].state = .waiting(time)
                jobs[index].heldUntil = nil
            } else {
                makeReady(index)
            }
        }
        let due = jobs.indices.compactMap { index -> (Timestamp, LogPosition, Int)? in
            if case .waiting(let time) = jobs[index].state, time <= now { return (time, jobs[index].id, index) }
            return nil
        }
        for (_, _, index) in due.sorted(by: { ($0.0, $0.1) < ($1.0, $1.1) }) { makeReady(index) }
    }

    private mutating func makeReady(_ index: Int) {
        readyCount += 1
        jobs[index].state = .ready
        jobs[index].readyOrder = readyCount
    }

    func ready(_ group: Int) -> [LogPosition] {
        jobs.filter { $0.group == group && $0.state == .ready }.sorted { $0.readyOrder < $1.readyOrder }.map(\.id)
    }

    mutating func change(_ id: LogPosition, _ body: (inout Job) -> Void) {
        guard let index = jobs.firstIndex(where: { $0.id == id }) else { return }
        body(&jobs[index])
    }

    func any(_ random: inout SeededGenerator, where keep: (Job) -> Bool) -> Job? {
        jobs.filter(keep).randomElement(using: &random)
    }
}

@Suite struct LaneSchedulerModelTests {
    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func agreesWithTheModel(_ seed: UInt64) {
        var run = ModelRun(seed: seed)
        for _ in 0..<3000 { run.step() }
        #expect(run.picked > 300, "the run did too little to show anything")
    }
}

private struct ModelRun {
    private static let groups = 0..<4
    private var random: SeededGenerator
    private var scheduler = LaneScheduler<Int>()
    private var model = NaiveScheduler()
    private var now = Timestamp(0)
    private var next: UInt64 = 1
    private(set) var picked = 0
    private let seed: UInt64

    init(seed: UInt64) {
        self.seed = seed
        random = SeededGenerator(seed: seed)
    }

    mutating func step() {
        switch Int.random(in: 0..<11, using: &random) {
        case 0...2: enqueue()
        case 3...4: pick()
        case 5...6: finish()
        case 7: retry()
        case 8: cancel()
        case 9: merge()
        default: advance()
        }
        model.settle(now: Timestamp(0))
    }

    private mutating func enqueue() {
        let group = Int.random(in: ModelRun.groups, using: &random)
        // A lane belongs to one group, as a conversation belongs to one client.
        let lane = LogPosition(UInt64(1_000_000 + group * 10) + UInt64.random(in: 0..<3, using: &random))
        let job = LogPosition(next)
        next += 1
        model.jobs.append(NaiveScheduler.Job(id: job, lane: lane, group: group))
        scheduler.enqueue(job, lane: lane, group: group)
    }

    private mutating func advance() {
        now = Timestamp(now.nanoseconds + UInt64.random(in: 0..<20, using: &random))
        model.settle(now: now)
        scheduler.advance(to: now)
    }

    private mutating func pick() {
        let limit = Int.random(in: 0..<6, using: &random)
        let room = ModelRun.groups.map { _ in Int.random(in: -1..<4, using: &random) }
        let taken = scheduler.pick(limit: limit) { room[$0] }
        check(taken, limit, room)
        picked += taken.count
        for job in taken {
            model.change(job) { $0.state = .running }
            scheduler.started(job)
        }
    }

    private func check(_ taken: [LogPosition], _ limit: Int, _ room: [Int]) {
        let ready = ModelRun.groups.map { model.ready($0) }
        let counts = ModelRun.groups.map { group in taken.count { ready[group].contains($0) } }
        let most = zip(ready, room).map { min($0.count, max($1, 0)) }
        #expect(taken.count == min(limit, most.reduce(0, +)), "seed \(seed): work was left lying")
        for group in ModelRun.groups {
            #expect(counts[group] <= most[group], "seed \(seed): beyond capacity")
            let order = taken.filter { ready[group].contains($0) }
            #expect(order == Array(ready[group].prefix(order.count)), "seed \(seed): out of order")
            if counts[group] < most[group] {
                #expect(counts.allSatisfy { $0 <= counts[group] + 1 }, "seed \(seed): unfair")
            }
        }
        #expect(counts.reduce(0, +) == taken.count, "seed \(seed): a job that was not ready")
    }

    private mutating func finish() {
        guard let job = model.any(&random, where: { $0.state == .running }) else { return }
        model.jobs.removeAll { $0.id == job.id }
        scheduler.remove(job.id)
    }

    private mutating func retry() {
        guard let job = model.any(&random, where: { $0.state == .running }) else { return }
        let time = Timestamp(now.nanoseconds + UInt64.random(in: 1..<30, using: &random))
        let strict = random.chance(0.5)
        model.change(job.id) { job in
            job.state = .waiting(time)
            if !strict { job.holdsLane = false }
        }
        if !strict { scheduler.release(job.id) }
        scheduler.retry(job.id, at: time)
    }

    private mutating func merge() {
        let first = UInt64(1_000_000 + Int.random(in: ModelRun.groups, using: &random) * 10)
        let lanes = [first, first + 1, first + 2].shuffled(using: &random).map { LogPosition($0) }
        model.merge(lanes[0], into: lanes[1])
        scheduler.merge(lane: lanes[0], into: lanes[1])
    }

    private mutating func cancel() {
        guard let job = model.any(&random, where: { $0.state != .running }) else { return }
        model.jobs.removeAll { $0.id == job.id }
        scheduler.remove(job.id)
    }
}
