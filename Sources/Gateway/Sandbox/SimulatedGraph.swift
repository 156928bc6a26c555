import HTTPTypes
import Hummingbird
import Log
import Projections
import Synchronization

/// Meta's Graph API as far as messages and Embedded Signup need it: Bearer and JSON in, Meta's answers out, signed webhooks back, in the escaped
/// form in which Meta sends and signs them.
final class SimulatedGraph: Sendable {
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

    let accessToken = Hex.encode(Crypto.randomBytes(16))
    let appSecret = Hex.encode(Crypto.randomBytes(16))
    private let driver: CurlDriver
    private let state = Mutex(State())

    private struct State: Sendable {
        var webhook = ""
        var sent: [Sent] = []
    }

    private struct Sent: Sendable {
        let id: String
        let account: String
        let body: [UInt8]
    }

    init(driver: CurlDriver) { self.driver = driver }

    /// Where webhooks go.
    func use(webhook: String) { state.withLock { $0.webhook = webhook } }

    func add(to router: Router<GatewayContext>) {
        router.post("/v25.0/:account/messages") { try await self.accept($0, $1) }
        router.get("/v25.0/oauth/access_token") { request, _ in self.exchange(request) }
        router.post("/v25.0/:account/subscribed_apps") { request, _ in self.subscribe(request) }
        router.post("/v25.0/:account/register") { request, _ in try await self.register(request) }
        router.get("/sandbox/sent-meta") { _, _ in self.listSent() }
        router.post("/sandbox/messages") { try await self.write($0, $1) }
    }

    private func isAuthorized(_ request: Request) -> Bool {
        guard let header = request.headers[.authorization] else { return false }
        return header == "Bearer \(accessToken)" || header.hasPrefix("Bearer " + SimulatedGraph.signupToken)
    }

    private static var unauthorized: Response { error(.unauthorized, 190, "Invalid OAuth access token.") }

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
        let account = try context.parameter("account")
        guard let body = ProviderJSON(bytes), body.isObject else {
            return SimulatedGraph.error(.badRequest, 100, "(#100) Invalid parameter")
        }
        let isWhatsApp = body["messaging_product"]?.text == "whatsapp"
        guard let recipient = SimulatedGraph.recipient(body, isWhatsApp: isWhatsApp) else {
            return SimulatedGraph.error(.badRequest, 100, "(#100) The parameter recipient is required")
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

    private static func recipient(_ body: ProviderJSON, isWhatsApp: Bool) -> String? {
        if !isWhatsApp { return body["recipient"]?["id"]?.text }
        // Typing is shown by marking a message as read, which names no one.
        return body["to"]?.text ?? body["recipient"]?.text ?? body["message_id"]?.text
    }

    private static func accepted(_ id: String, _ recipient: String, isWhatsApp: Bool, isMessage: Bool) -> Response {
        Answer.json { json in
            if !isWhatsApp {
                json.string("recipient_id", recipient)
                if isMessage { json.string("message_id", id) }
                return
            }
            guard isMessage else { return json.bool("success", true) }
            json.string("messaging_product", "whatsapp")
            json.array("contacts") { json in
                json.element { json in
                    json.object { json in
                        json.string("input", recipient)
                        json.string("wa_id", recipient)
                    }
                }
            }
            json.array("messages") { json in json.element { $0.object { $0.string("id", id) } } }
        }
    }

    private static func error(_ status: HTTPResponse.Status, _ code: Int, _ message: String) -> Response {
        Answer.json(status) { json in
            json.object("error") { json in
                json.string("message", message)
                json.string("type", "OAuthException")
                json.number("code", code)
                json.string("fbtrace_id", Hex.encode(Crypto.randomBytes(8)))
            }
        }
    }

    /// A message's life, in fast motion. Instagram has no deliveries and reads by message.
    private func report(_ id: String, _ ours: String, _ account: String, _ recipient: String, isWhatsApp: Bool) async {
        if isWhatsApp {
            for status in ["sent", "delivered", "read"] {
                try? await Task.sleep(for: .milliseconds(150))
                await post(MetaWire.status(id, status, ours: ours, account: account, to: recipient))
            }
            return
        }
        try? await Task.sleep(for: .milliseconds(300))
        let isInstagram = account == "me"
        await post(
            isInstagram
                ? MetaWire.seen(id, account: SimulatedGraph.account(.instagram), by: recipient)
                : MetaWire.read(account: account, by: recipient)
        )
    }

    // MARK: Customers

    /// `POST /sandbox/messages` `{platform, from, text}`: a customer writes to the demo client, or to the `account` that is named.
    private func write(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let fields = try await request.fields()
        try fields.allow(["platform", "from", "text", "account"])
        guard let platform = Platform(name: try fields.require("platform")), platform != .sms else {
            throw fields.wrong("platform", "facebook, instagram or whatsapp")
        }
        let from = try fields.require("from")
        guard from.utf8.count <= 128, from.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw fields.wrong("from", "the customer's id: digits, for whatsapp those of a phone number")
        }
        let text = try fields.require("text")
        let account = try fields.string("account") ?? SimulatedGraph.account(platform)
        let status = await post(MetaWire.message(platform, account: account, from: from, text: text))
        return Answer.json { json in
            json.number("gateway_status", status)
            json.bool("accepted", status == 200)
        }
    }

    @discardableResult
    private func post(_ body: [UInt8]) async -> Int {
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
