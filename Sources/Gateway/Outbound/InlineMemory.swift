import DequeModule
import Synchronization

/// How much memory the files that travel inside webhooks may take together. Who finds no room waits, in the order of arrival, so
/// that one with large files is not passed over for ever.
final class InlineMemory: Sendable {
    private struct State {
        var free: Int
        var waiting: Deque<(bytes: Int, continuation: CheckedContinuation<Void, Never>)> = []
    }

    private let most: Int
    private let state: Mutex<State>

    /// - Parameter most: in bytes. What needs more than that gets all of it.
    init(most: Int = 256 << 20) {
        self.most = most
        state = Mutex(State(free: most))
    }

    func withRoom<T>(_ bytes: Int, _ body: () async -> T) async -> T {
        if bytes == 0 { return await body() }
        let bytes = min(bytes, most)
        await take(bytes)
        defer { give(bytes) }
        return await body()
    }

    private func take(_ bytes: Int) async {
        await withCheckedContinuation { continuation in
            let hasRoom = state.withLock { state in
                guard state.waiting.isEmpty, state.free >= bytes else {
                    state.waiting.append((bytes, continuation))
                    return false
                }
                state.free -= bytes
                return true
            }
            if hasRoom { continuation.resume() }
        }
    }

    private func give(_ bytes: Int) {
        let next = state.withLock { state in
            state.free += bytes
            var next: [CheckedContinuation<Void, Never>] = []
            while let first = state.waiting.first, first.bytes <= state.free {
                state.free -= first.bytes
                next.append(first.continuation)
                state.waiting.removeFirst()
            }
            return next
        }
        for continuation in next { continuation.resume() }
    }
}
