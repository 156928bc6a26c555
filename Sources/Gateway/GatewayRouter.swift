import Hummingbird
package import Logging
import Projections

/// The public edges, put together.
package struct GatewayRouter: Sendable {
    let ledger: Ledger
    let configuration: GatewayConfiguration
    let live: LiveSettings
    let publicURL: @Sendable () -> String
    let metrics: GatewayMetrics
    let checkpointer: Checkpointer
    let signups: SignupDesk
    let logger: Logger
    private let connections: ConnectionRegistry?
    private let shelf: MediaShelf

    /// - Parameter live: the settings that SIGHUP changes; without them all stay as they are in `configuration`.
    package init(
        ledger: Ledger,
        shelf: MediaShelf,
        configuration: GatewayConfiguration,
        live: LiveSettings? = nil,
        publicURL: @escaping @Sendable () -> String,
        metrics: GatewayMetrics,
        checkpointer: Checkpointer,
        signups: SignupDesk,
        connections: ConnectionRegistry? = nil,
        logger: Logger
    ) {
        self.ledger = ledger
        self.configuration = configuration
        self.live = live ?? LiveSettings(configuration)
        self.publicURL = publicURL
        self.metrics = metrics
        self.checkpointer = checkpointer
        self.signups = signups
        self.logger = logger
        self.connections = connections
        self.shelf = shelf
    }

    package func build() -> GatewayRoutes {
        let memory = RequestMemory(bytes: configuration.requestMemoryBytes, metrics: metrics)
        let routes = GatewayRoutes(metrics: metrics, memory: memory, trustedProxies: configuration.trustedProxies)
        let router = routes.group()
        OperationsRoutes(ledger: ledger, metrics: metrics, connections: connections, memory: memory).add(to: router)
        TwilioRoutes(ledger: ledger, publicURL: publicURL, metrics: metrics, logger: logger).add(to: router)
        MetaRoutes(ledger: ledger, live: live, metrics: metrics, logger: logger).add(to: router)
        let client = router.group("v1").add(middleware: ClientAuthentication(ledger: ledger))
            .add(middleware: RequestRates(live: live, metrics: metrics))
        SendRoutes(ledger: ledger, live: live).add(to: client)
        MessageRoutes(ledger: ledger).add(to: client)
        PurgeRoutes(ledger: ledger).add(to: client)
        SettingsRoutes(ledger: ledger).add(to: client)
        WebhookRoutes(ledger: ledger, configuration: configuration).add(to: client)
        let rendering = EventRendering(ledger: ledger, shelf: shelf, inlineMax: configuration.inlineMediaBytes)
        DeliveryRoutes(ledger: ledger, rendering: rendering).add(to: client)
        EventRoutes(ledger: ledger, rendering: rendering).add(to: client)
        MediaRoutes(ledger: ledger, shelf: shelf).add(to: client)
        let admin = router.group("admin/v1").add(middleware: TokenAuthentication(ledger: ledger, roles: [.operator]))
        ClientRoutes(ledger: ledger).add(to: admin)
        ChannelRoutes(ledger: ledger, signups: signups).add(to: admin)
        let audit = AuditRoutes(ledger: ledger, checkpointer: checkpointer, isPublic: configuration.publicTiles)
        let auditors = TokenAuthentication(ledger: ledger, roles: [.operator, .auditor])
        audit.addReceipts(to: router.group("audit/v1").add(middleware: auditors))
        let tree = router.group("audit/v1")
        if !configuration.publicTiles { tree.add(middleware: auditors) }
        audit.addTree(to: tree)
        return routes
    }
}
