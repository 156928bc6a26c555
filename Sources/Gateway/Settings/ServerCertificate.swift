import HummingbirdCore
import HummingbirdHTTP2
import Log
import Logging
import NIOCore
import NIOSSL
import Synchronization

/// The certificate and key that the API is served with. A reload is for new connections; those that are open keep theirs.
final class ServerCertificate: Sendable {
    private let configuration: HTTP2ChannelConfiguration
    private let state: Mutex<State>

    private struct State {
        var tls: TLSConfiguration
        /// Nil until the server is built, which gives the responder.
        var channel: HTTP2UpgradeChannel?
        var responder: HTTPChannelHandler.Responder?
    }

    /// - Throws: `configuration_invalid`, with the setting, when a file cannot be used.
    init(_ settings: GatewayConfiguration, _ configuration: HTTP2ChannelConfiguration) throws {
        self.configuration = configuration
        state = Mutex(State(tls: try ServerCertificate.load(settings)))
    }

    /// - Throws: as `init`; then the old ones stay.
    func reload(_ settings: GatewayConfiguration) throws {
        guard !settings.tlsCertificate.isEmpty else {
            throw GatewayError(.configuration, "tls.certificate is gone from the settings; to end TLS needs a restart")
        }
        let tls = try ServerCertificate.load(settings)
        try state.withLock { state in
            if let responder = state.responder { state.channel = try channel(tls, responder) }
            state.tls = tls
        }
    }

    /// What the server is built with.
    func builder(guardedBy registry: ConnectionRegistry) -> HTTPServerBuilder {
        HTTPServerBuilder { responder in
            let first = try self.state.withLock { state in
                let channel = try self.channel(state.tls, responder)
                state.channel = channel
                state.responder = responder
                return channel
            }
            let channel = CertifiedChannel(certificate: self, responder: responder, first: first)
            return GuardedChannel(base: channel, registry: registry)
        }
    }

    /// What sets up a new connection.
    fileprivate var current: HTTP2UpgradeChannel? { state.withLock { $0.channel } }

    private func channel(
        _ tls: TLSConfiguration,
        _ responder: @escaping HTTPChannelHandler.Responder
    ) throws -> HTTP2UpgradeChannel {
        do {
            return try HTTP2UpgradeChannel(tlsConfiguration: tls, configuration: configuration, responder: responder)
        } catch {
            throw ServerCertificate.unusable(error)
        }
    }

    // MARK: Files

    /// Reads the files and checks that they can be used together.
    static func load(_ settings: GatewayConfiguration) throws -> TLSConfiguration {
        let chain: [NIOSSLCertificate]
        do {
            chain = try NIOSSLCertificate.fromPEMFile(settings.tlsCertificate)
        } catch {
            throw unreadable("tls.certificate", settings.tlsCertificate, "a certificate", error)
        }
        guard !chain.isEmpty else {
            throw GatewayError(
                .configuration,
                "there is no certificate in the file \(settings.tlsCertificate) of the setting tls.certificate",
                field: "tls.certificate"
            )
        }
        let key: NIOSSLPrivateKey
        do {
            key = try NIOSSLPrivateKey(file: settings.tlsKey, format: .pem)
        } catch {
            throw unreadable("tls.key", settings.tlsKey, "a private key", error)
        }
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(key)
        )
        tls.minimumTLSVersion = .tlsv12
        tls.cipherSuiteValues = ServerCertificate.ciphers
        do {
            _ = try NIOSSLContext(configuration: tls)
        } catch {
            throw unusable(error)
        }
        return tls
    }

    /// Of TLS 1.2; those of 1.3 are all good. Each agrees on a key that nobody can find out later with the certificate's key, and
    /// none is open to attacks on padding.
    private static let ciphers: [NIOTLSCipher] = [
        .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]

    private static func unreadable(_ key: String, _ path: String, _ what: String, _ error: any Error) -> GatewayError {
        GatewayError(
            .configuration,
            "the file \(path) of the setting \(key) could not be read as \(what) in PEM: \(error)",
            field: key
        )
    }

    private static func unusable(_ error: any Error) -> GatewayError {
        GatewayError(
            .configuration,
            "certificate and key of the settings tls.certificate and tls.key cannot be used together: \(error)",
            field: "tls.key"
        )
    }
}

extension GatewayConfiguration {
    /// Checks the files that a start reads and never makes, and that there is room for the name of the socket.
    package func checkFiles() throws {
        try ControlRoutes.checkPath(in: data)
        try PrivateDirectory.check(data)
        if !tlsCertificate.isEmpty { _ = try ServerCertificate.load(self) }
    }
}

/// Sets up each connection with the certificate of that moment.
private struct CertifiedChannel: HTTPChannelHandler {
    typealias Value = HTTP2UpgradeChannel.Value

    let certificate: ServerCertificate
    let responder: HTTPChannelHandler.Responder
    let first: HTTP2UpgradeChannel

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        (certificate.current ?? first).setup(channel: channel, logger: logger)
    }

    /// A connection that is set up holds all it needs; any channel can serve it.
    func handle(value: Value, logger: Logger) async { await first.handle(value: value, logger: logger) }
}
