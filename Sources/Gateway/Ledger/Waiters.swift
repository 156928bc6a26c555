package import Log
import Projections
import Synchronization

/// Requests that wait for progress. One that sleeps costs its memory and nothing else: it is woken by a record that touches what it
/// waits for, at a time that it names, and when its caller leaves.
///
/// The lock is taken under no other one, and held for look-ups in tables.
package final class Waiters: Sendable {
    /// Of one client, at once.
    package static let mostPerClient = 4096

    private struct State {
        var table = WaitingTable<CheckedContinuation<Void, Never>>()
        /// When the timer goes off that was set last; nil without one.
        var timer: BootTime?
    }

    private let state = Mutex(State())
    /// Of the entries, so that a commit which nobody waits for takes no lock.
    private let entered = Atomic<Int>(0)

    package init() {}

    package var count: Int { entered.load(ordering: .acquiring) }

    /// Before the first look: what changes after that look wakes the waiter. Nil when the client has too many.
    package func enter(_ client: LogPosition, for progress: Progress) -> UInt64? {
        let id = state.withLock { $0.table.enter(client, for: progress, most: Waiters.mostPerClient) }
        if id != nil { entered.add(1, ordering: .acquiringAndReleasing) }
        return id
    }

    package func leave(_ id: UInt64) {
        state.withLock { $0.table.leave(id) }
        entered.subtract(1, ordering: .acquiringAndReleasing)
    }

    package func isOver(_ id: UInt64) -> Bool { state.withLock { $0.table.isOver(id) } }

    /// Until there is a signal, which may have come since the last sleep, or it is `due`, or the task is cancelled.
    package func sleep(_ id: UInt64, until due: BootTime) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (sleeps, timer) = state.withLock { state in
                    let sleeps = state.table.sleep(id, continuation, until: due)
                    return (sleeps, sleeps ? Waiters.timer(due, &state) : nil)
                }
                if !sleeps { continuation.resume() }
                if let timer { set(timer) }
            }
        } onCancel: {
            end(id)
        }
    }

    // MARK: Signals

    /// Outside of the state's lock, once the records are folded in.
    func signal(_ records: [EventRecord]) {
        guard count > 0 else { return }
        let woken = state.withLock { state in
            var woken: [CheckedContinuation<Void, Never>] = []
            for record in records {
                for progress in Progress.touched(by: record) { woken += state.table.signal(progress) }
                if Progress.isForAll(record) { woken += state.table.signal(client: record.client) }
            }
            return woken
        }
        for sleeper in woken { sleeper.resume() }
    }

    package func signal(_ progress: Progress) {
        let woken = state.withLock { $0.table.signal(progress) }
        for sleeper in woken { sleeper.resume() }
    }

    /// Its caller has left.
    package func end(_ id: UInt64) { state.withLock { $0.table.end(id) }?.resume() }

    /// The gateway stops: whoever waits, or would, is answered with what there is.
    package func stop() {
        let woken = state.withLock { $0.table.stop() }
        for sleeper in woken { sleeper.resume() }
    }

    // MARK: Time

    /// One timer for all, set for the sleeper that is due first.
    private static func timer(_ due: BootTime, _ state: inout State) -> BootTime? {
        if let timer = state.timer, timer <= due { return nil }
        state.timer = due
        return due
    }

    private func set(_ timer: BootTime) {
        // Of the process, not of the request that happened to set it.
        Task.detached {
            try? await Task.sleep(for: timer.since(BootTime.now))
            self.ring(timer)
        }
    }

    /// Of timers that were overtaken by an earlier one, only the last sets another.
    private func ring(_ timer: BootTime) {
        let (woken, next) = state.withLock { state in
            let woken = state.table.signalDue(at: BootTime.now)
            guard state.timer == timer else { return (woken, BootTime?.none) }
            state.timer = state.table.nextDue
            return (woken, state.timer)
        }
        for sleeper in woken { sleeper.resume() }
        if let next { set(next) }
    }
}

/// On whose behalf a request waits.
struct WaitingCaller: Sendable {
    let client: LogPosition
    /// When what let the request in ends; throws when it has.
    let stillAdmitted: @Sendable () throws -> Timestamp
    /// Has its argument called when the caller leaves.
    let whenGone: @Sendable (@escaping @Sendable () -> Void) -> Void
    /// What it asked for is done, and only the answer waits: that is given early rather than refused.
    var hasActed = false
}

extension GatewayContext {
    func waitingCaller(hasActed: Bool = false) throws -> WaitingCaller {
        WaitingCaller(
            client: try requireClient().id,
            stillAdmitted: stillAdmitted,
            whenGone: { [channel] gone in GatewayContext.whenGone(channel, gone) },
            hasActed: hasActed
        )
    }
}

extension Ledger {
    /// Looks, and looks again when there is progress, until there is what is waited for, the time is over, the caller has left or
    /// the gateway stops; the value is then what was read last.
    ///
    /// - Parameter changes: when a value gets another one though nothing is recorded.
    func wait<Value: Sendable>(
        for progress: Progress,
        _ caller: WaitingCaller,
        atMost time: Duration,
        _ body: (borrowing LogState) -> Value,
        until isEnough: (Value) -> Bool,
        changes: (Value) -> Timestamp? = { _ in nil }
    ) async throws -> Value {
        let deadline = BootTime.now.advanced(by: time)
        let first = try await read(body)
        guard try admission(caller) != nil, !isEnough(first), time > .zero else { return first }
        guard let id = waiters.enter(caller.client, for: progress) else {
            if caller.hasActed { return first }
            throw GatewayError(.unavailable, "too many of the client's requests wait; let some end", retryAfter: 1)
        }
        defer { waiters.leave(id) }
        caller.whenGone { [waiters] in waiters.end(id) }
        while true {
            let value = try await read(body)
            guard let admitted = try admission(caller), !isEnough(value), !waiters.isOver(id) else { return value }
            let now = BootTime.now
            guard now < deadline else { return value }
            let ends = min(admitted, changes(value) ?? admitted)
            // The two clocks may differ by a little, and a time that is over for one need not be for the other.
            let due = now.advanced(by: max(ends.since(self.now), .milliseconds(1)))
            await waiters.sleep(id, until: min(deadline, due))
            try Task.checkCancellation()
        }
    }

    /// Nil when it has ended, and the caller is answered all the same.
    private func admission(_ caller: WaitingCaller) throws -> Timestamp? {
        if caller.hasActed { return try? caller.stillAdmitted() }
        return try caller.stillAdmitted()
    }
}
