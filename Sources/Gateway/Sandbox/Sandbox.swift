import Hummingbird
import Log
import Logging
import NIOCore
import Projections
import ServiceLifecycle
import Synchronization

/// `serve --sandbox`: a simulated Twilio, a simulated Graph and a client's backend on a loopback port of their own, and a demo client that is
/// connected to both. Everything goes through the same public endpoints as the real provider, over HTTP.
final class Sandbox: Sendable {
    private let ledger: Ledger
    private let logger: Logger
    private let driver: CurlDriver?
    private let twilio: SimulatedTwilio?
    private let graph: SimulatedGraph?
    private let failures = SandboxFailures()
    private let receiver = SandboxReceiver()
    private let state = Mutex(State())

    private struct State: Sendable {
        var port = 0
        var server: Task<Void, any Error>?
        var gateway = ""
        var client = ""
    }

    init(ledger: Ledger, logger: Logger) {
        self.ledger = ledger
        var quiet = logger
        quiet.logLevel = .error
        self.logger = quiet
        driver = try? CurlDriver(policy: nil, connectionsMax: 64, connectionsPerHostMax: 32, usesHTTP2: false)
        let files = SandboxFiles()
        let asked = failures
        twilio = driver.map { SimulatedTwilio(driver: $0, files: files, failures: asked) }
        graph = driver.map { SimulatedGraph(driver: $0, files: files, failures: asked, clock: ledger.clock) }
    }

    private var baseURL: String { "http://127.0.0.1:\(state.withLock { $0.port })" }

