import HTTPTypes
import Log
package import NIOCore
package import NIOHTTPTypes

/// Guards the requests of an HTTP/1 connection, or the one of a stream of HTTP/2: the time for a body and for taking the answer, the
/// end of a connection after its last answer, and the word on which a client that asked sends its body.
package final class RequestGuard: ChannelDuplexHandler, RemovableChannelHandler {
    package typealias InboundIn = HTTPRequestPart
    package typealias InboundOut = HTTPRequestPart
    package typealias OutboundIn = HTTPResponsePart
    package typealias OutboundOut = HTTPResponsePart

    /// Fired when a route begins to read the body of a request that waits for `100 Continue`.
    package struct BodyIsWanted: Sendable {
        package init() {}
    }

    /// A piece of an answer; by whole ones it is seen how much of it was taken.
    private static let pieceBytes = 64 << 10

    let limits: TimeLimits
    private var context: ChannelHandlerContext?
    private var connection: ConnectionGuard?
    private var isStream = false

    /// Requests whose answers are not written, and those whose answers are not taken either.
    private var unanswered = 0
    private var untaken = 0
    /// Between the header of a request and the end of its body.
    private var isReading = false
    /// Of the body that is being read, where its length was said.
    private var bodyBytesLeft: Int?
    private var awaitsContinue = false
    /// An answer's header is written and its end is not.
    private var isAnswering = false
    /// The next request, or the newest, is the connection's last.
    private var closesAfterNext = false
    private var isLast = false
    /// Something that is no request came behind those that are not answered yet.
    private var hasFailed = false
    /// Somebody closed the connection while an answer was on its way: it is closed when the client has the answer.
    private var closesWhenTaken = false
    /// The last answer is given: by a route, or here in its place. Nothing may follow it.
    private var isAnswered = false
    private var isLingering = false
    private var lingeredBytes = 0
    /// The client sends nothing more: it has left, as far as a request is concerned that waits.
    private var isGone = false
    private var gone: (@Sendable () -> Void)?

    private let body: Waiting
    private let answer: Waiting

    package init(limits: TimeLimits = TimeLimits()) {
        self.limits = limits
        body = Waiting(limits.body, limits.now)
        answer = Waiting(limits.answer, limits.now)
    }

    // MARK: Life

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let pipeline = context.pipeline.syncOperations
        if let own = try? pipeline.handler(type: ConnectionGuard.self) {
            connection = own
        } else if let parent = context.channel.parent, parent.eventLoop === context.eventLoop {
            connection = try? parent.pipeline.syncOperations.handler(type: ConnectionGuard.self)
            isStream = connection != nil
        }
        if !isStream { PersistenceGuard.install(in: pipeline, for: self) }
        connection?.attach(self, isStream: isStream)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        leave()
        context.fireChannelInactive()
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        leave()
        body.end()
        answer.end()
        while untaken > 0 { taken() }
        connection = nil
        self.context = nil
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // What follows on the connection cannot be told apart any more: the request that is being read is its last; else what is
        // said of the error, after the answers that are due.
        if isReading || unanswered == 0 { isLast = true } else { hasFailed = true }
        context.fireErrorCaught(error)
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // With HTTP/2 the end of a request ends nothing else.
        if !isStream, event as? NIOCore.ChannelEvent == .inputClosed { leave() }
        if isLingering, event as? NIOCore.ChannelEvent == .inputClosed { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    private func leave() {
        isGone = true
        gone.take()?()
    }

    /// For the one request that waits.
    func whenGone(_ gone: @escaping @Sendable () -> Void) {
        if isGone { return gone() }
        self.gone = gone
    }

    // MARK: Requests

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        switch part {
        case .head(let request):
            guard !isLingering, !isLast else { return }
            begin(request)
        case .body(let bytes):
            guard isReading else { return }
            body.stop(earning: bytes.readableBytes)
            awaitsContinue = false
            bodyBytesLeft = bodyBytesLeft.map { max(0, $0 - bytes.readableBytes) }
            if isLingering { return isStream ? discard(bytes.readableBytes, context) : () }
        case .end:
            guard isReading else { return }
            isReading = false
            body.stop(earning: 0)
            if untaken == 0, !isStream { connection?.bodyEnded() }
        }
        context.fireChannelRead(data)
    }

    package func read(context: ChannelHandlerContext) {
        // Without it nobody waits for the client: what it sends is not asked for.
        if isReading, !isLingering {
            body.start(context) { self.bodyIsLate() }
        }
        context.read()
    }

    /// Of HTTP/1: the request whose header comes next is the last of the connection.
    func closeAfterNext() { closesAfterNext = true }

    private func begin(_ request: HTTPRequest) {
        isReading = true
        bodyBytesLeft = request.headerFields.contentLength
        awaitsContinue = request.headerFields[.expect]?.lowercased() == "100-continue"
        body.renew(limits.body)
        if untaken == 0 { answer.renew(limits.answer) }
        if closesAfterNext { isLast = true }
        unanswered += 1
        untaken += 1
        connection?.requestBegan()
    }

    // MARK: Answers

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if isAnswered {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        put(unwrapOutboundIn(data), promise, context)
    }

    private func put(_ part: HTTPResponsePart, _ promise: EventLoopPromise<Void>?, _ context: ChannelHandlerContext) {
        switch part {
        case .head(var head) where head.status.kind != .informational:
            isAnswering = true
            if unanswered <= 1 {
                if isReading, !mayReadOn { isLast = true }
                if isLast, !isStream { head.headerFields[.connection] = "close" }
            }
            context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .head:
            context.write(wrapOutboundOut(part), promise: promise)
        case .body(var bytes):
            let most = RequestGuard.pieceBytes
            while bytes.readableBytes > most, let piece = bytes.readSlice(length: most) {
                pass(.body(piece), piece.readableBytes, nil, context)
            }
            pass(.body(bytes), bytes.readableBytes, promise, context)
        case .end:
            isAnswering = false
            unanswered = max(0, unanswered - 1)
            let promise = promise ?? context.eventLoop.makePromise()
            let isFinal = isLast && unanswered == 0
            if isFinal { isAnswered = true }
            if hasFailed, unanswered == 0 { isLast = true }
            promise.futureResult.assumeIsolated().whenComplete { _ in
                self.taken()
                if isFinal { self.linger() }
            }
            pass(part, 0, promise, context)
        }
    }

    /// Whether what is left of a body that nobody waits for is read, so that the next request can follow it.
    private var mayReadOn: Bool {
        !awaitsContinue && (bodyBytesLeft.map { $0 <= limits.unwantedBytesMax } ?? false)
    }

    /// Writes a part of an answer that is waited for until the client has taken it. A header alone is not: it says so little that
    /// it always finds room, and the end of the answer follows.
    private func pass(
        _ part: HTTPResponsePart,
        _ bytes: Int,
        _ promise: EventLoopPromise<Void>?,
        _ context: ChannelHandlerContext
    ) {
        let promise = promise ?? context.eventLoop.makePromise()
        answer.begin(context) { self.answerIsLate() }
        promise.futureResult.assumeIsolated().whenComplete { _ in self.answer.finish(earning: bytes) }
        context.write(wrapOutboundOut(part), promise: promise)
    }

    /// The client has all of an answer, or will never have it.
    private func taken() {
        guard untaken > 0 else { return }
        untaken -= 1
        connection?.requestEnded()
        if closesWhenTaken, untaken == 0 { context?.close(promise: nil) }
    }

    package func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard mode == .all, unanswered == 0, untaken > 0, context.channel.isActive else {
            return context.close(mode: mode, promise: promise)
        }
        closesWhenTaken = true
        context.channel.closeFuture.cascade(to: promise)
    }

    package func triggerUserOutboundEvent(
        context: ChannelHandlerContext,
        event: Any,
        promise: EventLoopPromise<Void>?
    ) {
        guard event is BodyIsWanted else { return context.triggerUserOutboundEvent(event, promise: promise) }
        if awaitsContinue, isReading, !isAnswering, unanswered == 1 {
            context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
        }
        awaitsContinue = false
        promise?.succeed()
    }

    // MARK: Too late

    /// Nothing came of a header for too long.
    func headerIsLate() {
        guard let context else { return }
        // Of a body that is still read, the answer is given already: a second one would be taken for that of the next request.
        if unanswered > 0 || isReading || isLingering || isLast { return context.close(promise: nil) }
        giveUp("the header of a request did not come in time", context)
    }

    private func bodyIsLate() {
        guard let context, isReading else { return }
        connection?.count(.body)
        if isAnswering || unanswered != 1 { return context.close(promise: nil) }
        giveUp("the body of the request did not come in time", context)
    }

    private func answerIsLate() {
        guard let context else { return }
        connection?.count(.answer)
        if !isStream, let connection { connection.close() } else { context.close(promise: nil) }
    }

    private func giveUp(_ detail: String, _ context: ChannelHandlerContext) {
        isLast = true
        isAnswered = true
        body.end()
        let problem = GatewayError(.requestTimeout, detail)
        let requestID = GatewayContext.makeRequestID()
        let bytes = Answer.problemBytes(problem, requestID: requestID)
        var headers: HTTPFields = [
            .contentType: "application/problem+json", .contentLength: String(bytes.count),
        ]
        if let name = Answer.requestID { headers[name] = requestID }
        put(.head(HTTPResponse(status: .requestTimeout, headerFields: headers)), nil, context)
        put(.body(ByteBuffer(bytes: bytes)), nil, context)
        put(.end(nil), nil, context)
        context.flush()
    }

    // MARK: The end

    /// The last answer is given. Who still sends is heard for a while without being listened to: a connection that is closed on
    /// bytes nobody read is reset, and the answer with it.
    private func linger() {
        guard let context, !isLingering, context.channel.isActive else { return }
        isLingering = true
        body.end()
        if !isStream {
            connection?.hear(atMost: limits.lingerBytesMax)
            context.close(mode: .output, promise: nil)
        }
        context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limits.linger)) {
            self.context?.close(promise: nil)
        }
    }

    /// Of a stream; of HTTP/1 the connection's guard counts, also what is no body.
    private func discard(_ bytes: Int, _ context: ChannelHandlerContext) {
        lingeredBytes += bytes
        guard lingeredBytes > limits.lingerBytesMax else { return }
        connection?.count(.unwantedBody)
        context.close(promise: nil)
    }
}

