import Log
import Synchronization
import TestSupport

/// Takes one crash image just before a chosen changing call of a storage; the storage itself goes on.
final class CrashPoint: Sendable {
    private struct State {
        var callsLeft: Int
        var generator: SeededGenerator
        var image: SimulatedStorage?
    }

    private let state: Mutex<State>
    private let options: CrashOptions

    init(after calls: Int, seed: UInt64, _ options: CrashOptions = CrashOptions()) {
        state = Mutex(State(callsLeft: calls, generator: SeededGenerator(seed: seed)))
        self.options = options
    }

    /// The image, once the call has come.
    var image: SimulatedStorage? { state.withLock { $0.image } }

    /// For `SimulatedStorage.setHook`.
    var hook: SimulatedStorage.Hook {
        { [self] call, storage in
            guard call.changesSomething else { return nil }
            state.withLock { state in
                if state.callsLeft == 0 { state.image = storage.crash(using: &state.generator, options) }
                state.callsLeft -= 1
            }
            return nil
        }
    }
}