    /// Starts the sandbox's server, at the port of the last time if that is free, and returns when it listens.
    func start() async throws {
        guard let twilio, let graph else {
            throw GatewayError(.internalError, "the sandbox could not start its HTTP client")
        }
        let routes = GatewayRoutes(metrics: GatewayMetrics())
        let router = routes.group()
        twilio.add(to: router)
        graph.add(to: router)
        failures.add(to: router)
        receiver.add(to: router)
        router.post("/sandbox/sms") { request, _ in try await self.write(request, over: .sms) }
        router.post("/sandbox/messages") { request, _ in try await self.write(request, over: nil) }
        let last = try await DemoClient.lastPort(ledger) ?? 0
        let isFree = (try? ListenAddress(host: "127.0.0.1", port: last).probe()) != nil
        let (bound, port) = AsyncStream.makeStream(of: Int.self)
        let application = Application(
            router: routes,
            configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: isFree ? last : 0)),
            onServerRunning: { channel in port.yield(channel.localAddress?.port ?? 0) },
            logger: logger
        )
        let server = Task {
            defer { port.finish() }
            try await application.run()
        }
        state.withLock { $0.server = server }
        for await value in bound {
            state.withLock { $0.port = value }
            break
        }
        // It ended before it listened.
        if state.withLock({ $0.port }) == 0 { return try await server.value }
        twilio.use(base: baseURL)
        graph.use(base: baseURL)
    }

    func stop() async {
        state.withLock { $0.server }?.cancel()
        await driver?.shutdown()
    }

    func adjust(_ configuration: GatewayConfiguration) -> GatewayConfiguration {
        var adjusted = configuration
        adjusted.twilioBaseURL = baseURL
        adjusted.graphBaseURL = baseURL
        adjusted.instagramBaseURL = baseURL
        // The first is what Embedded Signup uses; an app's real one has no business here.
        if let graph { adjusted.metaAppSecrets.insert(graph.appSecret, at: 0) }
        adjusted.metaAppID = SimulatedGraph.appID
        adjusted.webhooksAllowHTTP = true
        return adjusted
    }

    /// The gateway listens: connects the demo client and tells the person what to paste.
    func ready(address: ServedAddress, announce: @Sendable (String) -> Void) async {
        do {
            let demo = try await DemoClient.open(ledger)
            receiver.use(secret: demo.secret)
            state.withLock { state in
                state.gateway = address.publicURL
                state.client = ledger.ids.encode(.client, demo.id)
            }
            graph?.use(webhook: address.publicURL + "/channels/meta")
            try await connect(demo)
            Sandbox.instructions(address: address.local, sandbox: baseURL, demo).forEach(announce)
        } catch {
            announce("The sandbox could not set up its demo client: \(error)")
        }
    }

    private func connect(_ demo: DemoClient) async throws {
        let client = demo.id
        var credentials = TwilioCredentials()
        credentials.accountSID = SimulatedTwilio.accountSID
        credentials.authToken = twilio?.authToken ?? ""
        credentials.fromPhone = SimulatedTwilio.ourNumber
        var channel = ChannelConnected()
        channel.platform = .sms
        channel.actor = ledger.name(.sandbox)
        channel.account = try ledger.hash(client, .smsAccount, credentials.fromPhone)
        let endpoint = try await demo.endpoint(baseURL, ledger)
        let meta = try [Platform.facebook, .instagram, .whatsapp].map { try self.connection(to: $0, client) }
        _ = try await ledger.commit { [channel, credentials] _, _ in
            let sms = NewEvent(
                .channelConnected(channel),
                client: client,
                bodies: [SealedPart(.content, credentials.json)],
                seal: .newKey(.secret)
            )
            return (meta + [sms] + [endpoint].compactMap { $0 }, ())
        }
    }

    private func connection(to platform: Platform, _ client: LogPosition) throws -> NewEvent {
        var credentials = MetaCredentials()
        credentials.accountID = SimulatedGraph.account(platform)
        credentials.businessAccountID = platform == .whatsapp ? SimulatedGraph.businessAccount : ""
        credentials.accessToken = graph?.accessToken ?? ""
        var channel = ChannelConnected()
        channel.platform = platform
        channel.actor = ledger.name(.sandbox)
        channel.account = try ledger.hash(client, .metaAccount, MetaName.account(platform, credentials.accountID))
        channel.route = ledger.route(platform, credentials.accountID)
        return NewEvent(
            .channelConnected(channel),
            client: client,
            bodies: [SealedPart(.content, credentials.json)],
            seal: .newKey(.secret)
        )
    }

    private static func instructions(address: String, sandbox: String, _ demo: DemoClient) -> [String] {
        let key = demo.key
        return [
            "Sandbox:    \(sandbox) (simulated Twilio and Meta, and a webhook receiver)",
            "Demo key:   \(key)",
            "Webhook secret of the demo client: \(WebhookSignature.show(demo.secret))",
            "Send an SMS:",
            "  curl -sS \(address)/v1/send -H 'Authorization: Bearer \(key)' -H 'Content-Type: application/json' "
                + "-d '{\"to_phone\":\"+15551234567\",\"text\":\"Hello from Waybill\"}'",
            "Write as a customer, then see the signed webhook and what was sent:",
            "  curl -sS \(sandbox)/sandbox/sms -H 'Content-Type: application/json' "
                + "-d '{\"from\":\"+15551234567\",\"text\":\"Hi there\"}'",
            "  curl -sS \(sandbox)/sandbox/messages -H 'Content-Type: application/json' "
                + "-d '{\"platform\":\"whatsapp\",\"from\":\"16505551234\",\"text\":\"Hi over WhatsApp\"}'",
            "  curl -sS \(sandbox)/sandbox/messages -H 'Content-Type: application/json' "
                + "-d '{\"platform\":\"whatsapp\",\"from\":\"16505551234\",\"media\":{\"type\":\"document\","
                + "\"mime_type\":\"text/plain\",\"filename\":\"note.txt\",\"content\":\"SGVsbG8gZnJvbSBhIGZpbGU=\"}}'",
            "  curl -sS \(sandbox)/sandbox/received",
            "  curl -sS \(sandbox)/sandbox/sent",
            "  curl -sS \(sandbox)/sandbox/sent-meta",
            "Let the provider refuse the next message:",
            "  curl -sS \(sandbox)/sandbox/failures -H 'Content-Type: application/json' "
                + "-d '{\"platform\":\"whatsapp\",\"status\":400,\"code\":131026}'",
        ]
    }

    /// `POST /sandbox/messages`: customers write. `/sandbox/sms` is the same without `platform`.
    private func write(_ request: Request, over platform: Platform?) async throws -> Response {
        guard let twilio, let graph else { throw GatewayError(.unavailable, "the sandbox has no HTTP client") }
        let posts = try CustomerPosts(try await request.fields(limit: CustomerMessage.bodyBytesMax), over: platform)
        let (gateway, client) = state.withLock { ($0.gateway, $0.client) }
        let customers = SandboxCustomers(
            twilio: twilio,
            graph: graph,
            smsWebhook: "\(gateway)/channels/twilio/\(client)/sms"
        )
        return await customers.send(posts)
    }
}
