import Log
import Projections
import Testing

@Suite struct LaneSchedulerTests {
    private typealias Scheduler = LaneScheduler<String>

    private func all(_ scheduler: inout Scheduler, limit: Int = 100, capacity: Int = 100) -> [UInt64] {
        scheduler.pick(limit: limit) { _ in capacity }.map(\.rawValue)
    }

    private func needsPlanning(_ scheduler: inout Scheduler) -> Bool { scheduler.takeNeedsPlanning() }

    private func fill(_ jobs: [(job: UInt64, lane: UInt64, group: String)]) -> Scheduler {
        var scheduler = Scheduler()
        for (job, lane, group) in jobs {
            scheduler.enqueue(LogPosition(job), lane: LogPosition(lane), group: group)
        }
        return scheduler
    }

    @Test func onlyTheFirstOfALaneRuns() {
        var scheduler = fill([(1, 100, "a"), (2, 100, "a"), (3, 100, "a")])
        #expect(all(&scheduler) == [1])
        #expect(all(&scheduler) == [])
        scheduler.release(LogPosition(2))
        #expect(all(&scheduler) == [], "only the job that holds the lane can release it")
        scheduler.release(LogPosition(1))
        #expect(all(&scheduler) == [2])
        scheduler.remove(LogPosition(2))
        #expect(all(&scheduler) == [3])
    }

    @Test func lanesRunInParallel() {
        var scheduler = fill([(1, 100, "a"), (2, 101, "a"), (3, 102, "b")])
        #expect(Set(all(&scheduler)) == [1, 2, 3])
    }

    /// One client with a thousand jobs does not delay another with one.
    @Test func groupsTakeTurns() {
        var jobs: [(job: UInt64, lane: UInt64, group: String)] = (1...1000).map { ($0, 10_000 + $0, "busy") }
        jobs += [(2001, 1, "quiet"), (2002, 2, "quiet")]
        var scheduler = fill(jobs)
        #expect(all(&scheduler, limit: 4) == [1, 2001, 2, 2002])
        #expect(all(&scheduler, limit: 2) == [3, 4])
    }

    @Test func turnsGoOnFromOnePickToTheNext() {
        var scheduler = fill([(1, 1, "a"), (2, 2, "a"), (3, 3, "b"), (4, 4, "b")])
        #expect(all(&scheduler, limit: 1) == [1])
        #expect(all(&scheduler, limit: 1) == [3])
        #expect(all(&scheduler, limit: 2) == [2, 4])
    }

    @Test func capacityHoldsAGroupAndNobodyElse() {
        var scheduler = fill([(1, 1, "full"), (2, 2, "one"), (3, 3, "one"), (4, 4, "free"), (5, 5, "free")])
        let room = ["full": 0, "one": 1, "free": 9]
        let picked = scheduler.pick(limit: 100) { room[$0] ?? 0 }.map(\.rawValue)
        #expect(Set(picked) == [2, 4, 5])
        #expect(all(&scheduler) == [1, 3])
    }

    /// However many greedy groups there are, and however often they ask, who holds nothing finds a place.
    @Test(arguments: [1, 2, 8, 100, 500]) func greedyGroupsLeavePlacesToOthers(_ groups: Int) {
        let jobs = (0..<(groups * 300)).map { (job: UInt64($0 + 1), lane: UInt64($0 + 1), group: "\($0 / 300)") }
        var scheduler = fill(jobs)
        var held: [String: Int] = [:]
        var free = 512
        for _ in 0..<50 {
            let picked = scheduler.pick(limit: free, held: { held[$0, default: 0] }, capacity: { _ in 256 })
            for job in picked { held["\((job.rawValue - 1) / 300)", default: 0] += 1 }
            free -= picked.count
        }
        #expect(free > 0)
        #expect(free < 512)
        scheduler.enqueue(LogPosition(1_000_000), lane: LogPosition(1_000_000), group: "late")
        let next = scheduler.pick(limit: free, held: { held[$0, default: 0] }, capacity: { _ in 256 })
        #expect(next == [LogPosition(1_000_000)])
    }

