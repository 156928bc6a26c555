package import Log
import Synchronization

/// How much memory the files that travel inside webhooks take together. Asked before an attempt begins: one without room has its
/// turn later. No client gets more than half of what is free, so those whose endpoints are slow leave some to others.
package final class InlineMemory: Sendable {
    private struct Share: Sendable {
        let client: LogPosition
        let bytes: Int
    }

    private struct State: Sendable {
        /// By the delivery that holds it.
        var shares: [LogPosition: Share] = [:]
        /// What is kept for the delivery that found no room first, as long as it goes on asking; else smaller ones would take
        /// each gap before it.
        var claim: (delivery: LogPosition, bytes: Int, until: BootTime)?
    }

    /// Who is refused asks again within a second.
    private static let patience = Duration.seconds(5)

    private let most: Int
    private let state = Mutex(State())

    /// - Parameter most: in bytes.
    package init(most: Int = 512 << 20) { self.most = most }

    /// Whether there is room; then it is taken, until `give`.
    ///
    /// - Parameter bytes: what needs more than half of all counts as that half.
    package func take(_ bytes: Int, for delivery: LogPosition, of client: LogPosition) -> Bool {
        if bytes == 0 { return true }
        let (bytes, now) = (min(bytes, most / 2), BootTime.now)
        return state.withLock { state in
            if let claim = state.claim, claim.until < now || claim.delivery == delivery { state.claim = nil }
            let held = state.shares.values.reduce(0) { $0 + $1.bytes }
            let mine = state.shares.values.reduce(0) { $0 + ($1.client == client ? $1.bytes : 0) }
            let free = most - held - (state.claim?.bytes ?? 0)
            if mine + bytes <= (mine == 0 ? free : free / 2) {
                state.shares[delivery] = Share(client: client, bytes: bytes)
                return true
            }
            if state.claim == nil, mine == 0 {
                state.claim = (delivery, bytes, now.advanced(by: InlineMemory.patience))
            }
            return false
        }
    }

    /// Also for a delivery that holds nothing.
    package func give(_ delivery: LogPosition) { state.withLock { _ = $0.shares.removeValue(forKey: delivery) } }
}
