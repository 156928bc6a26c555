import Glibc
import Synchronization

/// Performs Waybill's outgoing HTTP: libcurl's multi interface on one thread of its own.
///
/// **Two drivers.** Webhook deliveries and calls to providers use two drivers that share nothing. A client chooses the
/// webhook URL, so the address behind it is checked; a provider's base URL is the operator's, and may well be a test
/// server on loopback. The check happens when a connection is opened, and a kept-alive connection is re-used for any
/// request to the same host and port. In one driver, a connection that was opened under the lenient policy would
/// therefore carry requests that the strict one refuses.
///
/// **Places.** At most `connectionsMax` requests run at once and `connectionsPerHostMax` to one host and port; others
/// wait, hosts in turn. A slow host keeps its own requests waiting and nobody else's, as long as `connectionsMax` is
/// well above what all slow hosts together can hold.
///
/// **At the end** call `shutdown`. A driver that is just let go ends its thread too, but nobody waits for it.
package final class CurlDriver: Sendable {
    private let mailbox: CurlMailbox
    /// Present until it was joined.
    private let thread: Mutex<pthread_t?>

    /// - Parameters:
    ///   - policy: Which addresses may be connected to; nil for all, for base URLs that the operator configured.
    ///   - bodyBytesMax: How much of a response's body is captured.
    ///   - usesHTTP2: Whether HTTP/2 is offered to servers with TLS. Requests then share connections, and one that dies
    ///     or that the server retires (`GOAWAY`, nginx by default after 1000 requests) takes all its running requests
    ///     with it. libcurl 7.88 does not tell which of them the server promised not to have touched, so for requests
    ///     that must not be repeated HTTP/1.1 leaves fewer outcomes unknown.
    ///   - certificateAuthorityFile: PEM certificates to trust in place of the system's.
    ///   - unixSocket: Connect to this socket, whatever host a URL names.
    /// - Throws: If the system has no thread or memory for it.
    package init(
        policy: AddressPolicy?,
        connectionsMax: Int,
        connectionsPerHostMax: Int,
        bodyBytesMax: Int = 4096,
        usesHTTP2: Bool = true,
        certificateAuthorityFile: String? = nil,
        unixSocket: String? = nil
    ) throws(TransferError) {
        let loop = CurlLoop(
            multi: try MultiHandle(connectionsMax: connectionsMax, connectionsPerHostMax: connectionsPerHostMax),
            settings: TransferSettings(
                policy: policy,
                bodyBytesMax: bodyBytesMax,
                usesHTTP2: usesHTTP2,
                certificateAuthorityFile: certificateAuthorityFile,
                unixSocket: unixSocket
            ),
            queue: TransferQueue(runningMax: connectionsMax, runningPerHostMax: connectionsPerHostMax)
        )
        mailbox = loop.mailbox
        thread = Mutex(try Self.startThread(loop))
    }

    deinit {
        mailbox.stop()
        if let thread = thread.withLock({ $0 }) { pthread_detach(thread) }
    }

    /// Performs one request, and waits for its end. Cancelling the task ends the exchange with `.shuttingDown`.
    package func perform(_ request: OutgoingRequest) async -> Result<OutgoingResponse, TransferError> {
        if let defect = request.defect() { return .failure(defect) }
        guard let host = CurlLibrary.host(ofURL: request.url) else {
            return .failure(
                TransferError(.invalidURL, requestBytesSent: false, detail: "not an absolute http or https URL")
            )
        }
        let ticket = CancellationTicket()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let submission = Submission(request: request, host: host, ticket: ticket, continuation: continuation)
                guard !mailbox.submit(submission) else { return }
                let error = submission.refusal(.shuttingDown, detail: "the driver was shut down")
                continuation.resume(returning: .failure(error))
            }
        } onCancel: {
            mailbox.cancel(ticket)
        }
    }

    /// Refuses new requests, ends running ones with `.shuttingDown`, and returns when the thread and all handles are
    /// gone. It may be called more than once.
    package func shutdown() async {
        mailbox.stop()
        await mailbox.waitForEnd()
        let ended = thread.withLock { $0.take() }
        // The thread has nothing left to do but return, so this does not hold up the executor.
        if let ended { pthread_join(ended, nil) }
    }

    private static func startThread(_ loop: CurlLoop) throws(TransferError) -> pthread_t {
        let context = Unmanaged.passRetained(loop)
        var thread = pthread_t()
        guard pthread_create(&thread, nil, runLoop, context.toOpaque()) == 0 else {
            context.release()
            throw TransferError(.protocolError, requestBytesSent: false, detail: "no thread for outgoing HTTP")
        }
        return thread
    }
}

/// The thread's start routine.
private func runLoop(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    // Signals belong to the threads that expect them, and a write into a closed connection must not raise SIGPIPE.
    // The threads that libcurl makes to resolve names inherit this.
    var signals = sigset_t()
    sigfillset(&signals)
    pthread_sigmask(SIG_SETMASK, &signals, nil)
    guard let context else { return nil }
    runToEnd(Unmanaged<CurlLoop>.fromOpaque(context)).end()
    return nil
}

/// Runs the loop and frees it, with all its handles, before it returns.
private func runToEnd(_ context: Unmanaged<CurlLoop>) -> CurlMailbox {
    let loop = context.takeRetainedValue()
    loop.run()
    return loop.mailbox
}
