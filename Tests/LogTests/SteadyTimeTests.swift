import Log
import TestSupport
import Testing

/// The rule by which time goes on, over wall clocks that may go anywhere.
@Suite struct SteadyTimeTests {
    private static let second: UInt64 = 1_000_000_000
    private static let start = 1_800_000_000 * second
    private static let day = 86_400 * second
    private static let jumps: [Int64] = [1, 3600, 86_400, 8 * 86_400].flatMap { [$0, -$0] }

    private static func moved(_ time: UInt64, _ seconds: Int64) -> UInt64 {
        seconds < 0 ? time - seconds.magnitude * second : time + seconds.magnitude * second
    }

    private static func at(_ nanoseconds: UInt64) -> BootTime { BootTime(nanoseconds: nanoseconds) }

    @Test func goesWithTheWallClockWhileThatDoesNotJump() {
        var steady = SteadyTime(wall: Self.start, boot: Self.at(0))
        for step in 1...1000 as ClosedRange<UInt64> {
            let jump = steady.advance(wall: Self.start + step * 7 * Self.second, boot: Self.at(step * 7 * Self.second))
            #expect(jump == nil)
            #expect(steady.time == Self.start + step * 7 * Self.second)
        }
    }

    @Test(arguments: jumps) func aJumpIsToldOnceAndFollowedByATenth(_ seconds: Int64) {
        var steady = SteadyTime(wall: Self.start, boot: Self.at(0))
        var told: [ClockJump] = []
        for step in 1...600 as ClosedRange<UInt64> {
            let passed = step * Self.second / 10
            if let jump = steady.advance(wall: Self.moved(Self.start + passed, seconds), boot: Self.at(passed)) {
                told.append(jump)
            }
            let moved =
                steady.time >= Self.start + passed
                ? steady.time - Self.start - passed : Self.start + passed - steady.time
            #expect(moved <= passed / 10)
            #expect(moved <= seconds.magnitude * Self.second)
        }
        #expect(told.count == (seconds.magnitude > 60 ? 1 : 0))
        for jump in told {
            #expect(jump.nanoseconds == seconds * Int64(Self.second))
            #expect(jump.expected == Self.start + Self.second / 10)
        }
    }

    @Test(arguments: jumps) func theWayBackIsAJumpToo(_ seconds: Int64) {
        var steady = SteadyTime(wall: Self.start, boot: Self.at(0))
        let there = steady.advance(wall: Self.moved(Self.start + Self.second, seconds), boot: Self.at(Self.second))
        let back = steady.advance(wall: Self.start + 2 * Self.second, boot: Self.at(2 * Self.second))
        #expect((there != nil) == (seconds.magnitude > 60))
        #expect((back != nil) == (seconds.magnitude > 60))
        _ = steady.advance(wall: Self.start + 60 * Self.second, boot: Self.at(60 * Self.second))
        #expect(steady.time == Self.start + 60 * Self.second)
    }

    /// One day ahead it takes ten days, and then it is there and the next jump counts from there.
    @Test func followsToTheEnd() {
        var steady = SteadyTime(wall: Self.start, boot: Self.at(0))
        var told = 0
        for hour in 1...(11 * 24) as ClosedRange<UInt64> {
            let passed = hour * 3600 * Self.second
            if steady.advance(wall: Self.start + passed + Self.day, boot: Self.at(passed)) != nil { told += 1 }
        }
        #expect(told == 1)
        #expect(steady.time == Self.start + 11 * Self.day + Self.day)
        let passed = 11 * Self.day + Self.second
        #expect(steady.advance(wall: Self.start + passed, boot: Self.at(passed))?.nanoseconds == -Int64(Self.day))
    }

    /// However long nobody asked: of the time before a jump is seen, none is time to follow it in.
    @Test func whoAsksRarelyDoesNotTakeAJumpAtOnce() {
        var steady = SteadyTime(wall: Self.start, boot: Self.at(0))
        let passed = 30 * Self.day
        #expect(steady.advance(wall: Self.start + passed + Self.day, boot: Self.at(passed)) != nil)
        #expect(steady.time == Self.start + passed)
    }

    @Test func manySmallStepsAreOneJumpTogether() {
        var steady = SteadyTime(wall: Self.start, boot: Self.at(0))
        var told = 0
        for step in 1...5 as ClosedRange<UInt64> {
            if steady.advance(wall: Self.start + step * 30 * Self.second, boot: Self.at(step)) != nil { told += 1 }
        }
        #expect(told == 1)
    }

