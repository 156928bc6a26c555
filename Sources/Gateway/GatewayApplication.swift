import Glibc
import Hummingbird
import HummingbirdCore
import HummingbirdHTTP2
import HummingbirdTLS
import Log
package import Logging
import NIOCore
import NIOSSL
import Projections
import ServiceLifecycle
import Synchronization

/// Assembles the gateway: ledger, planners, outgoing HTTP, public and control servers, and the sandbox when asked for.
package struct GatewayApplication: Service {
    private let configuration: GatewayConfiguration
    private let logger: Logger
    /// Gets one line of text for each thing a person starting the gateway wants to know.
    private let announce: @Sendable (String) -> Void

    package init(
        configuration: GatewayConfiguration,
        logger: Logger,
        announce: @escaping @Sendable (String) -> Void
    ) {
        self.configuration = configuration
        self.logger = logger
        self.announce = announce
    }

    /// Runs until graceful shutdown: stops accepting, lets attempts finish, records the stop, closes the log.
    package func run() async throws {
        let metrics = GatewayMetrics()
        let alarm = LogAlarm(metrics: metrics, logger: logger)
        let ledger = try await Ledger.open(
            directory: configuration.data,
            root: try RootKeys.holder(configuration.keyRoot),
            configuration: configuration.log,
            version: configuration.version,
            isSandbox: configuration.isSandbox,
            alarm: { alarm.raise($0) }
        )
        do {
            let checkpointer = try await Checkpointer.open(ledger, configuration)
            try await serve(ledger, checkpointer, metrics)
            await ledger.recordStop(reason: "shutdown")
            // The last checkpoint covers the whole history, the stop included.
            try await checkpointer.store()
        } catch {
            await ledger.close(reason: "error")
            throw error
        }
        ledger.close()
    }

    private func serve(_ ledger: Ledger, _ checkpointer: Checkpointer, _ metrics: GatewayMetrics) async throws {
        try await printFirstToken(ledger)
        await ChannelIntake(ledger: ledger, logger: logger).settleAll()
        let address = ServedAddress(configuration)
        let sandbox = configuration.isSandbox ? Sandbox(ledger: ledger, logger: logger) : nil
        try await sandbox?.start()
        let webhooks = try CurlDriver(
            policy: AddressPolicy(allowed: allowedNetworks),
            connectionsMax: DeliveryService.inFlightMax,
            // Several clients may have their endpoints on one host; what bounds a client is its own `max_in_flight`.
            connectionsPerHostMax: DeliveryService.inFlightMax,
            usesHTTP2: false
        )
        let callsMax = SendService.inFlightMax + SignupDesk.runningMax
        // A provider's answer repeats the text of the message; cut off, its id could not be read.
        let providers = try CurlDriver(
            policy: nil,
            connectionsMax: callsMax,
            connectionsPerHostMax: callsMax,
            bodyBytesMax: 64 << 10,
            usesHTTP2: false
        )
        let files = try MediaDrivers(allowed: configuration.mediaAllowCIDRs)
        var settings = configuration
        if let sandbox { settings = await sandbox.adjust(settings) }
        let shelf = MediaShelf(
            ledger: ledger,
            directory: configuration.data,
            reserve: UInt64(2 * configuration.log.segmentBytes + 64 << 20)
        )
        let router = GatewayRouter(
            ledger: ledger,
            shelf: shelf,
            configuration: settings,
            publicURL: { address.publicURL },
            metrics: metrics,
            checkpointer: checkpointer,
            signups: SignupDesk(settings) { await providers.perform($0) },
            logger: logger
        )
        var services: [any Service] = [
            PlanningClock(ledger: ledger), LogWatch(ledger: ledger),
            CheckpointService(checkpointer: checkpointer, logger: logger),
            DeliveryService(
                ledger: ledger,
                rendering: EventRendering(ledger: ledger, shelf: shelf, inlineMax: settings.inlineMediaBytes),
                driver: webhooks,
                headerPrefix: settings.webhooksHeaderPrefix,
                allowHTTP: settings.webhooksAllowHTTP,
                metrics: metrics,
                logger: logger
            ),
            SendService(
                ledger: ledger,
                driver: providers,
                addresses: ProviderAddresses(settings),
                publicURL: { address.publicURL },
                metrics: metrics,
                logger: logger
            ),
            MediaService(
                shelf: shelf,
                fetcher: MediaFetcher(shelf: shelf, drivers: files, settings: settings),
                metrics: metrics,
                logger: logger
            ),
            PurgeService(ledger: ledger, shelf: shelf, metrics: metrics, logger: logger),
            controlServer(ledger, checkpointer),
        ]
        let ready = announce
        services.append(
            try publicServer(router) { port in
                address.bound(port)
                ready("Waybill listens on \(address.local)")
                await sandbox?.ready(address: address, announce: ready)
            }
        )
        // Services stop in reverse order: first the edges, then the planners, so that what was accepted is worked on.
        // A log that has failed ends the process in order too: a server that is cancelled in the middle of accepting a
        // connection traps.
        let configured = services.map { service in
            ServiceGroupConfiguration.ServiceConfiguration(
                service: service,
                failureTerminationBehavior: service is LogWatch ? .gracefullyShutdownGroup : .cancelGroup
            )
        }
        let group = ServiceGroup(configuration: .init(services: configured, logger: logger))
        defer { removeSocket() }
        try await group.run()
        await webhooks.shutdown()
        await providers.shutdown()
        await files.shutdown()
        await sandbox?.stop()
    }

    /// The sandbox's receiver listens on loopback, which the public never may.
    private var allowedNetworks: [IPNetwork] {
        configuration.webhooksAllowCIDRs + (configuration.isSandbox ? [IPNetwork("127.0.0.0/8")].compactMap { $0 } : [])
    }

    private func printFirstToken(_ ledger: Ledger) async throws {
        let control = TokenControl(ledger)
        if try await control.hasOperator() { return }
        let created = try JSONFields(try await control.create(role: .operator, label: "first start", by: .firstStart))
        announce("Operator token (shown once): \(try created.string("token") ?? "")")
    }

    // MARK: Servers

    private func publicServer(
        _ router: GatewayRouter,
        onReady: @escaping @Sendable (Int) async -> Void
    ) throws -> any Service {
        let built = router.build()
        return Application(
            router: built,
            server: try server(),
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.listenHost, port: configuration.listenPort),
                serverName: nil
            ),
            onServerRunning: { channel in await onReady(channel.localAddress?.port ?? 0) },
            logger: logger
        )
    }

    private func server() throws -> HTTPServerBuilder {
        // Longer than any answer is held back; who says nothing for so long only holds a descriptor.
        let stream = HTTP1Channel.Configuration(
            additionalChannelHandlers: [StalledWrites()],
            idleTimeout: .seconds(75)
        )
        if configuration.tlsCertificate.isEmpty { return .http1(configuration: stream) }
        let chain = try NIOSSLCertificate.fromPEMFile(configuration.tlsCertificate).map {
            NIOSSLCertificateSource.certificate($0)
        }
        let key = try NIOSSLPrivateKey(file: configuration.tlsKey, format: .pem)
        return try .http2Upgrade(
            tlsConfiguration: TLSConfiguration.makeServerConfiguration(
                certificateChain: chain,
                privateKey: .privateKey(key)
            ),
            configuration: .init(idleTimeout: .seconds(75), streamConfiguration: stream)
        )
    }

    private var socketPath: String { configuration.data + "/" + ControlRoutes.socketName }

    private func controlServer(_ ledger: Ledger, _ checkpointer: Checkpointer) -> any Service {
        removeSocket()
        return Application(
            router: ControlRoutes(ledger: ledger, checkpointer: checkpointer).routes(),
            configuration: ApplicationConfiguration(address: .unixDomainSocket(path: socketPath)),
            onServerRunning: { [socketPath] _ in chmod(socketPath, 0o600) },
            logger: quiet
        )
    }

    /// The control server's start and stop interest nobody.
    private var quiet: Logger {
        var logger = logger
        logger.logLevel = .error
        return logger
    }

    private func removeSocket() { try? PosixStorage().remove(socketPath) }
}

/// Where the gateway really listens, known once the port is bound.
final class ServedAddress: Sendable {
    private let configuration: GatewayConfiguration
    private let port = Mutex(0)

    init(_ configuration: GatewayConfiguration) { self.configuration = configuration }

    func bound(_ port: Int) { self.port.withLock { $0 = port } }

    var local: String {
        let scheme = configuration.tlsCertificate.isEmpty ? "http" : "https"
        return "\(scheme)://\(configuration.listenHost):\(port.withLock { $0 })"
    }

    /// What providers call and sign.
    var publicURL: String { configuration.publicURL.isEmpty ? local : configuration.publicURL }
}

/// Ends the process when the log has failed: only a restart, which reads what is really on disk, can go on.
struct LogWatch: Service {
    let ledger: Ledger

    func run() async throws {
        try await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                if let failure = ledger.log.failure { throw failure }
                try? await Task.sleep(for: .milliseconds(200))
            }
        }
    }
}
