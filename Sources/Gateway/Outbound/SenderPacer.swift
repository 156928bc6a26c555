import Log
package import Projections
import Synchronization

/// Keeps a sender within its segments per second: a virtual clock per sender that each message moves on by its cost.
///
/// Kept in memory only: after a restart a sender may start at once, which costs at most one message's worth of rate.
package final class SenderPacer: Sendable {
    /// How much unused time a sender may make up for: the planner looks every 50 ms, and what it missed is not lost.
    private static let catchUp: UInt64 = 100_000_000
    private let free = Mutex<[SendQueue.Sender: Timestamp]>([:])

    package init() {}

    /// How many messages may start now, at most `most`. A rate of 0 is not paced.
    package func room(_ sender: SendQueue.Sender, perSecond: UInt64, now: Timestamp, most: Int) -> Int {
        if perSecond == 0 { return most }
        let next = free.withLock { $0[sender] } ?? now
        guard next <= now else { return 0 }
        let late = min(now.nanoseconds(since: next), SenderPacer.catchUp)
        return min(1 + Int(late / max(1_000_000_000 / perSecond, 1)), most)
    }

    package func charge(_ sender: SendQueue.Sender, segments: UInt64, perSecond: UInt64, now: Timestamp) {
        if perSecond == 0 { return }
        let cost = max(segments, 1) * 1_000_000_000 / perSecond
        free.withLock { free in
            let earliest = now.moved(backByNanoseconds: SenderPacer.catchUp)
            let start = max(free[sender] ?? now, earliest)
            free[sender] = start.advanced(byNanoseconds: cost)
        }
    }
}
