import Gateway
import HTTPTypes
import Log
import NIOCore
import NIOEmbedded
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import Synchronization
import Testing

/// The guards of a connection, on a channel without a socket and with a clock that the test moves.
@Suite struct ConnectionGuardTests {
    // MARK: Time limits

    @Test func aHeaderThatDripsIsAnswered408() throws {
        let probe = try ChannelProbe()
        try probe.says("GET / HTTP/1.1\r\nHost: ")
        for _ in 0..<7 {
            probe.wait(.seconds(2))
            try probe.says("x")
        }
        #expect(probe.channel.isActive)
        probe.wait(.seconds(2))
        let answer = probe.heard
        #expect(answer.hasPrefix("HTTP/1.1 408 "))
        #expect(answer.lowercased().contains("connection: close"))
        #expect(answer.contains(#""code":"request_timeout""#))
        probe.wait(.seconds(3))
        #expect(!probe.channel.isActive)
        #expect(probe.metrics.render(gauges: []).contains(#"closed_total{reason="header_timeout"} 1"#))
    }

    @Test func whoSaysNothingIsClosedWithoutAnAnswer() throws {
        let probe = try ChannelProbe()
        probe.wait(.seconds(14))
        #expect(probe.channel.isActive)
        probe.wait(.seconds(2))
        #expect(!probe.channel.isActive)
        #expect(probe.heard.isEmpty)
    }

