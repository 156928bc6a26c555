import HTTPTypes
import Hummingbird
import Log
import Logging
import NIOCore
import Projections
import Synchronization

/// Twilio as far as SMS needs it, in its real wire format: Basic auth and forms in, 201 JSON out, signed forms back.
final class SimulatedTwilio: Sendable {
    static let accountSID = "AC00000000000000000000000000000000"
    static let ourNumber = "+15005550006"
    let authToken = Hex.encode(Crypto.randomBytes(16))
    private let driver: CurlDriver
    private let sent = Mutex<[Sent]>([])

    struct Sent: Sendable {
        let sid: String
        let to: String
        let body: String
    }

    init(driver: CurlDriver) { self.driver = driver }

    func add(to router: Router<GatewayContext>) {
        router.post("/2010-04-01/Accounts/:account/Messages.json") { try await self.accept($0, $1) }
        router.get("/sandbox/sent") { _, _ in self.listSent() }
    }

    private func accept(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let expected = "Basic " + Base64.encode([UInt8]("\(SimulatedTwilio.accountSID):\(authToken)".utf8))
        guard request.headers[.authorization] == expected else {
            return SimulatedTwilio.error(.unauthorized, 20_003, "Authenticate")
        }
        guard let form = FormBody(try await request.bytes(limit: 1 << 16)), let to = form["To"], let body = form["Body"]
        else { return SimulatedTwilio.error(.badRequest, 21_604, "A 'To' phone number is required.") }
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

    /// Delivers a text from a customer to the gateway, as Twilio would. Returns the gateway's status.
    func deliver(from: String, text: String, to url: String) async -> Int {
        let sid = "SM" + Hex.encode(Crypto.randomBytes(16))
        let fields = [
            ("ToCountry", "US"), ("SmsMessageSid", sid), ("NumMedia", "0"), ("FromZip", ""), ("SmsSid", sid),
            ("SmsStatus", "received"), ("FromCity", ""), ("Body", text), ("FromCountry", "US"),
            ("To", SimulatedTwilio.ourNumber), ("NumSegments", String(SMSEncoding(of: text).segments)),
            ("MessageSid", sid), ("AccountSid", SimulatedTwilio.accountSID), ("From", from),
            ("ApiVersion", "2010-04-01"),
        ]
        return await post(url, fields)
    }

    private func post(_ url: String, _ fields: [(String, String)]) async -> Int {
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
