import Glibc
import Log

/// The driver's thread: it alone touches the multi handle and the transfers.
///
/// Not Sendable. It is made by the driver, handed over to the new thread, and from then on no one else knows it.
final class CurlLoop {
    private struct Running {
        let transfer: CurlTransfer
        let submission: Submission
    }

    /// How late a request that still waits for its place may notice that its time is up.
    private static let sweepInterval = Duration.milliseconds(250)
    /// libcurl keeps the time itself; what it has not ended by then, is ended here.
    private static let overdue = Duration.seconds(2)

    let mailbox: CurlMailbox
    private let multi: MultiHandle
    private let settings: TransferSettings
    private let sockets = OpenSockets()
    private var queue: TransferQueue<Submission>
    private var running: [ObjectIdentifier: Running] = [:]
    private var sweptAt = BootTime.now

    init(multi: consuming MultiHandle, settings: TransferSettings, queue: TransferQueue<Submission>) {
        mailbox = CurlMailbox(waker: multi.waker)
        self.multi = multi
        self.settings = settings
        self.queue = queue
    }

    /// Works until the mailbox says stop, and then ends everything that is left.
    func run() {
        while true {
            let work = mailbox.collect()
            for submission in work.submissions { accept(submission) }
            if work.isStopping { break }
            if work.hasCancellations { endCancelled() }
            step()
        }
        endAll(.shuttingDown, detail: "the driver was shut down")
        mailbox.forgetWaker()
    }

    private func step() {
        startWaiting()
        let performed = multi.perform()
        finishDone()
        startWaiting()
        sweepIfDue()
        let isIdle = running.isEmpty && queue.isEmpty
        guard performed, multi.wait(milliseconds: isIdle ? 60_000 : 250) else {
            // Without memory or file descriptors nothing can go on. Trying again at once would only burn the processor.
            endAll(.localFailure, detail: "the transfer engine failed")
            usleep(100_000)
            return
        }
    }
}

// MARK: - Beginning and finishing

extension CurlLoop {
    /// A task that was cancelled before it came here rang the bell when there was nothing to end yet.
    private func accept(_ submission: Submission) {
        if submission.ticket.isCancelled {
            submission.continuation.resume(returning: .failure(Self.cancelled(submission)))
        } else {
            queue.enqueue(submission, host: submission.host)
        }
    }

    private func startWaiting() {
        while let submission = queue.next() { start(submission) }
    }

    private func start(_ submission: Submission) {
        do throws(TransferError) {
            try run(CurlTransfer(submission.request, settings: settings, sockets: sockets), for: submission)
        } catch {
            queue.finished(host: submission.host)
            submission.continuation.resume(returning: .failure(error))
        }
    }

    private func run(_ transfer: CurlTransfer, for submission: Submission) throws(TransferError) {
        guard multi.add(transfer) else { throw CurlLibrary.noMemory }
        running[ObjectIdentifier(transfer)] = Running(transfer: transfer, submission: submission)
    }

    private func finishDone() {
        while let (transfer, result) = multi.nextFinished() {
            if case .failure(let error) = result, transfer.deservesRepeat(error) {
                tryAgain(transfer, error)
            } else {
                finish(transfer, result)
            }
        }
    }

    /// The exchange goes on with another transfer, in the place that it has.
    private func tryAgain(_ first: CurlTransfer, _ error: TransferError) {
        guard let submission = running[ObjectIdentifier(first)]?.submission else { return multi.remove(first) }
        guard
            let second = try? CurlTransfer(submission.request, settings: settings, sockets: sockets, repeating: first),
            (try? run(second, for: submission)) != nil
        else { return finish(first, .failure(error)) }
        multi.remove(first)
        running[ObjectIdentifier(first)] = nil
    }

    /// Takes the transfer out of libcurl before its task learns of it, so that nothing of it is in use afterwards.
    private func finish(_ transfer: CurlTransfer, _ result: Result<OutgoingResponse, TransferError>) {
        multi.remove(transfer)
        guard let entry = running.removeValue(forKey: ObjectIdentifier(transfer)) else { return }
        queue.finished(host: entry.submission.host)
        entry.submission.continuation.resume(returning: result)
    }
}

// MARK: - Ending early

extension CurlLoop {
    private static func cancelled(_ submission: Submission) -> TransferError {
        submission.refusal(.shuttingDown, detail: "the task was cancelled")
    }

    private func endCancelled() {
        for submission in queue.removeWaiting(where: \.ticket.isCancelled) {
            submission.continuation.resume(returning: .failure(Self.cancelled(submission)))
        }
        for entry in running.values where entry.submission.ticket.isCancelled {
            finish(entry.transfer, entry.transfer.ended(.shuttingDown, detail: "the task was cancelled"))
        }
    }

    private func endAll(_ failure: TransferFailure, detail: String) {
        for entry in running.values {
            finish(entry.transfer, entry.transfer.ended(failure, detail: detail))
        }
        for submission in queue.removeWaiting(where: { _ in true }) {
            submission.continuation.resume(returning: .failure(submission.refusal(failure, detail: detail)))
        }
    }

    /// Ends what waited too long for a place or for the rest of a body, which libcurl knows nothing of, and what libcurl has
    /// failed to end.
    private func sweepIfDue() {
        let now = BootTime.now
        guard now.since(sweptAt) >= Self.sweepInterval else { return }
        sweptAt = now
        for submission in queue.removeWaiting(where: { now.since($0.submittedAt) > $0.request.timeout }) {
            let error = submission.refusal(.timedOut, detail: "no place among the running requests became free")
            submission.continuation.resume(returning: .failure(error))
        }
        for entry in running.values
        where now.since(entry.transfer.startedAt) > entry.submission.request.timeout + Self.overdue
            || entry.transfer.isAnswered(by: now)
        {
            finish(entry.transfer, entry.transfer.ended(.timedOut, detail: "the time was up"))
        }
    }
}
