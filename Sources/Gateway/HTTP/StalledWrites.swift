import Log
import NIOCore

/// Closes a connection whose other side takes nothing of an answer for a while: it would hold its memory, and a shutdown, for as
/// long as it likes. Idle connections, to which nothing is being written, are not meant.
///
/// One timer a connection, looked at again only when it goes off: a write costs two additions.
final class StalledWrites: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = Any
    typealias OutboundOut = Any

    private let patience: TimeAmount
    private var waiting = 0
    private var progress = BootTime.now
    private var timer: Scheduled<Void>?

    init(patience: TimeAmount = .seconds(30)) { self.patience = patience }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if waiting == 0 { progress = BootTime.now }
        waiting += 1
        let promise = promise ?? context.eventLoop.makePromise()
        promise.futureResult.assumeIsolated().whenComplete { _ in
            self.waiting -= 1
            self.progress = BootTime.now
        }
        context.write(data, promise: promise)
        if timer == nil { look(in: patience, context) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    private func look(in time: TimeAmount, _ context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: time) {
            self.timer = nil
            guard self.waiting > 0 else { return }
            let waited = TimeAmount(BootTime.now.since(self.progress))
            let left = self.patience - waited
            if left > .nanoseconds(0) { self.look(in: left, context) } else { context.close(promise: nil) }
        }
    }
}
