/// A moment as three clocks show it: the time that Waybill goes by, the boot clock and the wall clock. A record that holds one
/// lets the next process on the same boot go on from it.
package struct ClockMark: Equatable, Sendable {
    /// UTC nanoseconds by which events are dated.
    package let time: UInt64
    package let boot: BootTime
    package let bootID: [UInt8]
    /// What the wall clock showed.
    package let wall: UInt64

    package init(time: UInt64, boot: BootTime, bootID: [UInt8], wall: UInt64) {
        self.time = time
        self.boot = boot
        self.bootID = bootID
        self.wall = wall
    }
}

/// The wall clock was set anew: what it should have shown, and what it showed, when the boot clock was at `boot`.
package struct ClockJump: Equatable, Sendable {
    package let expected: UInt64
    package let wall: UInt64
    package let boot: BootTime

    package init(expected: UInt64, wall: UInt64, boot: BootTime) {
        self.expected = expected
        self.wall = wall
        self.boot = boot
    }

    /// The same jump as seen at a later moment of the boot clock.
    package func moved(to later: BootTime) -> ClockJump {
        let passed = ClockArithmetic.distance(later.nanoseconds, from: boot.nanoseconds)
        return ClockJump(
            expected: ClockArithmetic.move(expected, by: passed),
            wall: ClockArithmetic.move(wall, by: passed),
            boot: later
        )
    }

    /// How far the wall clock moved, in nanoseconds; negative when it was set back.
    package var nanoseconds: Int64 { ClockArithmetic.distance(wall, from: expected) }
}

/// The rule by which time goes on, without any clock: with the boot clock, and towards the wall clock by at most a tenth of the
/// time that passes. So it runs at 0.9 to 1.1 times the speed of the boot clock and never goes back, wherever the wall clock is
/// set. How often it is asked changes nothing of that.
package struct SteadyTime: Equatable, Sendable {
    /// A wall clock that moved further than this against the boot clock, in nanoseconds, has jumped.
    package static let jump: UInt64 = 60_000_000_000
    /// Of the time that passes, how much the time may be moved.
    private static let share: UInt64 = 10

    /// UTC nanoseconds.
    package private(set) var time: UInt64
    package private(set) var boot: BootTime
    /// How far the wall clock is ahead because of jumps that are known of; negative when it is behind.
    private var noted: Int64

    /// Time begins where the wall clock is.
    package init(wall: UInt64, boot: BootTime) {
        time = ClockArithmetic.clamp(wall)
        self.boot = boot
        noted = 0
    }

    private init(_ mark: ClockMark) {
        time = mark.time
        boot = mark.boot
        noted = ClockArithmetic.distance(mark.wall, from: mark.time)
    }

    /// Time goes on where an earlier process left it.
    ///
    /// On the same boot the boot clock says how much time has passed since the mark. After another boot only the wall clock can
    /// say it, and it is believed as long as it is not before the last record.
    ///
    /// - Parameters:
    ///   - last: the time of the last record; 0 when there is none.
    ///   - jump: what the wall clock did meanwhile, if it jumped.
    package init(
        after mark: ClockMark?,
        last: UInt64,
        wall: UInt64,
        boot: BootTime,
        bootID: [UInt8],
        jump: inout ClockJump?
    ) {
        guard let mark, !bootID.isEmpty, mark.bootID == bootID, mark.boot <= boot else {
            self.init(wall: max(ClockArithmetic.clamp(wall), last), boot: boot)
            time = max(time, last)
            jump = advance(wall: wall, boot: boot)
            return
        }
        self.init(mark)
        jump = advance(wall: wall, boot: boot)
        guard time < last else { return }
        let followed = ClockArithmetic.distance(last, from: time)
        time = last
        guard let found = jump else { return }
        noted = ClockArithmetic.distance(ClockArithmetic.clamp(wall), from: last)
        // Many small settings of the wall clock that the process before had followed are no jump.
        if found.nanoseconds.magnitude <= SteadyTime.jump + followed.magnitude {
            noted = 0
            jump = nil
        }
    }

    /// Goes on to a reading of both clocks.
    ///
    /// - Returns: the jump that this reading is the first to show.
    package mutating func advance(wall: UInt64, boot now: BootTime) -> ClockJump? {
        let wall = ClockArithmetic.clamp(wall)
        let passed = ClockArithmetic.distance(max(now, boot).nanoseconds, from: boot.nanoseconds)
        let base = max(time, ClockArithmetic.move(time, by: passed))
        boot = max(now, boot)
        let ahead = ClockArithmetic.distance(wall, from: base)
        let change = ClockArithmetic.difference(ahead, noted)
        if change.magnitude > SteadyTime.jump {
            // When it happened nobody knows: none of the time before counts as time to follow it in.
            time = base
            noted = ahead
            let expected = ClockArithmetic.move(base, by: ClockArithmetic.difference(ahead, change))
            return ClockJump(expected: expected, wall: wall, boot: boot)
        }
        let most = passed / Int64(SteadyTime.share)
        let step = min(max(ahead, -most), most)
        time = max(time, ClockArithmetic.move(base, by: step))
        forget(step, isThere: step == ahead)
        return nil
    }

    /// What was followed of a jump is no news when it is gone.
    private mutating func forget(_ step: Int64, isThere: Bool) {
        if isThere {
            noted = 0
        } else if noted > 0 {
            noted = max(0, noted - max(step, 0))
        } else {
            noted = min(0, noted - min(step, 0))
        }
    }
}

/// Arithmetic on nanoseconds that saturates. Times end in the year 2262, where 63 bits do, so that what comes after the last
/// time can still be told from it.
enum ClockArithmetic {
    static func clamp(_ time: UInt64) -> UInt64 { min(time, UInt64(Int64.max)) }

    /// How far `time` is after `other`; negative when it is before.
    static func distance(_ time: UInt64, from other: UInt64) -> Int64 {
        time >= other ? Int64(clamping: time - other) : -Int64(clamping: other - time)
    }

    static func difference(_ a: Int64, _ b: Int64) -> Int64 {
        let (difference, overflow) = a.subtractingReportingOverflow(b)
        return overflow ? (a < 0 ? -.max : .max) : difference
    }

    static func move(_ time: UInt64, by distance: Int64) -> UInt64 {
        if distance < 0 { return time - min(time, distance.magnitude) }
        let (sum, overflow) = time.addingReportingOverflow(distance.magnitude)
        return clamp(overflow ? .max : sum)
    }
}
