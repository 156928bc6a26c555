import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A TLS server on 127.0.0.1 that answers every request, and leaves its first connection a moment after the answer: it says
/// `close_notify`, and the end of TCP comes seconds later.
final class LeavingTLSServer: Sendable {
    private struct State {
        var requests: [String] = []
        var connections = 0
        var leaves = 0
    }

    private let state = Mutex(State())
    private let listener: Mutex<(any Channel)?> = Mutex(nil)

    /// Requests in the order they arrived, head and body.
    var requests: [String] { state.withLock { $0.requests } }
    var connections: Int { state.withLock { $0.connections } }
    /// How many connections it has said `close_notify` on.
    var leaves: Int { state.withLock { $0.leaves } }

    /// - Returns: the port.
    func start() async throws -> Int {
        let settings = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(Self.certificate.utf8)).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(Self.key.utf8), format: .pem))
        )
        let context = try NIOSSLContext(configuration: settings)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                let number = self.state.withLock { state in
                    state.connections += 1
                    return state.connections
                }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers(
                        NIOSSLServerHandler(context: context),
                        Answerer(server: self, leaves: number == 1)
                    )
                }
            }
            .bind(host: "127.0.0.1", port: 0)
            .get()
        listener.withLock { $0 = channel }
        return channel.localAddress?.port ?? 0
    }

    func stop() async throws {
        try await listener.withLock { $0.take() }?.close()
    }

    private final class Answerer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let server: LeavingTLSServer
        private let leaves: Bool
        private var text = ""

        init(server: LeavingTLSServer, leaves: Bool) {
            self.server = server
            self.leaves = leaves
        }

        /// A request ends with an exclamation mark, and has no other.
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            text += String(buffer: unwrapInboundIn(data))
            guard text.hasSuffix("!") else { return }
            server.state.withLock { $0.requests.append(text) }
            text = ""
            let answer = ByteBuffer(string: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            context.writeAndFlush(wrapOutboundOut(answer), promise: nil)
            guard leaves else { return }
            let (channel, server) = (context.channel, server)
            context.eventLoop.scheduleTask(in: .milliseconds(100)) {
                channel.close(promise: nil)
                server.state.withLock { $0.leaves += 1 }
            }
        }
    }
}

extension LeavingTLSServer {
    /// Signed by its own key, for 127.0.0.1, and good from 2020 to 2120. Nothing but tests trusts it.
    static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBSDCB7qADAgECAgEBMAoGCCqGSM49BAMCMBgxFjAUBgNVBAMMDWxvb3BiYWNr
        IHRlc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBgxFjAUBgNV
        BAMMDWxvb3BiYWNrIHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS1GygY
        Zr0mane1MkOQTFCvURdc1AWm/6ujJO2XVebCVyLBYA8nt1YBmL5tE3aLcwMZkznk
        Ic7E5AKa4NtSJ5HcoycwJTASBgNVHRMBAf8ECDAGAQH/AgEAMA8GA1UdEQQIMAaH
        BH8AAAEwCgYIKoZIzj0EAwIDSQAwRgIhAK6Sf2bOXJK2cXU7YPfmeksk7gGtJOtV
        a8wmeMYp2wwIAiEApR6EBstssBph0IrM63iftovXsKS1Dxf3B36Tf8o4sH4=
        -----END CERTIFICATE-----
        """

    private static let key = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglo7qhqHkkSxuW9Fx
        PHFTjYR7Zcq6QFjAp0V1y4ddeGuhRANCAAS1GygYZr0mane1MkOQTFCvURdc1AWm
        /6ujJO2XVebCVyLBYA8nt1YBmL5tE3aLcwMZkznkIc7E5AKa4NtSJ5Hc
        -----END PRIVATE KEY-----
        """
}