    @Test func negativeCapacityIsNone() {
        var scheduler = fill([(1, 1, "a")])
        #expect(all(&scheduler, capacity: -3) == [])
        #expect(all(&scheduler, limit: 0) == [])
        #expect(all(&scheduler) == [1])
    }

    @Test func aRetryWaitsForItsTime() {
        var scheduler = fill([(1, 1, "a")])
        #expect(scheduler.nextTimer == nil)
        #expect(all(&scheduler) == [1])
        scheduler.retry(LogPosition(1), at: Timestamp(50))
        #expect(scheduler.nextTimer == Timestamp(50))
        scheduler.advance(to: Timestamp(49))
        #expect(all(&scheduler) == [])
        scheduler.advance(to: Timestamp(50))
        #expect(scheduler.nextTimer == nil)
        #expect(all(&scheduler) == [1])
        #expect(all(&scheduler) == [])
    }

    @Test func timersGoOffInOrder() {
        var scheduler = fill([(1, 1, "a"), (2, 2, "a"), (3, 3, "a")])
        _ = all(&scheduler)
        scheduler.retry(LogPosition(3), at: Timestamp(10))
        scheduler.retry(LogPosition(1), at: Timestamp(30))
        scheduler.retry(LogPosition(2), at: Timestamp(20))
        scheduler.advance(to: Timestamp(100))
        #expect(all(&scheduler) == [3, 2, 1])
    }

    /// Strict: a failed job keeps its lane. First attempt only: the next goes on while the failed one waits.
    @Test func holdingAndLettingGoOfALane() {
        for strict in [true, false] {
            var scheduler = fill([(1, 9, "a"), (2, 9, "a")])
            _ = all(&scheduler)
            scheduler.retry(LogPosition(1), at: Timestamp(50))
            if !strict { scheduler.release(LogPosition(1)) }
            #expect(all(&scheduler) == (strict ? [] : [2]))
            scheduler.advance(to: Timestamp(50))
            #expect(all(&scheduler) == [1])
            scheduler.remove(LogPosition(1))
            #expect(all(&scheduler) == (strict ? [2] : []))
        }
    }

    /// A job that let go of its lane and fails again does not let another in beside the one that runs.
    @Test func aSecondReleaseDoesNothing() {
        var scheduler = fill([(1, 9, "a"), (2, 9, "a"), (3, 9, "a")])
        _ = all(&scheduler)
        scheduler.release(LogPosition(1))
        #expect(all(&scheduler) == [2])
        scheduler.release(LogPosition(1))
        #expect(all(&scheduler) == [])
        scheduler.remove(LogPosition(2))
        #expect(all(&scheduler) == [3])
    }

    @Test func removingWhereverTheJobIs() {
        var scheduler = fill([(1, 9, "a"), (2, 9, "a"), (3, 9, "a"), (4, 8, "a")])
        scheduler.remove(LogPosition(2))
        scheduler.remove(LogPosition(4))
        #expect(all(&scheduler) == [1])
        scheduler.remove(LogPosition(1))
        #expect(all(&scheduler) == [3], "the one in the middle is gone")
        scheduler.retry(LogPosition(3), at: Timestamp(5))
        scheduler.remove(LogPosition(3))
        scheduler.advance(to: Timestamp(10))
        #expect(all(&scheduler) == [], "a removed job's timer rings for nobody")
        scheduler.remove(LogPosition(3))
        scheduler.retry(LogPosition(3), at: Timestamp(1))
        #expect(scheduler.nextTimer == nil)
    }

    @Test func removingTheFirstBeforeItRanLetsTheNextIn() {
        var scheduler = fill([(1, 9, "a"), (2, 9, "a")])
        scheduler.remove(LogPosition(1))
        #expect(all(&scheduler) == [2])
    }

