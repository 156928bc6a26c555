import Dispatch
import Log
import Synchronization
import TestSupport

/// Stops a log's writer thread before its next write, so that a test decides what gathers behind a flight.
///
/// The writer's first call of a flight is a write, either to a named segment or of a header into a prepared file; the
/// thread that prepares segments writes larger pieces and is let through.
final class WriterGate: Sendable {
    private let isHeld = Mutex(false)
    private let arrived = DispatchSemaphore(value: 0)
    private let released = DispatchSemaphore(value: 0)

    /// The next flight of the writer will wait.
    func hold() { isHeld.withLock { $0 = true } }

    /// Nothing came that could be held.
    func forget() { isHeld.withLock { $0 = false } }

    /// Blocks until the writer waits; something must have been appended. False when it does not come.
    @discardableResult
    func waitUntilHeld() -> Bool { arrived.wait(timeout: .now() + 20) == .success }

    /// Lets the waiting flight, and all further ones, go on.
    func release() { released.signal() }

    var hook: SimulatedStorage.Hook {
        { [self] call, _ in
            pass(call)
            return nil
        }
    }

    /// For hooks that do more than wait.
    func pass(_ call: StorageCall) {
        guard WriterGate.isWriters(call), call.kind == .write else { return }
        let stops = isHeld.withLock { isHeld in
            defer { isHeld = false }
            return isHeld
        }
        if stops {
            arrived.signal()
            // A test that failed half-way must not keep a thread for ever.
            _ = released.wait(timeout: .now() + 20)
        }
    }

    /// Whether the call comes from the writer thread and not from one that prepares or seals segments.
    static func isWriters(_ call: StorageCall) -> Bool {
        if call.isSealers { return false }
        if call.path.hasSuffix(".wal") { return true }
        switch call.kind {
        case .write: return call.count == 4096
        case .rename, .syncDirectory: return true
        default: return false
        }
    }
}

extension StorageCall {
    /// Whether the call makes a sealed segment, or removes the original of one.
    var isSealers: Bool {
        path.contains("/sealing-") || path.hasSuffix(".sealed") || (kind == .remove && path.hasSuffix(".wal"))
    }
}
