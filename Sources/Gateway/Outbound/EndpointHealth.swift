import Log
import Synchronization

/// Which endpoints do not answer. One that timed out or could not be reached three times running may hold only a few places
/// until it answers again, so that dead endpoints together cannot fill all places and delay the living.
final class EndpointHealth: Sendable {
    private static let patience = 3
    private static let limitWhenSilent = 4
    private let silences = Mutex<[LogPosition: Int]>([:])

    func limit(_ client: LogPosition, most: Int) -> Int {
        let count = silences.withLock { $0[client] } ?? 0
        return count >= EndpointHealth.patience ? min(most, EndpointHealth.limitWhenSilent) : most
    }

    func note(_ client: LogPosition, answered: Bool) {
        silences.withLock { silences in
            if answered { silences[client] = nil } else { silences[client, default: 0] += 1 }
        }
    }
}
