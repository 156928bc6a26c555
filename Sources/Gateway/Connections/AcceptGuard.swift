import Glibc
import Logging
import NIOCore

/// Keeps a server accepting: what cannot be accepted, for want of descriptors or because the other side has left, is no reason to
/// end, and none to try again at once.
final class AcceptGuard: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = Any

    private let pause: TimeAmount
    private let logger: Logger
    private let metrics: GatewayMetrics
    private var isPaused = false
    private var isTold = false

    init(pause: TimeAmount = .milliseconds(100), metrics: GatewayMetrics, logger: Logger) {
        self.pause = pause
        self.metrics = metrics
        self.logger = logger
    }

    /// Whether the next connection would fail too: there is nothing to accept it with. One whose other side has left is passed over.
    private static func lasts(_ error: any Error) -> Bool {
        guard let error = error as? IOError else { return true }
        return [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.errnoCode)
    }

    /// As the first handler of a server's channel: an error that reached those behind it would end the server.
    static func install(on channel: any Channel, _ metrics: GatewayMetrics, _ logger: Logger) async {
        let installed = channel.eventLoop.submit {
            let handler = AcceptGuard(metrics: metrics, logger: logger)
            try channel.pipeline.syncOperations.addHandler(handler, position: .first)
        }
        // A channel that is closed already needs none.
        try? await installed.get()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        metrics.count("waybill_accept_failures_total")
        if !isTold {
            isTold = true
            logger.warning("a connection could not be accepted", metadata: ["error": "\(error)"])
        }
        guard !isPaused, AcceptGuard.lasts(error) else { return }
        isPaused = true
        try? context.channel.syncOptions?.setOption(.autoRead, value: false)
        context.eventLoop.assumeIsolated().scheduleTask(in: pause) {
            self.isPaused = false
            try? context.channel.syncOptions?.setOption(.autoRead, value: true)
        }
    }
}
