import NIOCore
import NIOHTTP1
import NIOHTTPTypesHTTP1

/// Sees of HTTP/1 what is gone behind the codec: the version, and by it and by `Connection` whether another request may follow.
final class PersistenceGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private weak var requests: RequestGuard?
    /// The last request is one of HTTP/1.0, which knows no chunks: the end of the connection is the end of its answer.
    private var isOld = false
    /// Before the old request.
    private var unanswered = 0

    private init(_ requests: RequestGuard) { self.requests = requests }

    /// Does nothing in a pipeline without the codec of HTTP/1.
    static func install(in pipeline: ChannelPipeline.SynchronousOperations, for requests: RequestGuard) {
        guard let codec = try? pipeline.handler(type: HTTP1ToHTTPServerCodec.self) else { return }
        try? pipeline.addHandler(PersistenceGuard(requests), position: .before(codec))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data), !isOld {
            let isEarlier = head.version.major == 1 && head.version.minor == 0
            if isEarlier || !head.isKeepAlive { requests?.closeAfterNext() }
            isOld = isEarlier
            unanswered += 1
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(var head) where isOld && unanswered <= 1:
            head.version = .http1_0
            context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .end:
            unanswered -= 1
            context.write(data, promise: promise)
        default:
            context.write(data, promise: promise)
        }
    }
}
