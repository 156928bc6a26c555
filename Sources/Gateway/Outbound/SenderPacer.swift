import Log
package import Projections
import Synchronization

/// Keeps a sender within its segments per second: a virtual clock per sender that each message moves on by its cost.
///
/// Kept in memory only: after a restart a sender may start at once, which costs at most one message's worth of rate.
package final class SenderPacer: Sendable {
    private let free = Mutex<[SendQueue.Sender: Timestamp]>([:])

    package init() {}

    /// How many messages may start now, at most `most`. A rate of 0 is not paced.
    package func room(_ sender: SendQueue.Sender, perSecond: UInt64, now: Timestamp, most: Int) -> Int {
        if perSecond == 0 { return most }
        let next = free.withLock { $0[sender] } ?? now
        return next <= now ? min(1, most) : 0
    }

    package func charge(_ sender: SendQueue.Sender, segments: UInt64, perSecond: UInt64, now: Timestamp) {
        if perSecond == 0 { return }
        let cost = max(segments, 1) * 1_000_000_000 / perSecond
        free.withLock { free in
            let start = max(free[sender] ?? now, now)
            free[sender] = Timestamp(start.nanoseconds + cost)
        }
    }
}