/// Somebody is waited for, a piece at a time, as long as the patience lasts.
private final class Waiting {
    private let now: @Sendable () -> BootTime
    private var patience: Patience
    private var since: BootTime?
    private var pieces = 0
    private var timer: Scheduled<Void>?

    init(_ patience: Patience, _ now: @escaping @Sendable () -> BootTime) {
        self.patience = patience
        self.now = now
    }

    func renew(_ patience: Patience) { self.patience = patience }

    /// One thing is waited for; again for the same is nothing new.
    func start(_ context: ChannelHandlerContext, late: @escaping () -> Void) {
        if since == nil { since = now() }
        if timer == nil { look(in: patience.left, context, late) }
    }

    func stop(earning bytes: Int) {
        settle()
        since = nil
        patience.earn(bytes)
    }

    /// One of several that are waited for together.
    func begin(_ context: ChannelHandlerContext, late: @escaping () -> Void) {
        pieces += 1
        start(context, late: late)
    }

    func finish(earning bytes: Int) {
        pieces -= 1
        stop(earning: bytes)
        if pieces > 0 { since = now() }
    }

    func end() {
        since = nil
        timer?.cancel()
        timer = nil
    }

    private func settle() {
        guard let since else { return }
        let moment = now()
        patience.use(moment.since(since))
        self.since = moment
    }

    /// Set again only when it goes off, so that a piece costs no timer.
    private func look(in time: Duration, _ context: ChannelHandlerContext, _ late: @escaping () -> Void) {
        let time = max(time, .milliseconds(10))
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(time)) {
            self.timer = nil
            guard self.since != nil else { return }
            self.settle()
            if self.patience.isOver { late() } else { self.look(in: self.patience.left, context, late) }
        }
    }
}