    @Test func theNextRequestHasItsOwnTime() throws {
        let probe = try ChannelProbe()
        for _ in 0..<4 {
            probe.wait(.seconds(14))
            try probe.says("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            try probe.answers(.ok)
            #expect(probe.heard.hasPrefix("HTTP/1.1 200 "))
            probe.wait(.seconds(60))
            try probe.says("GE")
            probe.wait(.seconds(1))
            try probe.says("T /again HTTP/1.1\r\nHost: x\r\n\r\n")
            try probe.answers(.ok)
            #expect(probe.heard.hasPrefix("HTTP/1.1 200 "))
            try probe.says("G")
            probe.wait(.seconds(1))
            try probe.says("ET / HTTP/1.1\r\nHost: x\r\n\r\n")
            try probe.answers(.ok)
            _ = probe.heard
        }
        try probe.says("G")
        probe.wait(.seconds(16))
        #expect(probe.heard.hasPrefix("HTTP/1.1 408 "))
    }

    @Test func anAnswerThatTakesLongIsNobodysFault() throws {
        let probe = try ChannelProbe()
        try probe.says("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        probe.wait(.seconds(300))
        #expect(probe.channel.isActive)
        try probe.answers(.ok)
        #expect(probe.heard.hasPrefix("HTTP/1.1 200 "))
    }

    @Test func aBodyThatDripsIsAnswered408() throws {
        let probe = try ChannelProbe()
        try probe.says("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        for _ in 0..<5 {
            probe.wait(.seconds(5))
            try probe.says("x")
        }
        #expect(probe.channel.isActive)
        probe.wait(.seconds(6))
        #expect(probe.heard.hasPrefix("HTTP/1.1 408 "))
        // What the route says now comes too late.
        #expect(throws: ChannelError.self) { try probe.answers(.ok) }
        #expect(probe.heard.isEmpty)
        probe.wait(.seconds(3))
        #expect(!probe.channel.isActive)
    }

    @Test func aBodyOverASlowLineComesThrough() throws {
        let probe = try ChannelProbe()
        try probe.says("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
        for _ in 0..<200 {
            probe.wait(.seconds(1))
            try probe.says(String(repeating: "x", count: 20_000))
        }
        try probe.answers(.ok)
        #expect(probe.heard.hasPrefix("HTTP/1.1 200 "))
    }

    // MARK: The end of a connection

    @Test(
        arguments: [
            ("GET / HTTP/1.0\r\n\r\n", true), ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: CLOSE\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: te, Close\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", false),
        ]
    ) func whoWantsTheEndGetsIt(_ request: String, _ ends: Bool) throws {
        let probe = try ChannelProbe()
        try probe.says(request)
        try probe.answers(.ok, length: nil)
        let answer = probe.heard
        let isOld = request.contains("HTTP/1.0")
        #expect(answer.hasPrefix(isOld ? "HTTP/1.0 200 " : "HTTP/1.1 200 "))
        #expect(answer.lowercased().contains("connection: close") == ends)
        #expect(answer.lowercased().contains("chunked") == !isOld, "HTTP/1.0 knows no chunks")
        probe.wait(.seconds(3))
        #expect(probe.channel.isActive == !ends)
    }

    @Test func requestsBehindTheLastAreNotTaken() throws {
        let probe = try ChannelProbe()
        let last = "GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        // The parser sees an error in what follows a last request.
        try? probe.says("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" + last + "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n")
        try probe.answers(.ok)
        #expect(!probe.heard.lowercased().contains("connection: close"), "the first of two")
        try probe.answers(.ok)
        #expect(probe.heard.lowercased().contains("connection: close"))
        #expect(probe.paths == ["/1", "/2"])
        #expect(throws: ChannelError.self) { try probe.answers(.badRequest) }
        #expect(probe.heard.isEmpty, "nothing follows the last answer")
    }

    @Test func whatIsNoRequestIsAnsweredAfterWhatIs() throws {
        let probe = try ChannelProbe()
        try? probe.says("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nno request\r\n\r\n")
        try probe.answers(.ok)
        #expect(!probe.heard.lowercased().contains("connection: close"))
        try probe.answers(.badRequest)
        #expect(probe.heard.lowercased().contains("connection: close"))
        probe.wait(.seconds(3))
        #expect(!probe.channel.isActive)
    }

    @Test func theRestOfARefusedBodyIsNotReadForEver() throws {
        let probe = try ChannelProbe()
        try probe.says("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000000\r\n\r\n")
        try probe.answers(.unauthorized)
        #expect(probe.heard.lowercased().contains("connection: close"))
        let piece = String(repeating: "x", count: 1 << 20)
        var pieces = 0
        while probe.channel.isActive, pieces < 100 {
            try? probe.says(piece)
            pieces += 1
        }
        #expect(pieces == 17)
        #expect(probe.bodyBytes == 0, "the route hears nothing of it")
    }

    @Test func aSmallRestIsReadAndTheConnectionGoesOn() throws {
        let probe = try ChannelProbe()
        try probe.says("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        try probe.answers(.unauthorized)
        #expect(!probe.heard.lowercased().contains("connection: close"))
        try probe.says("0123456789GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try probe.answers(.ok)
        #expect(probe.heard.hasPrefix("HTTP/1.1 200 "))
        #expect(probe.channel.isActive)
    }

    // MARK: Expectations

    @Test func theRestOfABodyIsNoHeaderOfTheNextRequest() throws {
        let probe = try ChannelProbe()
        try probe.says("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        try probe.answers(.unauthorized)
        #expect(probe.heard.hasPrefix("HTTP/1.1 401 "))
        try probe.says("def")
        probe.wait(.seconds(60))
        #expect(probe.heard.isEmpty, "an answer that nobody asked for")
        #expect(probe.channel.isActive)
        try probe.says("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try probe.answers(.ok)
        #expect(probe.heard.hasPrefix("HTTP/1.1 200 "))
    }

    @Test func aRestThatDoesNotComeIsAnsweredNoSecondTime() throws {
        let probe = try ChannelProbe()
        try probe.says("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        try probe.answers(.unauthorized)
        #expect(probe.heard.hasPrefix("HTTP/1.1 401 "))
        try probe.says("d")
        probe.wait(.seconds(60))
        #expect(probe.heard.isEmpty)
        #expect(!probe.channel.isActive)
    }

    @Test func continueIsSaidWhenTheBodyIsWanted() throws {
        let probe = try ChannelProbe()
        try probe.says("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
        #expect(probe.heard.isEmpty)
        for _ in 0..<2 { probe.channel.triggerUserOutboundEvent(RequestGuard.BodyIsWanted(), promise: nil) }
        #expect(probe.heard == "HTTP/1.1 100 Continue\r\n\r\n")
        try probe.says("{}")
        try probe.answers(.ok)
        #expect(probe.heard.hasPrefix("HTTP/1.1 200 "))
        #expect(probe.channel.isActive)
    }

    @Test func whoIsRefusedBeforeItNeedNotSend() throws {
        let probe = try ChannelProbe()
        try probe.says("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        try probe.answers(.unauthorized)
        let answer = probe.heard
        #expect(answer.hasPrefix("HTTP/1.1 401 "))
        #expect(answer.lowercased().contains("connection: close"), "nobody knows whether the body comes")
    }

    // MARK: Places

    @Test func placesAreGivenUp() throws {
        let probe = try ChannelProbe()
        #expect(probe.registry.count == 1)
        try probe.says("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        let second = try ChannelProbe(registry: probe.registry)
        #expect(!second.channel.isActive, "the first works, and there is one place")
        try probe.answers(.ok)
        let third = try ChannelProbe(registry: probe.registry)
        probe.channel.embeddedEventLoop.run()
        #expect(third.channel.isActive)
        #expect(!probe.channel.isActive)
        #expect(probe.registry.count == 1)
    }

    @Test func aStopClosesWhoIsIdleAndThenTheRest() throws {
        let idle = try ChannelProbe(most: 3)
        let busy = try ChannelProbe(registry: idle.registry)
        let stuck = try ChannelProbe(registry: idle.registry)
        for probe in [busy, stuck] { try probe.says("GET / HTTP/1.1\r\nHost: x\r\n\r\n") }
        idle.registry.stop()
        for probe in [idle, busy, stuck] { probe.channel.embeddedEventLoop.run() }
        #expect(!idle.channel.isActive)
        #expect(busy.channel.isActive)
        try busy.answers(.ok)
        #expect(busy.heard.hasPrefix("HTTP/1.1 200 "))
        #expect(!busy.channel.isActive)
        idle.registry.cut()
        stuck.channel.embeddedEventLoop.run()
        #expect(!stuck.channel.isActive)
        #expect(try !ChannelProbe(registry: idle.registry).channel.isActive)
    }

    @Test func workThatDoesNotEndIsLeftBehind() async {
        let connection = Connection(NIOAsyncTestingChannel())
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await connection.run {
                    continuation.yield()
                    // Heeds no cancellation.
                    await withCheckedContinuation { (never: CheckedContinuation<Void, Never>) in
                        Held.never.withLock { $0.append(never) }
                    }
                }
            }
            for await _ in stream { break }
            connection.cut()
        }
        for never in Held.never.withLock({ $0 }) { never.resume() }
    }
}

private enum Held {
    static let never = Mutex<[CheckedContinuation<Void, Never>]>([])
}

/// One HTTP/1 connection with its guards, as the server sets it up.
private final class ChannelProbe {
    let channel = EmbeddedChannel()
    let metrics: GatewayMetrics
    let registry: ConnectionRegistry
    private(set) var paths: [String] = []
    private(set) var bodyBytes = 0
    private let clock = TestClock()

    init(registry: ConnectionRegistry? = nil, most: Int = 1) throws {
        metrics = GatewayMetrics()
        self.registry = registry ?? ConnectionRegistry(most: most, mostPerAddress: most, metrics: metrics)
        var limits = TimeLimits()
        limits.now = { [clock] in clock.now }
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(HalfClosed())
        try pipeline.addHandler(
            ConnectionGuard(registry: self.registry, connection: Connection(channel), limits: limits)
        )
        try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: false, withErrorHandling: false)
        try pipeline.addHandler(HTTP1ToHTTPServerCodec(secure: false))
        try pipeline.addHandler(RequestGuard(limits: limits))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9)).wait()
        channel.read()
    }

    deinit { _ = try? channel.finish(acceptAlreadyClosed: true) }

    /// The client.
    func says(_ text: String) throws {
        let taken = Result { try channel.writeInbound(ByteBuffer(string: text)) }
        while let part = try channel.readInbound(as: HTTPRequestPart.self) {
            switch part {
            case .head(let head): paths.append(head.path ?? "")
            case .body(let bytes): bodyBytes += bytes.readableBytes
            case .end: break
            }
        }
        channel.read()
        _ = try taken.get()
    }

    /// The route.
    func answers(_ status: HTTPResponse.Status, length: Int? = 2) throws {
        var headers = HTTPFields()
        if let length { headers[.contentLength] = String(length) }
        try channel.writeOutbound(HTTPResponsePart.head(HTTPResponse(status: status, headerFields: headers)))
        try channel.writeOutbound(HTTPResponsePart.body(ByteBuffer(string: "{}")))
        try channel.writeOutbound(HTTPResponsePart.end(nil))
    }

    /// What the client got since it was asked last.
    var heard: String {
        var bytes = ByteBuffer()
        while var part = try? channel.readOutbound(as: ByteBuffer.self) { bytes.writeBuffer(&part) }
        return String(buffer: bytes)
    }

    func wait(_ time: Duration) {
        clock.advance(time)
        channel.embeddedEventLoop.advanceTime(by: TimeAmount(time))
    }
}

/// What an embedded channel lacks: it would close as a whole.
private final class HalfClosed: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if mode == .output { promise?.succeed() } else { context.close(mode: mode, promise: promise) }
    }
}

private final class TestClock: Sendable {
    private let time = Mutex(BootTime(nanoseconds: 1_000_000_000))

    var now: BootTime { time.withLock { $0 } }

    func advance(_ length: Duration) { time.withLock { $0 = $0.advanced(by: length) } }
}
