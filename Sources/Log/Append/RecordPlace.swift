import Synchronization

/// Where records go that the log has accepted: their positions, times and memory in the group that fills.
///
/// `@unchecked Sendable`: `bytes` belong to whoever holds this until `fill` has returned, and `fill` is called once.
struct RecordPlace: @unchecked Sendable {
    /// The position of the first record.
    let first: LogPosition
    /// Its time in UTC nanoseconds; each further record is one nanosecond later.
    let firstTime: UInt64
    /// Nil for no records.
    var group: GroupBuffer?
    var bytes = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    /// The position of the last of the records that this is for; of the record before when there are none.
    func last(of drafts: [RecordDraft]) -> LogPosition {
        LogPosition(first.rawValue + UInt64(drafts.count) - 1)
    }

    /// Seals, hashes and writes the records into their place. Needs no lock.
    ///
    /// The writer goes on once this has said so, and then anybody may learn of the records, also who purges them: so the drafts
    /// are let go and the stack is overwritten before.
    func fill(_ drafts: consuming [RecordDraft]) {
        guard let group else { return }
        let seals = drafts.contains { if case .unsealed = $0.section { true } else { false } }
        write(drafts)
        drafts = []
        // Not deep: all that was called are leaves.
        if seals { Crypto.eraseStack(8 << 10) }
        group.filled()
    }

    /// Never inlined: what it leaves on the stack lies where `fill` overwrites it.
    @inline(never)
    private func write(_ drafts: borrowing [RecordDraft]) {
        let sealer = BoxSealer()
        var offset = 0
        for index in drafts.indices {
            let end = offset + drafts[index].encodedSize
            drafts[index].encode(
                position: first.advanced(by: index),
                time: firstTime + UInt64(index),
                sealer: sealer,
                into: UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<end])
            )
            offset = end
        }
    }
}

/// Records that have their positions in the log and no bytes yet.
///
/// The writer waits for `fill`, which is therefore called at once, and before anybody waits for one of the records. Whoever
/// forgets it lets go of this, and then it happens.
package final class Reservation: Sendable {
    /// The position of the last record; of the record before when there are none.
    package let last: LogPosition
    /// Nil once they have their bytes.
    private let drafts: Mutex<[RecordDraft]?>
    private let place: RecordPlace
    /// Told once the bytes are there.
    private let done: @Sendable () -> Void

    init(_ drafts: [RecordDraft], _ place: RecordPlace, done: @escaping @Sendable () -> Void) {
        self.drafts = Mutex(drafts)
        self.place = place
        self.done = done
        last = place.last(of: drafts)
    }

    deinit { fill() }

    /// Seals, hashes and writes the records into the group that fills. Holds no lock, so that many can do it at once.
    package func fill() {
        guard let drafts = drafts.withLock({ $0.take() }) else { return }
        place.fill(consume drafts)
        done()
    }
}
