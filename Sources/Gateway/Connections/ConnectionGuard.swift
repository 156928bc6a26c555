import Log
package import NIOCore

/// The first handler of a connection: asks for its place, and watches the time between requests and that of headers.
///
/// One timer a connection, which is set again only when it goes off or would go off too late.
package final class ConnectionGuard: ChannelInboundHandler, RemovableChannelHandler {
    package typealias InboundIn = ByteBuffer

    private enum Wait {
        case header
        case idle
    }

    private let registry: ConnectionRegistry
    private let connection: Connection
    private let limits: TimeLimits
    private var context: ChannelHandlerContext?
    private var isAdmitted = false
    private var running = 0
    /// Something of a request is there, but not its header.
    private var hasBegun = false
    /// With HTTP/2, where bytes need not belong to a request.
    private var hasStreams = false
    /// What may still come after the last answer; nil before.
    private var bytesLeft: Int?
    /// Of HTTP/1: who can answer.
    private weak var requests: RequestGuard?
    private var due: (wait: Wait, at: BootTime)?
    private var timer: (task: Scheduled<Void>, at: BootTime)?

    package init(registry: ConnectionRegistry, connection: Connection, limits: TimeLimits) {
        self.registry = registry
        self.connection = connection
        self.limits = limits
    }

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin(context) }
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        timer?.task.cancel()
        timer = nil
        due = nil
        self.context = nil
    }

    package func channelActive(context: ChannelHandlerContext) {
        context.fireChannelActive()
        begin(context)
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if let left = bytesLeft {
            let left = left - unwrapInboundIn(data).readableBytes
            bytesLeft = left
            if left < 0 {
                if context.channel.isActive { registry.count(.unwantedBody) }
                return context.close(promise: nil)
            }
        } else if running == 0 {
            hasBegun = true
            if !hasStreams, due?.wait != .header { expect(.header, within: limits.header) }
        }
        context.fireChannelRead(data)
    }

    // MARK: From the guards of requests

    func attach(_ requests: RequestGuard, isStream: Bool) {
        // What came before belongs to the handshake of TLS.
        hasBegun = false
        if isStream { hasStreams = true } else { self.requests = requests }
    }

    func requestBegan() {
        running += 1
        guard running == 1 else { return }
        due = nil
        registry.began(connection)
    }

    func requestEnded() {
        running -= 1
        guard running == 0 else { return }
        hasBegun = false
        expect(.idle, within: limits.idle)
        if !registry.ended(connection) { close() }
    }

    /// All of a body is read whose answer was taken before: what came of it was no header.
    func bodyEnded() {
        guard running == 0, bytesLeft == nil else { return }
        hasBegun = false
        expect(.idle, within: limits.idle)
    }

    /// The last answer is given.
    func hear(atMost bytes: Int) { bytesLeft = bytes }

    func close() { context?.close(promise: nil) }

    func count(_ reason: ConnectionRegistry.Reason) { registry.count(reason) }

    // MARK: Time

    private func begin(_ context: ChannelHandlerContext) {
        guard !isAdmitted else { return }
        isAdmitted = true
        guard registry.admit(connection) else { return context.close(promise: nil) }
        expect(.header, within: limits.header)
    }

    private func expect(_ wait: Wait, within time: Duration) {
        let at = limits.now().advanced(by: time)
        due = (wait, at)
        if let timer, timer.at <= at { return }
        timer?.task.cancel()
        wake(in: time, at: at)
    }

    private func wake(in time: Duration, at: BootTime) {
        guard let context else { return }
        let task = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(time)) {
            self.timer = nil
            self.look()
        }
        timer = (task, at)
    }

    private func look() {
        guard let due, let context else { return }
        let left = due.at.since(limits.now())
        if left > .zero { return wake(in: left, at: due.at) }
        self.due = nil
        switch due.wait {
        case .idle: registry.count(.idle)
        case .header: registry.count(.header)
        }
        if due.wait == .header, hasBegun, let requests {
            requests.headerIsLate()
        } else {
            context.close(promise: nil)
        }
    }
}
