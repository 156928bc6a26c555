import HTTPTypes
import Hummingbird
import Log
import Logging
import NIOCore
import Projections
import Synchronization

/// Twilio as far as SMS needs it, in its real wire format: Basic auth and forms in, 201 JSON out, signed forms back. The URL
/// of a customer's file redirects to a CDN, which asks nobody who he is.
package final class SimulatedTwilio: Sendable {
    package static let accountSID = "AC00000000000000000000000000000000"
    static let ourNumber = "+15005550006"
    private static let cdnPath = "/sandbox/twilio-cdn/"

    package let authToken = Hex.encode(Crypto.randomBytes(16))
    private let driver: CurlDriver
    private let files: SandboxFiles
    private let failures: SandboxFailures
    private let base = Mutex("")
    private let sent = Mutex<[Sent]>([])

    struct Sent: Sendable {
        let sid: String
        let to: String
        let body: String
    }

    package init(driver: CurlDriver, files: SandboxFiles, failures: SandboxFailures) {
        self.driver = driver
        self.files = files
        self.failures = failures
    }

    /// Where this server is, without a slash at the end.
    package func use(base: String) { self.base.withLock { $0 = base } }

    package func add(to router: Routes) {
        router.post("/2010-04-01/Accounts/:account/Messages.json", query: .any) { try await self.accept($0, $1) }
        router.get("/2010-04-01/Accounts/:account/Messages/:message/Media/:media", query: .any) {
            try self.redirect($0, $1)
        }
        router.get("/sandbox/twilio-cdn/:file", query: .any) { try self.serve($0, $1) }
        router.get("/sandbox/sent") { _, _ in self.listSent() }
    }

    private func isAuthentic(_ request: Request) -> Bool {
        let pair = "\(SimulatedTwilio.accountSID):\(authToken)"
        return request.headers[.authorization] == "Basic " + Base64.encode([UInt8](pair.utf8))
    }

    private func accept(_ request: Request, _ context: GatewayContext) async throws -> Response {
        guard isAuthentic(request) else { return SimulatedTwilio.error(.unauthorized, 20_003, "Authenticate") }
        guard let form = FormBody(try await request.bytes(limit: 1 << 16)), let to = form["To"] else {
            return SimulatedTwilio.error(.badRequest, 21_604, "A 'To' phone number is required.")
        }
        let body = form["Body"] ?? ""
        guard !body.isEmpty || form["MediaUrl"] != nil else {
            return SimulatedTwilio.error(.badRequest, 21_619, "A text message body or media urls must be specified.")
        }
        if let failure = failures.take(.sms) {
            return SimulatedTwilio.error(failure.status, failure.code, "Asked for in the sandbox")
        }
        guard PhoneNumber.isE164(to), to != "+15005550001" else {
            return SimulatedTwilio.error(.badRequest, 21_211, "Invalid 'To' Phone Number")
        }
        let message = Sent(sid: "SM" + Hex.encode(Crypto.randomBytes(16)), to: to, body: body)
        sent.withLock { $0 = Array(($0 + [message]).suffix(200)) }
        let callback = form["StatusCallback"] ?? ""
        Task { await self.report(message, callback) }
        return SimulatedTwilio.created(message)
    }

    private static func created(_ message: Sent) -> Response {
        Answer.json(.created) { json in
            json.string("sid", message.sid)
            json.string("account_sid", accountSID)
            json.string("from", ourNumber)
            json.string("to", message.to)
            json.string("body", message.body)
            json.string("status", "queued")
            json.string("direction", "outbound-api")
            json.string("num_segments", String(SMSEncoding(of: message.body).segments))
            json.string("error_code", nil)
            json.string("api_version", "2010-04-01")
        }
    }

    private static func error(_ status: HTTPResponse.Status, _ code: Int, _ message: String) -> Response {
        Answer.json(status) { json in
            json.number("code", code)
            json.string("message", message)
            json.string("more_info", "https://www.twilio.com/docs/errors/\(code)")
            json.number("status", status.code)
        }
    }

    /// A carrier's life of a message, in fast motion.
    private func report(_ message: Sent, _ callback: String) async {
        for status in ["sent", "delivered"] where !callback.isEmpty {
            try? await Task.sleep(for: .milliseconds(150))
            let fields = [
                ("MessageSid", message.sid), ("SmsSid", message.sid), ("AccountSid", SimulatedTwilio.accountSID),
                ("MessageStatus", status), ("SmsStatus", status), ("From", SimulatedTwilio.ourNumber),
                ("To", message.to), ("ApiVersion", "2010-04-01"),
            ]
            _ = await post(callback, fields)
        }
    }

    // MARK: Customers

    /// Delivers what a customer writes to the gateway, as Twilio would. Returns the gateway's status, or 0 when it gave none.
    package func deliver(_ message: CustomerMessage, to url: String) async -> Int {
        await post(url, webhook(of: message))
    }

    /// The form that tells of a message; the same each time it is sent.
    func webhook(of message: CustomerMessage) -> [(String, String)] {
        let (prefix, count) = message.file == nil ? ("SM", "0") : ("MM", "1")
        let sid = prefix + Hex.encode(Crypto.randomBytes(16))
        let segments = String(SMSEncoding(of: message.text).segments)
        var fields: [(String, String)] = [
            ("ToCountry", "US"), ("SmsMessageSid", sid), ("NumMedia", count), ("FromZip", ""), ("SmsSid", sid),
            ("SmsStatus", "received"), ("FromCity", ""), ("Body", message.text), ("FromCountry", "US"),
            ("To", SimulatedTwilio.ourNumber), ("NumSegments", segments), ("MessageSid", sid),
            ("AccountSid", SimulatedTwilio.accountSID), ("From", message.from), ("ApiVersion", "2010-04-01"),
        ]
        if let file = message.file {
            fields.append(("MediaContentType0", file.mimeType))
            fields.append(("MediaUrl0", keep(file, of: sid)))
        }
        return fields
    }

    /// The URL that is told of the file.
    private func keep(_ file: SandboxFile, of sid: String) -> String {
        let id = "ME" + Hex.encode(Crypto.randomBytes(16))
        files.keep(file, at: SimulatedTwilio.cdnPath + id)
        let account = "/2010-04-01/Accounts/\(SimulatedTwilio.accountSID)"
        return base.withLock { $0 } + "\(account)/Messages/\(sid)/Media/\(id)"
    }

    private func redirect(_ request: Request, _ context: GatewayContext) throws -> Response {
        guard isAuthentic(request) else { return SimulatedTwilio.error(.unauthorized, 20_003, "Authenticate") }
        let path = try SimulatedTwilio.cdnPath + context.parameter("media")
        guard files.file(at: path) != nil else { return SimulatedTwilio.notFound }
        return Response(status: .temporaryRedirect, headers: [.location: base.withLock { $0 } + path])
    }

    private func serve(_ request: Request, _ context: GatewayContext) throws -> Response {
        let path = try SimulatedTwilio.cdnPath + context.parameter("file")
        return files.file(at: path)?.response ?? SimulatedTwilio.notFound
    }

    private static var notFound: Response {
        error(.notFound, 20_404, "The requested resource was not found")
    }

    // MARK: Webhooks

    /// Signs and sends. The gateway's status, or 0 when it gave none.
    func post(_ url: String, _ fields: [(String, String)]) async -> Int {
        let signature = TwilioSignature.expected(
            token: [UInt8](authToken.utf8),
            url: url,
            fields: fields.map { (name: $0.0, value: $0.1) }
        )
        let headers = [
            (name: "Content-Type", value: "application/x-www-form-urlencoded; charset=UTF-8"),
            (name: "X-Twilio-Signature", value: signature), (name: "User-Agent", value: "TwilioProxy/1.1"),
        ]
        return await driver.post(url, headers, FormBody.encode(fields))
    }

    private func listSent() -> Response {
        let messages = sent.withLock { $0 }
        return Answer.json { json in
            json.array("data") { json in
                for message in messages.reversed() {
                    json.element { json in
                        json.object { json in
                            json.string("sid", message.sid)
                            json.string("to", message.to)
                            json.string("body", message.body)
                        }
                    }
                }
            }
        }
    }
}