    /// Wherever both clocks go, time does not go back, and not faster or slower than it may.
    @Test(arguments: 0..<50 as Range<UInt64>) func staysWithinItsBounds(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var (wall, boot) = (UInt64.random(in: 0...(.max), using: &random), UInt64.random(in: 0...1_000, using: &random))
        if random.chance(0.7) { wall = Self.start }
        var steady = SteadyTime(wall: wall, boot: Self.at(boot))
        for _ in 0..<400 {
            let before = steady.time
            let passed = UInt64.random(in: 0...(random.chance(0.1) ? 40 * Self.day : 2 * Self.second), using: &random)
            boot += passed
            wall = wall &+ passed
            if random.chance(0.2) {
                let places = [0, 1, Self.start, UInt64(Int64.max), .max, wall &+ Self.day, wall &- Self.day, wall &+ 1]
                wall = places.randomElement(using: &random) ?? 0
            }
            // What another processor shows first may be older.
            let shown = random.chance(0.1) ? boot - min(boot, Self.second) : boot
            _ = steady.advance(wall: wall, boot: Self.at(shown))
            #expect(steady.time >= before)
            #expect(steady.time - before <= passed + passed / 10 + 2 * Self.second)
            if steady.time < UInt64(Int64.max), shown == boot { #expect(steady.boot == Self.at(boot)) }
        }
    }

    @Test func saturatesAtBothEnds() {
        var first = SteadyTime(wall: 0, boot: Self.at(0))
        #expect(first.advance(wall: .max, boot: Self.at(1))?.wall == UInt64(Int64.max))
        #expect(first.time == 1)
        var last = SteadyTime(wall: .max, boot: Self.at(0))
        #expect(last.advance(wall: 0, boot: Self.at(.max)) != nil)
        #expect(last.time == UInt64(Int64.max))
        #expect(last.advance(wall: .max, boot: Self.at(0)) != nil)
        #expect(last.time == UInt64(Int64.max))
    }

    // MARK: From one process to the next

    private static let bootID = [UInt8](repeating: 3, count: 16)

    private static func resumed(
        _ mark: ClockMark?,
        last: UInt64,
        wall: UInt64,
        boot: UInt64,
        bootID: [UInt8] = bootID
    ) -> (time: UInt64, jump: ClockJump?) {
        var jump: ClockJump?
        let steady = SteadyTime(after: mark, last: last, wall: wall, boot: at(boot), bootID: bootID, jump: &jump)
        return (steady.time, jump)
    }

    /// The wall clock jumped while no process ran, but the machine did.
    @Test(arguments: jumps) func aJumpAcrossARestartMovesNothing(_ seconds: Int64) {
        let mark = ClockMark(time: Self.start, boot: Self.at(5), bootID: Self.bootID, wall: Self.start)
        let passed = 30 * Self.day
        let there = Self.resumed(
            mark,
            last: Self.start + 1,
            wall: Self.moved(Self.start + passed, seconds),
            boot: 5 + passed
        )
        #expect((there.jump != nil) == (seconds.magnitude > 60))
        #expect(there.time == (seconds.magnitude > 60 ? Self.start + passed : Self.moved(Self.start + passed, seconds)))
    }

    /// A jump that is on record goes on being followed, and is not told again.
    @Test func aKnownJumpIsFollowedAcrossARestart() {
        let mark = ClockMark(
            time: Self.start,
            boot: Self.at(5),
            bootID: Self.bootID,
            wall: Self.start + Self.day
        )
        let passed = 5 * Self.day
        let there = Self.resumed(mark, last: Self.start + 1, wall: Self.start + passed + Self.day, boot: 5 + passed)
        #expect(there.jump == nil)
        #expect(there.time == Self.start + passed + passed / 10)
    }

    @Test func anotherBootBelievesTheWallClockButNotBeforeTheLastRecord() {
        let mark = ClockMark(time: Self.start, boot: Self.at(5), bootID: Self.bootID, wall: Self.start)
        let other = [UInt8](repeating: 4, count: 16)
        let later = Self.resumed(mark, last: Self.start, wall: Self.start + Self.day, boot: 9, bootID: other)
        #expect(later.time == Self.start + Self.day)
        #expect(later.jump == nil)
        let earlier = Self.resumed(mark, last: Self.start, wall: Self.start - Self.day, boot: 9, bootID: other)
        #expect(earlier.time == Self.start)
        #expect(earlier.jump?.nanoseconds == -Int64(Self.day))
        let little = Self.resumed(mark, last: Self.start, wall: Self.start - Self.second, boot: 9, bootID: other)
        #expect(little.time == Self.start)
        #expect(little.jump == nil)
    }

    /// A machine that was put back to an earlier state, one that does not say which boot it is, and a log of earlier versions.
    @Test func withoutABootClockThatGoesOnTheWallClockIsBelieved() {
        let mark = ClockMark(time: Self.start, boot: Self.at(5), bootID: Self.bootID, wall: Self.start)
        let wall = Self.start + 9 * Self.day
        #expect(Self.resumed(mark, last: Self.start, wall: wall, boot: 4).time == wall)
        let nameless = ClockMark(time: Self.start, boot: Self.at(5), bootID: [], wall: Self.start)
        #expect(Self.resumed(nameless, last: Self.start, wall: wall, boot: 6, bootID: []).time == wall)
        #expect(Self.resumed(nil, last: Self.start, wall: wall, boot: 6).time == wall)
        #expect(Self.resumed(nil, last: 0, wall: wall, boot: 6).time == wall)
    }

    /// The process before followed small steps, of which the mark knows nothing.
    @Test func smallStepsSinceTheMarkAreNoJump() {
        let mark = ClockMark(time: Self.start, boot: Self.at(0), bootID: Self.bootID, wall: Self.start)
        let passed = 20 * Self.day
        let last = Self.start + passed + 99 * Self.second
        let there = Self.resumed(mark, last: last, wall: Self.start + passed + 100 * Self.second, boot: passed)
        #expect(there.jump == nil)
        #expect(there.time == last)
    }

    /// Of a jump that was followed for a while after its mark, the way back is a jump all the same.
    @Test func theWayBackAcrossARestartIsAJump() {
        let mark = ClockMark(time: Self.start, boot: Self.at(0), bootID: Self.bootID, wall: Self.start + Self.day)
        let passed = 10 * Self.second
        let last = Self.start + passed + Self.second
        let there = Self.resumed(mark, last: last, wall: Self.start + passed, boot: passed)
        #expect(there.time == last)
        #expect(there.jump?.nanoseconds == -Int64(Self.day))
    }
}
