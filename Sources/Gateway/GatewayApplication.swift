import Glibc
import Hummingbird
import HummingbirdCore
import HummingbirdHTTP2
import Log
package import Logging
import NIOCore
import Projections
import ServiceLifecycle
import Synchronization

/// Assembles the gateway: ledger, planners, outgoing HTTP, public and control servers, and the sandbox when asked for.
package struct GatewayApplication: Service {
    private let configuration: GatewayConfiguration
    private let logger: Logger
    /// Reads the settings again, for SIGHUP.
    private let reload: @Sendable () throws -> GatewayConfiguration
    /// One element for each SIGHUP.
    private let hangups: AsyncStream<Void>
    /// Gets one line of text for each thing a person starting the gateway wants to know.
    private let announce: @Sendable (String) -> Void

    package init(
        configuration: GatewayConfiguration,
        logger: Logger,
        hangups: AsyncStream<Void>,
        reload: @escaping @Sendable () throws -> GatewayConfiguration,
        announce: @escaping @Sendable (String) -> Void
    ) {
        self.configuration = configuration
        self.logger = logger
        self.hangups = hangups
        self.reload = reload
        self.announce = announce
    }

    /// Runs until graceful shutdown: stops accepting, lets attempts finish, records the stop, closes the log.
    ///
    /// What would refuse the start is looked for before the log is opened, so that a start that is refused leaves no trace.
    package func run() async throws {
        try RestoreMarker.refuse(in: configuration.data, storage: PosixStorage())
        try DirectoryLock.refuseHeld(directory: configuration.data)
        try DataOwner.check(configuration.data)
        try PrivateDirectory.claim(configuration.data)
        try ControlRoutes.checkPath(in: configuration.data)
        let descriptors = try shareDescriptors()
        let certificate =
            configuration.tlsCertificate.isEmpty ? nil : try ServerCertificate(configuration, GatewayApplication.http2)
        let host = try configuration.listen.probe()
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
            let edge = Edge(
                host: host,
                certificate: certificate,
                descriptors: descriptors,
                connections: ConnectionRegistry(
                    most: descriptors.connections,
                    mostPerAddress: descriptors.connectionsPerAddress(asked: configuration.connectionsPerAddressMax),
                    uncounted: configuration.trustedProxies,
                    metrics: metrics
                )
            )
            try await serve(ledger, checkpointer, metrics, edge)
            await ledger.recordStop(reason: "shutdown")
            // The last checkpoint covers the whole history, the stop included.
            try await checkpointer.store()
        } catch {
            await ledger.close(reason: "error")
            throw error
        }
        ledger.close()
    }

    /// What the public server is made with.
    private struct Edge {
        let host: String
        let certificate: ServerCertificate?
        let descriptors: DescriptorBudget
        let connections: ConnectionRegistry
    }

    /// Raises the limit of open descriptors, and shares out what there is.
    private func shareDescriptors() throws -> DescriptorBudget {
        let limit = DescriptorLimit.raise()
        let shared = DescriptorBudget(
            limit: limit,
            asked: configuration.connectionsMax,
            deliveries: DeliveryService.inFlightMax,
            calls: GatewayApplication.callsMax,
            files: MediaService.inFlightMax
        )
        guard let shared else {
            throw GatewayError(
                .configuration,
                "the process may have \(limit) open descriptors, and needs \(DescriptorBudget.limitMin) at least: "
                    + "raise the hard limit (ulimit -Hn, LimitNOFILE)"
            )
        }
        if shared.deliveries < DeliveryService.inFlightMax || shared.isLess(than: configuration.connectionsMax) {
            logger.warning(
                "the limit of open descriptors leaves less than is wanted: raise the hard limit (ulimit -Hn, LimitNOFILE)",
                metadata: [
                    "limit": "\(limit)", "connections": "\(shared.connections)", "deliveries": "\(shared.deliveries)",
                ]
            )
        }
        return shared
    }

    private static let callsMax = SendService.inFlightMax + SignupDesk.runningMax

    private func serve(
        _ ledger: Ledger,
        _ checkpointer: Checkpointer,
        _ metrics: GatewayMetrics,
        _ edge: Edge
    ) async throws {
        await ChannelIntake(ledger: ledger, logger: logger).settleAll()
        let address = ServedAddress(configuration)
        let sandbox = configuration.isSandbox ? Sandbox(ledger: ledger, logger: logger) : nil
        try await sandbox?.start()
        let webhooks = try CurlDriver(
            policy: AddressPolicy(allowed: allowedNetworks),
            connectionsMax: edge.descriptors.deliveries,
            // Several clients may have their endpoints on one host; what bounds a client is its own `max_in_flight`.
            connectionsPerHostMax: edge.descriptors.deliveries,
            usesHTTP2: false
        )
        // A provider's answer repeats the text of the message; cut off, its id could not be read.
        let providers = try CurlDriver(
            policy: nil,
            connectionsMax: edge.descriptors.calls,
            connectionsPerHostMax: edge.descriptors.calls,
            bodyBytesMax: 64 << 10,
            usesHTTP2: false
        )
        let files = try MediaDrivers(allowed: configuration.mediaAllowCIDRs, connectionsMax: edge.descriptors.files)
        var settings = configuration
        if let sandbox { settings = sandbox.adjust(settings) }
        let live = LiveSettings(settings)
        let shelf = MediaShelf(
            ledger: ledger,
            directory: configuration.data,
            reserve: UInt64(2 * configuration.log.segmentBytes + 64 << 20)
        )
        let router = GatewayRouter(
            ledger: ledger,
            shelf: shelf,
            configuration: settings,
            live: live,
            publicURL: { address.publicURL },
            metrics: metrics,
            checkpointer: checkpointer,
            signups: SignupDesk(live) { await providers.perform($0) },
            connections: edge.connections,
            logger: logger
        )
        let planners: [any Service] = [
            DeliveryService(
                ledger: ledger,
                rendering: EventRendering(ledger: ledger, shelf: shelf, inlineMax: settings.inlineMediaBytes),
                driver: webhooks,
                headerPrefix: settings.webhooksHeaderPrefix,
                allowHTTP: settings.webhooksAllowHTTP,
                metrics: metrics,
                logger: logger,
                refused: RefusedAddresses("webhooks.allow_cidrs", logger)
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
        ]
        var services: [any Service] = [
            PlanningClock(ledger: ledger), LogWatch(ledger: ledger), ClockWatch(ledger: ledger, logger: logger),
            CheckpointService(checkpointer: checkpointer, logger: logger),
            Together(services: planners, within: GatewayApplication.attemptsEnd),
            controlServer(ledger, checkpointer, metrics),
            hangupService(live, sandbox, edge.certificate),
        ]
        let ready = announce
        services.append(
            publicServer(router, edge, address, metrics) { port in
                address.bound(port)
                await FirstToken(ledger: ledger).print(ready)
                ready("Waybill listens on \(address.local)\(address.scope)")
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
        // Whoever has the path now may have a socket there.
        defer { if ledger.log.failure?.code != .directoryLost { removeSocket() } }
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

    private func hangupService(
        _ live: LiveSettings,
        _ sandbox: Sandbox?,
        _ certificate: ServerCertificate?
    ) -> any Service {
        let reloading = Reloading(
            settings: live,
            load: { [reload] in
                let fresh = try reload()
                return sandbox?.adjust(fresh) ?? fresh
            },
            certificate: certificate,
            logger: logger
        )
        return HangupService(hangups: hangups, reloading: reloading)
    }

    // MARK: Servers

    private func publicServer(
        _ router: GatewayRouter,
        _ edge: Edge,
        _ address: ServedAddress,
        _ metrics: GatewayMetrics,
        onReady: @escaping @Sendable (Int) async -> Void
    ) -> any Service {
        let server = Application(
            router: router.build(),
            server: edge.certificate?.builder(guardedBy: edge.connections)
                ?? .guarded(by: edge.connections, GatewayApplication.http1),
            configuration: ApplicationConfiguration(
                address: .hostname(edge.host, port: configuration.listenPort),
                serverName: nil,
                // Those over the limit are closed one by one; this holds back a burst of them while they close.
                availableConnectionsDelegate: MaximumAvailableConnections(edge.descriptors.connections + 16)
            ),
            onServerRunning: { [logger] channel in
                await AcceptGuard.install(on: channel, metrics, logger)
                await onReady(channel.localAddress?.port ?? 0)
            },
            logger: logger
        )
        let bounded = BoundedServer(
            server: server,
            registry: edge.connections,
            within: GatewayApplication.requestsEnd,
            whenStopping: { [waiters = router.ledger.waiters] in waiters.stop() }
        )
        return PublicServer(server: bounded, address: address, listen: configuration.listen)
    }

    /// At a stop, what runs has so long: requests, commands, and then attempts of deliveries and sends. Together less than the
    /// 30 s after which supervisors kill.
    private static let requestsEnd = Duration.seconds(5)
    private static let commandsEnd = Duration.seconds(2)
    private static let attemptsEnd = Duration.seconds(16)

    /// Longer than any answer is held back; who says nothing for so long only holds a descriptor.
    private static var http1: HTTP1Channel.Configuration {
        HTTP1Channel.Configuration(additionalChannelHandlers: [RequestGuard()], idleTimeout: .seconds(75))
    }

    private static var http2: HTTP2ChannelConfiguration {
        HTTP2ChannelConfiguration(idleTimeout: .seconds(75), streamConfiguration: http1)
    }

    private var socketPath: String { configuration.data + "/" + ControlRoutes.socketName }

    private func controlServer(
        _ ledger: Ledger,
        _ checkpointer: Checkpointer,
        _ metrics: GatewayMetrics
    ) -> any Service {
        removeSocket()
        let connections = ConnectionRegistry(most: 16, mostPerAddress: 16, metrics: metrics)
        let server = Application(
            router: ControlRoutes(ledger: ledger, checkpointer: checkpointer).routes(),
            server: .guarded(by: connections, GatewayApplication.http1),
            configuration: ApplicationConfiguration(address: .unixDomainSocket(path: socketPath)),
            onServerRunning: { [socketPath, logger] channel in
                chmod(socketPath, 0o600)
                await AcceptGuard.install(on: channel, metrics, logger)
            },
            logger: quiet
        )
        return BoundedServer(server: server, registry: connections, within: GatewayApplication.commandsEnd)
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

    var isBound: Bool { port.withLock { $0 } > 0 }

    /// As programs on this machine reach it.
    var local: String { configuration.localURL(port: port.withLock { $0 }) }

    /// What `local` leaves out.
    var scope: String { configuration.listen.isEveryAddress ? " (and at every address of this machine)" : "" }

    /// What providers call and sign.
    var publicURL: String { configuration.publicURL.isEmpty ? local : configuration.publicURL }
}

/// The server of the API, whose failure to start names its address.
private struct PublicServer<Server: Service>: Service {
    let server: Server
    let address: ServedAddress
    let listen: ListenAddress

    func run() async throws {
        do {
            try await server.run()
        } catch let error as IOError where !address.isBound {
            // Somebody took it since it was looked at.
            throw listen.refused(String(cString: strerror(error.errnoCode)))
        }
    }
}

/// Reads settings and certificate again at each SIGHUP.
private struct HangupService: Service {
    let hangups: AsyncStream<Void>
    let reloading: Reloading

    func run() async throws {
        await cancelWhenGracefulShutdown {
            for await _ in hangups { reloading.run() }
            // The stream ends with the task only; a service that ends would end the gateway.
            while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
        }
    }
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
