import Log
import Synchronization
import TestSupport

/// Takes one crash image just before a chosen changing call of a storage; the storage itself goes on.
final class CrashPoint: Sendable {
    private struct State {
        var callsLeft: Int
        var generator: SeededGenerator
        var image: SimulatedStorage?
        var log: EventLog?
        var acknowledged = LogPosition.zero
    }

    private let state: Mutex<State>
    private let options: CrashOptions

    init(after calls: Int, seed: UInt64, _ options: CrashOptions = CrashOptions()) {
        state = Mutex(State(callsLeft: calls, generator: SeededGenerator(seed: seed)))
        self.options = options
    }

    /// The image, once the call has come.
    var image: SimulatedStorage? { state.withLock { $0.image } }

    /// What the watched log had acknowledged when the image was taken.
    var acknowledged: LogPosition { state.withLock { $0.acknowledged } }

    func watch(_ log: EventLog) { state.withLock { $0.log = log } }

    /// For `SimulatedStorage.setHook`.
    var hook: SimulatedStorage.Hook {
        { [self] call, storage in
            guard call.changesSomething else { return nil }
            state.withLock { state in
                if state.callsLeft == 0 {
                    state.acknowledged = state.log?.durable ?? .zero
                    state.image = storage.crash(using: &state.generator, options)
                }
                state.callsLeft -= 1
            }
            return nil
        }
    }
}
