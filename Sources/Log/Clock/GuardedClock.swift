import Synchronization

/// The one clock that a process goes by. Whoever dates, compares or waits for a time of day asks it, and nobody else reads the
/// machine's clocks: `scripts/check-clocks` looks for that.
///
/// It is the boot clock, anchored to the wall clock and drawn towards it slowly (`SteadyTime`): a wall clock that is set anew, by
/// hand, by a leap second or after a machine was suspended, neither fires nor stalls a timer.
package final class GuardedClock: Sendable {
    private struct State: Sendable {
        var steady: SteadyTime
        /// How far the wall clock was ahead when it was last read, in nanoseconds.
        var ahead = Int64(0)
        var jumps = 0
        /// Those not on record yet, the newest at the end.
        var unrecorded: [ClockJump] = []
    }

    package struct Status: Equatable, Sendable {
        /// How often the wall clock jumped since the process began, and across its start.
        package let jumps: Int
        /// How far the time is behind the wall clock, in nanoseconds; negative when it is ahead of it.
        package let behind: Int64
    }

    /// Nobody may fill the memory with jumps that nobody can put on record.
    private static let unrecordedMax = 64
    /// The two clocks cannot be read at once. When the readings lie further apart than this, they are read again.
    private static let apart = Duration.milliseconds(1)

    private let sources: ClockSources
    private let state: Mutex<State>

    package init(_ sources: ClockSources = .system) {
        self.sources = sources
        let (wall, boot) = GuardedClock.read(sources)
        state = Mutex(State(steady: SteadyTime(wall: wall, boot: boot)))
    }

    /// UTC nanoseconds since 1970. Never goes back.
    package var now: UInt64 { state.withLock { advance(&$0).time } }

    /// `now` and what it comes from.
    package var mark: ClockMark { state.withLock { advance(&$0) } }

    /// For whoever wants a clock of his own, and that is only `now`.
    package var reader: @Sendable () -> UInt64 { { self.now } }

    /// UTC nanoseconds as the machine is set, which may go anywhere. Only for what others compare with their own clocks: the
    /// signature time of outgoing webhooks.
    package var wall: UInt64 { ClockArithmetic.clamp(sources.wall()) }

    package var status: Status {
        state.withLock { state in
            _ = advance(&state)
            return Status(jumps: state.jumps, behind: state.ahead)
        }
    }

    /// Goes on from where the process before ended, if that is known. Before anything is dated.
    ///
    /// - Parameters:
    ///   - mark: the newest in the history.
    ///   - last: the time of the last record; `now` is not before it.
    package func resume(after mark: ClockMark?, last: UInt64) {
        state.withLock { state in
            let (wall, boot) = GuardedClock.read(sources)
            var jump: ClockJump?
            state.steady = SteadyTime(
                after: mark,
                last: last,
                wall: wall,
                boot: boot,
                bootID: sources.bootID,
                jump: &jump
            )
            note(jump, wall, &state)
        }
    }

    /// The jumps that are to be put on record; each is given out once.
    package func takeJumps() -> [ClockJump] {
        state.withLock { state in
            _ = advance(&state)
            defer { state.unrecorded = [] }
            return state.unrecorded
        }
    }

    private func advance(_ state: inout State) -> ClockMark {
        let (wall, boot) = GuardedClock.read(sources)
        note(state.steady.advance(wall: wall, boot: boot), wall, &state)
        return ClockMark(time: state.steady.time, boot: boot, bootID: sources.bootID, wall: wall)
    }

    private func note(_ jump: ClockJump?, _ wall: UInt64, _ state: inout State) {
        state.ahead = ClockArithmetic.distance(wall, from: state.steady.time)
        guard let jump else { return }
        state.jumps += 1
        if state.unrecorded.count == GuardedClock.unrecordedMax { state.unrecorded.removeFirst() }
        state.unrecorded.append(jump)
    }

    private static func read(_ sources: ClockSources) -> (wall: UInt64, boot: BootTime) {
        var before = sources.boot()
        var wall = sources.wall()
        var after = sources.boot()
        // A machine that is suspended in between is no jump of its clock.
        for _ in 0..<3 where after.since(before) > apart {
            before = after
            wall = sources.wall()
            after = sources.boot()
        }
        return (ClockArithmetic.clamp(wall), after)
    }
}
