import Synchronization
import UnixSignals

/// SIGINT and SIGTERM as a question, for a command that cleans up after itself. A second one ends it at once.
final class Interruption: Sendable {
    private let wasAsked = Atomic(false)

    /// Whether the command is to come to an end.
    var isAsked: Bool { wasAsked.load(ordering: .relaxed) }

    /// From here on the signals do not end the process by themselves.
    static func watch() async -> Interruption {
        let interruption = Interruption()
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        Task {
            for await _ in signals {
                if interruption.isAsked { Output.leave(1) }
                interruption.wasAsked.store(true, ordering: .relaxed)
            }
        }
        return interruption
    }
}
