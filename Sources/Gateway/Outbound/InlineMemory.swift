package import Log
import Synchronization

/// How much memory the files that travel inside webhooks take together. Asked before an attempt begins: one without room has its
/// turn later. No client gets more than half of what is free, so those whose endpoints are slow leave some to others.
package final class InlineMemory: Sendable {
    private struct Share: Sendable {
        let client: LogPosition
        let bytes: Int
    }

    private let most: Int
    /// By the delivery that holds it.
    private let shares = Mutex<[LogPosition: Share]>([:])

    /// - Parameter most: in bytes.
    package init(most: Int = 512 << 20) { self.most = most }

    /// Whether there is room; then it is taken, until `give`.
    ///
    /// - Parameter bytes: what needs more than half of all counts as that half, so that it has its turn some time.
    package func take(_ bytes: Int, for delivery: LogPosition, of client: LogPosition) -> Bool {
        if bytes == 0 { return true }
        let bytes = min(bytes, most / 2)
        return shares.withLock { shares in
            let free = most - shares.values.reduce(0) { $0 + $1.bytes }
            let mine = shares.values.reduce(0) { $0 + ($1.client == client ? $1.bytes : 0) }
            guard mine + bytes <= (mine == 0 ? free : free / 2) else { return false }
            shares[delivery] = Share(client: client, bytes: bytes)
            return true
        }
    }

    /// Also for a delivery that holds nothing.
    package func give(_ delivery: LogPosition) { shares.withLock { _ = $0.removeValue(forKey: delivery) } }
}
