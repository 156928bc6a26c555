import Log
import Projections
import Testing

/// What the history knows of the machine's clocks.
@Suite struct ClockMarkTests {
    private static let mark = ClockMark(
        time: 0,
        boot: BootTime(nanoseconds: 7_000_000_000),
        bootID: [UInt8](repeating: 9, count: 16),
        wall: 1_800_000_000_000_000_000
    )

    private func jumped(_ expected: UInt64, _ wall: UInt64) -> ClockJumped {
        ClockJumped(ClockJump(expected: expected, wall: wall, boot: Self.mark.boot), Self.mark)
    }

    /// An earlier version says nothing of its clocks, and hides nothing of what is known.
    @Test func theNewestMarkIsKept() throws {
        var world = World()
        var started = ProcessStarted()
        started.version = "earlier"
        world.apply(.processStarted(started))
        #expect(world.state.clock == nil)
        started.show(Self.mark)
        world.apply(.processStarted(started))
        let time = world.state.time
        #expect(world.state.clock?.time == time.nanoseconds)
        #expect(world.state.clock?.boot == Self.mark.boot)
        #expect(world.state.clock?.bootID == Self.mark.bootID)
        #expect(world.state.clock?.wall == Self.mark.wall)
        world.apply(.processStarted(ProcessStarted()))
        world.apply(.processStopped(ProcessStopped()))
        #expect(world.state.clock?.time == time.nanoseconds)
        #expect(try world.rebuilt().agrees(with: world.state))
    }

    @Test func aJumpAndAStopAreMarks() {
        var world = World()
        world.apply(.clockJumped(jumped(1_000_000_000, 90_000_000_000)))
        #expect(world.state.clock?.wall == 90_000_000_000)
        #expect(world.state.clock?.boot == Self.mark.boot)
        var stopped = ProcessStopped()
        stopped.show(Self.mark)
        world.apply(.processStopped(stopped))
        #expect(world.state.clock?.wall == Self.mark.wall)
    }

    /// It is put on record a moment after it was seen: both its ends go on with the boot clock.
    @Test func aJumpIsDatedWhenItIsRecorded() {
        let boot = BootTime(nanoseconds: 5_000_000_000)
        let seen = ClockJump(expected: 10_000_000_000, wall: 110_000_000_000, boot: boot)
        let event = ClockJumped(seen, Self.mark)
        #expect(event.wallBefore == Timestamp(12_000_000_000))
        #expect(event.wallAfter == Timestamp(112_000_000_000))
        #expect(event.bootNanoseconds == 7_000_000_000)
    }
}
