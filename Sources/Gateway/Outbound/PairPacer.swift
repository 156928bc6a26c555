package import Log
package import Projections
import Synchronization

/// Keeps what goes to one WhatsApp customer within what WhatsApp allows a pair of numbers: one message in six seconds, with a
/// burst of 45 borrowed from the time to come (`reference/channels.md` section E.4, error 131056). Whoever is over it waits
/// here, by himself, instead of being refused there.
///
/// The generic cell rate algorithm (ITU-T I.371): a clock per pair that each message moves on by its interval, and that may
/// be ahead of the time by the burst. Kept in memory only, as the pace of senders is.
package final class PairPacer: Sendable {
    private static let interval: UInt64 = 6_000_000_000
    private static let burst: UInt64 = 45
    /// Pairs remembered before those are forgotten whose time has caught up with them.
    private static let countMax = 10_000

    private let clocks = Mutex<[LogPosition: Timestamp]>([:])

    package init() {}

    /// When the next message to this customer may go out; nil for now.
    package func nextTime(_ conversation: LogPosition, now: Timestamp) -> Timestamp? {
        guard let clock = clocks.withLock({ $0[conversation] }) else { return nil }
        let allowed = clock.moved(backByNanoseconds: (PairPacer.burst - 1) * PairPacer.interval)
        return allowed > now ? allowed : nil
    }

    package func charge(_ conversation: LogPosition, now: Timestamp) {
        clocks.withLock { clocks in
            if clocks.count >= PairPacer.countMax { clocks = clocks.filter { $0.value > now } }
            clocks[conversation] = max(clocks[conversation] ?? now, now).advanced(byNanoseconds: PairPacer.interval)
        }
    }
}
