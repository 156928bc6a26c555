import HTTPTypes
import Hummingbird
package import Log
import Projections
import Synchronization

/// Meta's Graph API as far as messages and Embedded Signup need it: Bearer and JSON in, Meta's answers out, signed webhooks back, in
/// the escaped form in which Meta sends and signs them. Files of customers are at URLs as Meta has them: those of WhatsApp only for
/// who has the token.
package final class SimulatedGraph: Sendable {
    /// What the demo client's accounts are called.
    static func account(_ platform: Platform) -> String {
        switch platform {
        case .facebook: "100000000000001"
        case .instagram: "17841400000000001"
        case .whatsapp, .sms: "106540352242922"
        }
    }

    static let businessAccount = "102290129340398"
    static let ourNumber = "+15550783881"
    static let appID = "100200300400500"
    /// Begins every token that a signup gives. Unlike the demo client's, these are good for ever: the accounts that were connected
    /// with them are still connected after a restart.
    private static let signupToken = "sandbox-"
    private static let mediaPath = "/sandbox/whatsapp-media/"
    private static let cdnPath = "/sandbox/meta-cdn/"

    package let accessToken = Hex.encode(Crypto.randomBytes(16))
    package let appSecret = Hex.encode(Crypto.randomBytes(16))
    private let clock: GuardedClock
    private let driver: CurlDriver
    private let files: SandboxFiles
    private let failures: SandboxFailures
    private let state = Mutex(State())

    private struct State: Sendable {
        var webhook = ""
        var base = ""
        var sent: [Sent] = []
    }

    private struct Sent: Sendable {
        let id: String
        let account: String
        let body: [UInt8]
    }

    package init(
        driver: CurlDriver,
        files: SandboxFiles,
        failures: SandboxFailures,
        clock: GuardedClock = GuardedClock()
    ) {
        self.clock = clock
        self.driver = driver
        self.files = files
        self.failures = failures
    }

    private var now: Timestamp { Timestamp(clock.now) }

    /// Where webhooks go.
    package func use(webhook: String) { state.withLock { $0.webhook = webhook } }

    /// Where this server is, without a slash at the end.
    package func use(base: String) { state.withLock { $0.base = base } }

    package func add(to router: Routes) {
        router.post("/v25.0/:object/messages", query: .any) { try await self.accept($0, $1) }
        router.get("/v25.0/oauth/access_token", query: .any) { request, _ in self.exchange(request) }
        router.post("/v25.0/:object/subscribed_apps", query: .any) { request, _ in self.subscribe(request) }
        router.post("/v25.0/:object/register", query: .any) { request, _ in try await self.register(request) }
        router.get("/v25.0/:object", query: .any) { try self.describe($0, $1) }
        router.get("/sandbox/whatsapp-media/:file", query: .any) { try self.serve($0, $1) }
        router.get("/sandbox/meta-cdn/:file", query: .any) { try self.serveToAnyone($0, $1) }
        router.get("/sandbox/sent-meta") { _, _ in self.listSent() }
    }

    private func isAuthorized(_ request: Request) -> Bool {
        guard let header = request.headers[.authorization] else { return false }
        return header == "Bearer \(accessToken)" || header.hasPrefix("Bearer " + SimulatedGraph.signupToken)
    }

    // MARK: Embedded Signup

    /// Any code is good, and as often as one likes.
    private func exchange(_ request: Request) -> Response {
        let query = FormBody([UInt8]((request.uri.query ?? "").utf8))
        guard query?["client_id"] == SimulatedGraph.appID, query?["client_secret"] == appSecret else {
            return SimulatedGraph.error(.badRequest, 101, "Error validating application.")
        }
        guard query?["code"]?.isEmpty == false else {
            return SimulatedGraph.error(.badRequest, 100, "Missing authorization code")
        }
        return Answer.json { json in
            json.string("access_token", SimulatedGraph.signupToken + Hex.encode(Crypto.randomBytes(16)))
            json.string("token_type", "bearer")
        }
    }

    private func subscribe(_ request: Request) -> Response {
        isAuthorized(request) ? Answer.json { $0.bool("success", true) } : SimulatedGraph.unauthorized
    }

    private func register(_ request: Request) async throws -> Response {
        let body = ProviderJSON(try await request.bytes(limit: 1 << 16))
        guard isAuthorized(request) else { return SimulatedGraph.unauthorized }
        guard body?["messaging_product"]?.text == "whatsapp", EmbeddedSignup.isPIN(body?["pin"]?.text ?? "") else {
            return SimulatedGraph.error(.badRequest, 100, "(#100) Invalid parameter")
        }
        return Answer.json { $0.bool("success", true) }
    }

    // MARK: Sends

    private func accept(_ request: Request, _ context: GatewayContext) async throws -> Response {
        guard isAuthorized(request) else { return SimulatedGraph.unauthorized }
        let bytes = try await request.bytes(limit: 1 << 20)
        let account = try context.parameter("object")
        guard let body = ProviderJSON(bytes), body.isObject else {
            return SimulatedGraph.error(.badRequest, 100, "(#100) Invalid parameter")
        }
        let isWhatsApp = body["messaging_product"]?.text == "whatsapp"
        guard let recipient = SimulatedGraph.recipient(body, isWhatsApp: isWhatsApp) else {
            return SimulatedGraph.error(.badRequest, 100, "(#100) The parameter recipient is required")
        }
        if let failure = failures.take(SimulatedGraph.platform(of: account, isWhatsApp: isWhatsApp)) {
            return SimulatedGraph.failed(failure)
        }
        let isMessage = isWhatsApp ? body["type"] != nil : body["message"] != nil
        let id = (isWhatsApp ? "wamid." : "m_") + Hex.encode(Crypto.randomBytes(16))
        let sent = Sent(id: id, account: account, body: bytes)
        state.withLock { $0.sent = Array(($0.sent + [sent]).suffix(200)) }
        if isMessage {
            let ours = body["biz_opaque_callback_data"]?.text ?? ""
            Task { await self.report(id, ours, account, recipient, isWhatsApp: isWhatsApp) }
        }
        return SimulatedGraph.accepted(id, recipient, isWhatsApp: isWhatsApp, isMessage: isMessage)
    }

    /// A message's life, in fast motion. Instagram has no deliveries and reads by message.
    private func report(_ id: String, _ ours: String, _ account: String, _ recipient: String, isWhatsApp: Bool) async {
        if isWhatsApp {
            for status in ["sent", "delivered", "read"] {
                try? await Task.sleep(for: .milliseconds(150))
                let item = MetaWire.status(id, status, ours: ours, account: account, to: recipient, at: now)
                await post(MetaWire.webhook([item]))
            }
            return
        }
        try? await Task.sleep(for: .milliseconds(300))
        let isInstagram = SimulatedGraph.platform(of: account, isWhatsApp: false) == .instagram
        let item =
            isInstagram
            ? MetaWire.seen(id, account: SimulatedGraph.account(.instagram), by: recipient, at: now)
            : MetaWire.read(account: account, by: recipient, at: now)
        await post(MetaWire.webhook([item]))
    }

    // MARK: Customers

    /// A customer writes. The gateway's status, or 0 when it gave none.
    package func deliver(_ message: CustomerMessage) async -> Int { await post(webhook(of: [message])) }

    /// The body of one webhook.
    /// - Parameter messages: over platforms that share an object, which is one.
    package func webhook(of messages: [CustomerMessage]) -> [UInt8] {
        MetaWire.webhook(
            messages.map { message in
                MetaWire.message(message, message.file.map { file in keep(file, of: message.platform) }, at: now)
            }
        )
    }

    private func keep(_ file: SandboxFile, of platform: Platform) -> MetaWire.Place {
        let id = String(UInt64.random(in: 1_000_000_000_000_000...9_999_999_999_999_999))
        let path = (platform == .whatsapp ? SimulatedGraph.mediaPath : SimulatedGraph.cdnPath) + id
        files.keep(file, at: path)
        return MetaWire.Place(id: id, url: state.withLock { $0.base } + path)
    }

    // MARK: Files

    /// `GET /{version}/{media_id}`: where the file of a WhatsApp message is.
    private func describe(_ request: Request, _ context: GatewayContext) throws -> Response {
        guard isAuthorized(request) else { return SimulatedGraph.unauthorized }
        let id = try context.parameter("object")
        let path = SimulatedGraph.mediaPath + id
        guard let file = files.file(at: path) else {
            let message = "Unsupported get request. Object with ID '\(id)' does not exist"
            return SimulatedGraph.error(.badRequest, 100, message, subcode: 33)
        }
        let url = state.withLock { $0.base } + path
        return Answer.json { json in
            json.string("messaging_product", "whatsapp")
            json.string("url", url)
            json.string("mime_type", file.mimeType)
            json.string("sha256", Hex.encode(Crypto.sha256(file.content)))
            json.number("file_size", file.content.count)
            json.string("id", id)
        }
    }

    /// A file of WhatsApp: for who has the token and says what software he is.
    private func serve(_ request: Request, _ context: GatewayContext) throws -> Response {
        guard isAuthorized(request), request.headers[.userAgent]?.isEmpty == false else {
            return Answer.text(.unauthorized, "text/html", "<title>Error</title>")
        }
        return served(SimulatedGraph.mediaPath, try context.parameter("file"))
    }

    /// A file of Messenger or Instagram: the URL is all that is needed.
    private func serveToAnyone(_ request: Request, _ context: GatewayContext) throws -> Response {
        served(SimulatedGraph.cdnPath, try context.parameter("file"))
    }

    private func served(_ path: String, _ id: String) -> Response {
        files.file(at: path + id)?.response ?? Answer.text(.notFound, "text/html", "<title>URL expired</title>")
    }

    // MARK: Webhooks

    /// Signs and sends. The gateway's status, or 0 when it gave none.
    @discardableResult
    package func post(_ body: [UInt8]) async -> Int {
        let signature = Hex.encode(Crypto.hmacSHA256(key: [UInt8](appSecret.utf8), message: body))
        let headers = [
            (name: "Content-Type", value: "application/json"),
            (name: "X-Hub-Signature-256", value: "sha256=" + signature),
        ]
        return await driver.post(state.withLock { $0.webhook }, headers, body)
    }

    private func listSent() -> Response {
        let messages = state.withLock { $0.sent }
        return Answer.json { json in
            json.array("data") { json in
                for message in messages.reversed() {
                    json.element { json in
                        json.object { json in
                            json.string("id", message.id)
                            json.string("account", message.account)
                            json.raw("request", message.body)
                        }
                    }
                }
            }
        }
    }
}