    /// A lane that ran empty can be used again.
    @Test func anEmptiedLaneTakesNewJobs() {
        var scheduler = fill([(1, 9, "a")])
        _ = all(&scheduler)
        scheduler.remove(LogPosition(1))
        scheduler.enqueue(LogPosition(2), lane: LogPosition(9), group: "a")
        #expect(all(&scheduler) == [2])
    }

    /// Folding a log calls neither `pick` nor `advance`: `started` has to do what they would have done.
    @Test func aFoldedStartTakesTheJobOutOfReady() {
        var scheduler = fill([(1, 1, "a"), (2, 2, "a"), (3, 3, "a")])
        scheduler.started(LogPosition(2))
        #expect(all(&scheduler) == [1, 3])
    }

    @Test func aFoldedStartTakesTheJobOutOfTheTimers() {
        var scheduler = fill([(1, 1, "a")])
        scheduler.started(LogPosition(1))
        scheduler.retry(LogPosition(1), at: Timestamp(10))
        scheduler.started(LogPosition(1))
        scheduler.advance(to: Timestamp(20))
        #expect(all(&scheduler) == [])
    }

    /// After a restart a job that failed twice is offered twice at once, so one SMS is sent twice.
    @Test func aFoldedHistoryOffersAJobOnce() {
        var scheduler = fill([(1, 1, "a")])
        scheduler.started(LogPosition(1))
        scheduler.retry(LogPosition(1), at: Timestamp(10))
        scheduler.started(LogPosition(1))
        scheduler.retry(LogPosition(1), at: Timestamp(30))
        scheduler.advance(to: Timestamp(40))
        #expect(all(&scheduler) == [1])
    }

    // MARK: Waking the planner

    @Test func thePlannerIsWokenOnceForWhatIsNew() {
        var scheduler = fill([(1, 1, "a"), (2, 2, "a")])
        #expect(needsPlanning(&scheduler))
        #expect(!needsPlanning(&scheduler))
        _ = all(&scheduler)
        scheduler.enqueue(LogPosition(3), lane: LogPosition(1), group: "a")
        #expect(!needsPlanning(&scheduler), "the lane is taken")
        scheduler.remove(LogPosition(1))
        #expect(needsPlanning(&scheduler))
    }

    @Test func freedCapacityWakesWhoWaitsForIt() {
        var scheduler = fill([(1, 1, "a"), (2, 2, "a")])
        _ = scheduler.takeNeedsPlanning()
        #expect(all(&scheduler, capacity: 1) == [1])
        #expect(!needsPlanning(&scheduler))
        scheduler.capacityChanged()
        #expect(needsPlanning(&scheduler))
    }

    /// What the overall limit left lying waits for anybody's end, not for one of its own group.
    @Test func anyEndWakesWhomTheLimitHeldBack() {
        var scheduler = fill([(1, 1, "a"), (2, 2, "b")])
        _ = scheduler.takeNeedsPlanning()
        #expect(all(&scheduler, limit: 1) == [1])
        scheduler.capacityChanged()
        #expect(needsPlanning(&scheduler))
    }

    // MARK: Two lanes that become one

    private func merged(_ change: (inout Scheduler) -> Void = { _ in }) -> Scheduler {
        var scheduler = fill([(1, 100, "a"), (2, 200, "a"), (3, 100, "a"), (4, 200, "a")])
        change(&scheduler)
        scheduler.merge(lane: LogPosition(200), into: LogPosition(100))
        return scheduler
    }

    private func end(_ scheduler: inout Scheduler, _ job: UInt64) { scheduler.remove(LogPosition(job)) }

    @Test func mergedLanesKeepOneOrder() {
        var scheduler = merged()
        for job in 1...4 as ClosedRange<UInt64> {
            #expect(all(&scheduler) == [job])
            scheduler.started(LogPosition(job))
            #expect(all(&scheduler) == [])
            end(&scheduler, job)
        }
    }

