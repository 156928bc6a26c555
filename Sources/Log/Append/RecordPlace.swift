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
    func fill(_ drafts: [RecordDraft]) {
        guard let group else { return }
        // Keys and plaintexts pass through the stack, not deep: all calls below are leaves.
        let seals = drafts.contains { if case .unsealed = $0.section { true } else { false } }
        defer { if seals { Crypto.eraseStack(8 << 10) } }
        let sealer = BoxSealer()
        var offset = 0
        for (index, draft) in drafts.enumerated() {
            let end = offset + draft.encodedSize
            draft.encode(
                position: first.advanced(by: index),
                time: firstTime + UInt64(index),
                sealer: sealer,
                into: UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<end])
            )
            offset = end
        }
        group.filled()
    }
}

/// Records that have their positions in the log and no bytes yet.
///
/// The writer waits for `fill`, which is therefore called at once; whoever forgets it lets go of this, and then it happens.
package final class Reservation: Sendable {
    /// The position of the last record; of the record before when there are none.
    package let last: LogPosition
    private let drafts: [RecordDraft]
    private let place: RecordPlace
    private let isFilled = Atomic<Bool>(false)
    /// Told once the bytes are there.
    private let done: @Sendable () -> Void

    init(_ drafts: [RecordDraft], _ place: RecordPlace, done: @escaping @Sendable () -> Void) {
        self.drafts = drafts
        self.place = place
        self.done = done
        last = place.last(of: drafts)
    }

    deinit { fill() }

    /// Seals, hashes and writes the records into the group that fills. Holds no lock, so that many can do it at once.
    package func fill() {
        guard !isFilled.exchange(true, ordering: .relaxed) else { return }
        place.fill(drafts)
        done()
    }
}
