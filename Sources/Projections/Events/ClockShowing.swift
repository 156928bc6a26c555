package import Log

/// An event that says what the clocks showed when it was recorded, so that the next process on the same boot of the machine can
/// go on from there. Records of earlier versions do not say it.
package protocol ClockShowing {
    /// Tells one boot from the next; empty where that is not known.
    var bootId: RawBytes { get set }
    var bootNanoseconds: UInt64 { get set }
    var wall: Timestamp { get set }
}

extension ClockShowing {
    package mutating func show(_ mark: ClockMark) {
        bootId = RawBytes(mark.bootID)
        bootNanoseconds = mark.boot.nanoseconds
        wall = Timestamp(mark.wall)
    }

    /// - Parameter time: the record's.
    func mark(at time: Timestamp) -> ClockMark? {
        guard !bootId.bytes.isEmpty else { return nil }
        return ClockMark(
            time: time.nanoseconds,
            boot: BootTime(nanoseconds: bootNanoseconds),
            bootID: bootId.bytes,
            wall: wall.nanoseconds
        )
    }
}

extension ProcessStarted: ClockShowing {}
extension ProcessStopped: ClockShowing {}

extension ClockJumped: ClockShowing {
    package var wall: Timestamp {
        get { wallAfter }
        set { wallAfter = newValue }
    }

    /// - Parameter mark: when it is recorded, which is a moment after it was seen.
    package init(_ jump: ClockJump, _ mark: ClockMark) {
        self.init()
        show(mark)
        let seen = jump.moved(to: mark.boot)
        wallBefore = Timestamp(seen.expected)
        wallAfter = Timestamp(seen.wall)
    }
}

extension EventRecord {
    /// What the clocks showed, where it says that.
    var clockMark: ClockMark? {
        switch event {
        case .processStarted(let event): event.mark(at: time)
        case .processStopped(let event): event.mark(at: time)
        case .clockJumped(let event): event.mark(at: time)
        default: nil
        }
    }
}
