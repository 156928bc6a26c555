import Log
import Synchronization

/// One request on its way to the driver's thread and the task that waits for it.
struct Submission: Sendable {
    let request: OutgoingRequest
    /// `host:port`, by which places are given out.
    let host: String
    let ticket: CancellationTicket
    let submittedAt = BootTime.now
    let continuation: CheckedContinuation<Result<OutgoingResponse, TransferError>, Never>

    /// The error for a request that never began.
    func refusal(_ failure: TransferFailure, detail: String) -> TransferError {
        TransferError(
            failure,
            requestBytesSent: false,
            detail: detail,
            duration: BootTime.now.since(submittedAt)
        )
    }
}

/// Says that the task behind a request was cancelled. It may say so before the request is even submitted.
final class CancellationTicket: Sendable {
    private let flag = Atomic(false)

    var isCancelled: Bool { flag.load(ordering: .acquiring) }

    func cancel() {
        flag.store(true, ordering: .releasing)
    }
}

/// Everything that callers' tasks and the driver's thread share.
final class CurlMailbox: Sendable {
    /// What the thread finds when it looks.
    struct Work {
        var submissions: [Submission] = []
        var hasCancellations = false
        var isStopping = false
    }

    private struct State {
        var work = Work()
        /// Present as long as the thread's multi handle exists.
        var waker: Waker?
        var hasEnded = false
        var endWaiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    init(waker: Waker) {
        state = Mutex(State(waker: waker))
    }

    /// False if the driver is shutting down; the caller then answers the submission itself.
    func submit(_ submission: Submission) -> Bool {
        state.withLock { state in
            guard !state.work.isStopping else { return false }
            state.work.submissions.append(submission)
            state.waker?.wake()
            return true
        }
    }

    func cancel(_ ticket: CancellationTicket) {
        ticket.cancel()
        state.withLock { state in
            state.work.hasCancellations = true
            state.waker?.wake()
        }
    }

    /// Makes the thread end what runs, free everything and finish.
    func stop() {
        state.withLock { state in
            state.work.isStopping = true
            state.waker?.wake()
        }
    }

    /// Returns once `end` was called.
    func waitForEnd() async {
        await withCheckedContinuation { continuation in
            let hasEnded = state.withLock { state in
                if !state.hasEnded { state.endWaiters.append(continuation) }
                return state.hasEnded
            }
            if hasEnded { continuation.resume() }
        }
    }

    /// For the thread: takes out everything new.
    func collect() -> Work {
        state.withLock { state in
            let work = state.work
            state.work = Work(isStopping: work.isStopping)
            return work
        }
    }

    /// For the thread, before its multi handle goes away.
    func forgetWaker() {
        state.withLock { $0.waker = nil }
    }

    /// For the thread, as its last act.
    func end() {
        let waiters = state.withLock { state in
            state.hasEnded = true
            defer { state.endWaiters = [] }
            return state.endWaiters
        }
        for waiter in waiters { waiter.resume() }
    }
}