    @Test func whatRunsWhenLanesMergeHoldsTheOther() {
        var scheduler = merged { scheduler in
            #expect(Set(all(&scheduler)) == [1, 2])
            scheduler.started(LogPosition(2))
        }
        #expect(!scheduler.mayStart(LogPosition(1)) && !scheduler.mayStart(LogPosition(3)))
        #expect(all(&scheduler) == [])
        end(&scheduler, 2)
        #expect(scheduler.mayStart(LogPosition(1)))
        #expect(all(&scheduler) == [1])
        end(&scheduler, 1)
        #expect(all(&scheduler) == [3])
    }

    @Test func whatRunsWhenLanesMergeHasItsTurnAgainInOrder() {
        var scheduler = merged { scheduler in
            #expect(Set(all(&scheduler)) == [1, 2])
            scheduler.started(LogPosition(1))
            scheduler.started(LogPosition(2))
        }
        scheduler.retry(LogPosition(2), at: Timestamp(50))
        scheduler.advance(to: Timestamp(60))
        #expect(all(&scheduler) == [], "the first still runs")
        scheduler.retry(LogPosition(1), at: Timestamp(100))
        scheduler.advance(to: Timestamp(99))
        #expect(all(&scheduler) == [])
        scheduler.advance(to: Timestamp(100))
        #expect(all(&scheduler) == [1])
        end(&scheduler, 1)
        scheduler.advance(to: Timestamp(100))
        #expect(all(&scheduler) == [2])
    }

    @Test func theFirstThatWaitsForATimeIsHeldByWhatRuns() {
        var scheduler = merged { scheduler in
            #expect(Set(all(&scheduler)) == [1, 2])
            scheduler.started(LogPosition(1))
            scheduler.started(LogPosition(2))
            scheduler.retry(LogPosition(1), at: Timestamp(10))
        }
        scheduler.advance(to: Timestamp(20))
        #expect(all(&scheduler) == [])
        end(&scheduler, 2)
        scheduler.advance(to: Timestamp(20))
        #expect(all(&scheduler) == [1])
    }

    @Test func aRetryOfTheOtherLaneKeepsItsTime() {
        var scheduler = merged { scheduler in
            #expect(Set(all(&scheduler)) == [1, 2])
            scheduler.started(LogPosition(2))
            scheduler.retry(LogPosition(2), at: Timestamp(1000))
        }
        #expect(scheduler.mayStart(LogPosition(1)))
        scheduler.advance(to: Timestamp(1000))
        #expect(all(&scheduler) == [], "its turn is yet to come")
        end(&scheduler, 1)
        scheduler.advance(to: Timestamp(1000))
        #expect(all(&scheduler) == [2])
    }

    /// As a failed delivery does that is not waited for.
    @Test func whatRunsWhenLanesMergeMayStepAside() {
        var scheduler = merged { scheduler in
            #expect(Set(all(&scheduler)) == [1, 2])
            scheduler.started(LogPosition(2))
        }
        scheduler.release(LogPosition(2))
        scheduler.retry(LogPosition(2), at: Timestamp(10))
        #expect(all(&scheduler) == [1])
        scheduler.advance(to: Timestamp(10))
        #expect(all(&scheduler) == [2])
        end(&scheduler, 2)
        end(&scheduler, 1)
        #expect(all(&scheduler) == [3])
    }

    @Test func aLaneIsMergedIntoAnEmptyOne() {
        var scheduler = fill([(1, 200, "a"), (2, 200, "a")])
        scheduler.merge(lane: LogPosition(200), into: LogPosition(100))
        #expect(all(&scheduler) == [1])
        end(&scheduler, 1)
        scheduler.enqueue(LogPosition(3), lane: LogPosition(100), group: "a")
        #expect(all(&scheduler) == [2])
        end(&scheduler, 2)
        #expect(all(&scheduler) == [3])
    }
}
