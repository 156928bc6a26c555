import Log
import Synchronization
import TestSupport
import Testing

/// The clock over clocks of a machine that a test moves.
@Suite struct GuardedClockTests {
    private final class Machine: Sendable {
        private let clocks = Mutex((wall: UInt64(1_800_000_000_000_000_000), boot: UInt64(77)))
        private let pause = Mutex(UInt64(0))

        var sources: ClockSources {
            ClockSources(wall: { self.wall }, boot: { self.boot }, bootID: [UInt8](repeating: 1, count: 16))
        }

        var wall: UInt64 {
            // The machine is suspended just before the wall clock is read.
            let pause = self.pause.withLock { pause in
                defer { pause = 0 }
                return pause
            }
            if pause > 0 { pass(pause) }
            return clocks.withLock { $0.wall }
        }

        var boot: BootTime { clocks.withLock { BootTime(nanoseconds: $0.boot) } }

        func pass(_ nanoseconds: UInt64) {
            clocks.withLock { $0 = ($0.wall + nanoseconds, $0.boot + nanoseconds) }
        }

        func set(back nanoseconds: UInt64) { clocks.withLock { $0.wall -= nanoseconds } }
        func set(ahead nanoseconds: UInt64) { clocks.withLock { $0.wall += nanoseconds } }
        func suspendAtNextReading(_ nanoseconds: UInt64) { pause.withLock { $0 = nanoseconds } }
    }

    private static let hour: UInt64 = 3_600_000_000_000

    @Test func tellsOfEachJumpOnce() {
        let machine = Machine()
        let clock = GuardedClock(machine.sources)
        let start = clock.now
        #expect(clock.takeJumps().isEmpty)
        machine.set(back: Self.hour)
        machine.pass(1_000)
        #expect(clock.now == start + 1_000)
        #expect(clock.takeJumps().map(\.nanoseconds) == [-Int64(Self.hour)])
        #expect(clock.takeJumps().isEmpty)
        machine.set(ahead: Self.hour)
        #expect(clock.takeJumps().map(\.nanoseconds) == [Int64(Self.hour)])
        #expect(clock.status.jumps == 2)
    }

    @Test func saysHowFarItIsBehind() {
        let machine = Machine()
        let clock = GuardedClock(machine.sources)
        machine.set(ahead: Self.hour)
        #expect(clock.status.behind == Int64(Self.hour))
        machine.pass(Self.hour)
        #expect(clock.status.behind == Int64(Self.hour - Self.hour / 10))
        #expect(clock.wall == machine.wall)
    }

    /// Both clocks stand while a virtual machine is away, or both go on: a reading that is torn by it is no jump.
    @Test func aPauseBetweenTwoReadingsIsNoJump() {
        let machine = Machine()
        let clock = GuardedClock(machine.sources)
        machine.suspendAtNextReading(Self.hour)
        let now = clock.now
        #expect(clock.takeJumps().isEmpty)
        #expect(now == machine.wall)
    }

    @Test func goesOnFromAMark() {
        let machine = Machine()
        let first = GuardedClock(machine.sources)
        let mark = first.mark
        #expect(mark.time == mark.wall)
        machine.pass(Self.hour)
        machine.set(ahead: 24 * Self.hour)
        let second = GuardedClock(machine.sources)
        second.resume(after: mark, last: mark.time)
        #expect(second.now == mark.time + Self.hour)
        #expect(second.takeJumps().map(\.nanoseconds) == [24 * Int64(Self.hour)])
    }

    @Test func jumpsThatNobodyTakesDoNotFillTheMemory() {
        let machine = Machine()
        let clock = GuardedClock(machine.sources)
        for _ in 0..<200 {
            machine.set(ahead: Self.hour)
            _ = clock.now
        }
        #expect(clock.status.jumps == 200)
        #expect(clock.takeJumps().count == 64)
    }

    /// The clocks of this machine, as far as a test may say anything about them.
    @Test func theMachineHasClocks() {
        let clock = GuardedClock()
        #expect(ClockSources.system.bootID.count == 16)
        let before = clock.now
        #expect(clock.now >= before)
        #expect(before > 1_700_000_000_000_000_000)
    }

    @Test func manyAskAtOnce() async {
        let clock = GuardedClock()
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    var before: UInt64 = 0
                    for _ in 0..<2_000 {
                        let now = clock.now
                        if now < before { return false }
                        before = now
                    }
                    return true
                }
            }
            for await isRising in group { #expect(isRising) }
        }
    }
}
