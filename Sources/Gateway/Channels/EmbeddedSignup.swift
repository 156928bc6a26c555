import Projections

/// The app at Meta whose dialog customers go through.
package struct MetaApp: Sendable, Equatable {
    package let id: String
    package let secret: String

    package init(id: String, secret: String) {
        self.id = id
        self.secret = secret
    }
}

/// Connecting a customer's WhatsApp number by Embedded Signup, without sockets: what Meta is asked, and what its answers
/// mean. The customer has gone through Meta's dialog in a browser, which gave a code and the ids of account and number.
///
/// Facts: Meta's "Onboarding business customers as a Tech Provider or Tech Partner", and for errors
/// `reference/channels.md`, E.4.
package struct EmbeddedSignup: Sendable, Equatable {
    /// In this order.
    package enum Step: String, Sendable, CaseIterable {
        case exchange
        case subscribe
        case register
    }

    /// Lives for 30 seconds and buys one token.
    package var code = ""
    package var businessAccountID = ""
    package var phoneNumberID = ""
    /// The six digits of the number's two-step verification, as the operator gave them; empty for none.
    package var pin = ""
    /// False for a number that stays in the WhatsApp Business app, which has registered it ("coexistence").
    package var registers = true

    package init() {}

    // MARK: Requests

    private static let connectTime = Duration.seconds(10)

    /// Meta documents these fields in the query, so this URL holds the app's secret: it must never be shown.
    ///
    /// - Parameter baseURL: Without a slash at its end.
    package func exchange(_ app: MetaApp, baseURL: String, timeout: Duration) -> OutgoingRequest {
        let fields = [("client_id", app.id), ("client_secret", app.secret), ("code", code)]
        let query = String(decoding: FormBody.encode(fields), as: UTF8.self)
        return EmbeddedSignup.request("GET", "\(baseURL)/\(GraphRequest.version)/oauth/access_token?\(query)", timeout)
    }

    /// Makes Meta send the account's webhooks to the app. Asked again, Meta says yes again.
    package func subscribe(_ token: String, baseURL: String, timeout: Duration) -> OutgoingRequest {
        let url = "\(baseURL)/\(GraphRequest.version)/\(businessAccountID)/subscribed_apps"
        return EmbeddedSignup.request("POST", url, timeout, token: token)
    }

    /// Also sets the PIN, where the number has none yet. Asked again with the same PIN, Meta says yes again.
    package func register(_ token: String, pin: String, baseURL: String, timeout: Duration) -> OutgoingRequest {
        let body = JSONWriter.object { json in
            json.string("messaging_product", "whatsapp")
            json.string("pin", pin)
        }
        let url = "\(baseURL)/\(GraphRequest.version)/\(phoneNumberID)/register"
        return EmbeddedSignup.request("POST", url, timeout, token: token, body: body)
    }

    /// What is known about the number, for when Meta refuses to register it.
    package func number(_ token: String, baseURL: String, timeout: Duration) -> OutgoingRequest {
        let url = "\(baseURL)/\(GraphRequest.version)/\(phoneNumberID)?fields=status,platform_type"
        return EmbeddedSignup.request("GET", url, timeout, token: token)
    }

    private static func request(
        _ method: String,
        _ url: String,
        _ timeout: Duration,
        token: String = "",
        body: [UInt8] = []
    ) -> OutgoingRequest {
        var headers: [(name: String, value: String)] = [
            (name: "Accept", value: "application/json"),
            (name: "User-Agent", value: "Waybill/\(WaybillVersion.current)"),
        ]
        if !token.isEmpty { headers.append((name: "Authorization", value: "Bearer \(token)")) }
        if !body.isEmpty { headers.append((name: "Content-Type", value: "application/json")) }
        return OutgoingRequest(
            method: method,
            url: url,
            headers: headers,
            body: body,
            timeout: timeout,
            connectTimeout: min(timeout, connectTime),
            atMostOnce: true
        )
    }

    // MARK: The PIN

    package static func isPIN(_ text: String) -> Bool {
        text.utf8.count == 6 && text.utf8.allSatisfy { (48...57).contains($0) }
    }

    /// Six digits made of something random.
    package static func makePIN(_ random: UInt64) -> String {
        let digits = String(random % 1_000_000)
        return String(repeating: "0", count: 6 - digits.count) + digits
    }

    // MARK: Answers

    /// More than Meta's tokens ever have.
    private static let tokenBytesMax = 4096

    /// The token that the code was worth.
    package static func token(
        _ answer: Result<OutgoingResponse, TransferError>
    ) throws(SignupFailure) -> String {
        let json = try accepted(.exchange, answer)
        guard let token = json["access_token"]?.text, (1...tokenBytesMax).contains(token.utf8.count),
            token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { throw SignupFailure(.exchange, httpStatus: 200) }
        return token
    }

    /// Returns when the step is done.
    package static func check(
        _ step: Step,
        _ answer: Result<OutgoingResponse, TransferError>
    ) throws(SignupFailure) {
        let json = try accepted(step, answer)
        guard json["success"]?.bool == true else { throw SignupFailure(step, httpStatus: 200) }
    }

    /// Whether the number is in use with the Cloud API already, and so needs no registration.
    package static func isConnected(_ answer: Result<OutgoingResponse, TransferError>) -> Bool {
        guard case .success(let response) = answer, response.status == 200, let json = parsed(response) else {
            return false
        }
        return json["status"]?.text == "CONNECTED" && json["platform_type"]?.text == "CLOUD_API"
    }

    /// What Meta answered with 200. Only its own error body under the status of an error proves a refusal.
    private static func accepted(
        _ step: Step,
        _ answer: Result<OutgoingResponse, TransferError>
    ) throws(SignupFailure) -> ProviderJSON {
        switch answer {
        case .failure(let error):
            throw SignupFailure(step, error)
        case .success(let response):
            let json = parsed(response)
            if response.status == 200, let json { return json }
            if response.status >= 400, let json, let error = GraphError(json) {
                throw SignupFailure(step, error, httpStatus: response.status)
            }
            throw SignupFailure(step, httpStatus: response.status)
        }
    }

    /// Nil for what is no JSON or more of it than was read.
    private static func parsed(_ response: OutgoingResponse) -> ProviderJSON? {
        response.bodyTruncated ? nil : ProviderJSON(response.body)
    }
}
