import Log
import Synchronization

/// Lets readers of long lists and large pages in a few at a time, fair among clients. Who waits holds no lock and no thread. What is
/// sent and what comes in never waits here.
final class Readers: Sendable {
    private typealias Queue = FairQueue<LogPosition, UInt64>

    private struct State {
        var queue = Queue(Readers.limits)
        var next: UInt64 = 0
        var waiting: [UInt64: CheckedContinuation<Void, any Error>] = [:]
    }

    private static let limits = Queue.Limits(running: 4, runningPerMember: 2, waiting: 1_024, waitingPerMember: 256)
    private let state = Mutex(State())

    /// - Parameter client: the client whose lists are read; zero for operators.
    /// - Throws: `overloaded` when too many wait already.
    func run<Value>(_ client: LogPosition, _ body: () async throws -> Value) async throws -> Value {
        try await enter(client)
        defer { leave(client) }
        return try await body()
    }

    private func enter(_ client: LogPosition) async throws {
        let ticket = state.withLock { state in
            state.next += 1
            return state.next
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let entry = state.withLock { state in
                    // Cancelled before it came: the handler has run, or finds it.
                    if Task.isCancelled { return Queue.Entry?.none }
                    let entry = state.queue.enter(ticket, of: client)
                    if entry == .wait { state.waiting[ticket] = continuation }
                    return entry
                }
                switch entry {
                case .begin: continuation.resume()
                case .wait: break
                case .full: continuation.resume(throwing: Readers.full)
                case nil: continuation.resume(throwing: CancellationError())
                }
            }
        } onCancel: {
            let continuation = state.withLock { state in
                state.queue.cancel(ticket, of: client) ? state.waiting.removeValue(forKey: ticket) : nil
            }
            continuation?.resume(throwing: CancellationError())
        }
    }

    private func leave(_ client: LogPosition) {
        let begun = state.withLock { state in
            state.queue.leave(client).compactMap { state.waiting.removeValue(forKey: $0) }
        }
        for continuation in begun { continuation.resume() }
    }

    private static let full = GatewayError(.overloaded, "too many of this client's reads wait already", retryAfter: 1)
}
