import Foundation
import Gateway
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Log
import Logging
import NIOCore
import Projections
import TestSupport

/// A gateway on a directory of its own, asked through its router without a socket.
struct GatewayProbe: Sendable {
    static let publicURL = "https://waybill.test"
    static let accountSID = "AC0123456789abcdef0123456789abcdef"
    static let authToken = "twilio-auth-token-0815"
    static let ourPhone = "+15005550006"

    let http: any TestClientProtocol
    let ledger: Ledger
    /// An operator's token.
    let operatorToken: String
    /// All that the router knows.
    let routes: [Route]

    /// A data directory's ledger, with small segments.
    static func openLedger(
        _ directory: TemporaryDirectory,
        clock: GuardedClock = GuardedClock()
    ) async throws -> Ledger {
        var log = LogConfiguration()
        log.segmentBytes = 1 << 20
        return try await Ledger.open(
            directory: directory.path + "/data",
            root: RootKeyFile(path: directory.path + "/root.key"),
            configuration: log,
            version: "test",
            isSandbox: false,
            clock: clock
        )
    }

    static func with(
        signups: SignupDesk? = nil,
        _ body: @Sendable (GatewayProbe) async throws -> Void
    ) async throws {
        let directory = TemporaryDirectory()
        // A log whose directory is gone confirms nothing.
        defer { withExtendedLifetime(directory) {} }
        let ledger = try await openLedger(directory)
        do {
            try await with(ledger, signups: signups, body)
        } catch {
            await ledger.close(reason: "test failed")
            throw error
        }
        await ledger.close(reason: "test")
    }

    /// - Parameter signups: Without one nothing can be asked of Meta.
    static func with(
        _ ledger: Ledger,
        signups: SignupDesk? = nil,
        _ body: @Sendable (GatewayProbe) async throws -> Void
    ) async throws {
        let created = try JSONFields(try await TokenControl(ledger).create(role: .operator, label: "test"))
        let token = try created.require("token")
        let keys = TemporaryDirectory()
        var configuration = GatewayConfiguration()
        configuration.data = keys.path
        configuration.logKey = keys.path + "/log.key"
        let router = GatewayRouter(
            ledger: ledger,
            shelf: MediaShelf(ledger: ledger, directory: configuration.data),
            configuration: configuration,
            publicURL: { publicURL },
            metrics: GatewayMetrics(),
            checkpointer: try await Checkpointer.open(ledger, configuration),
            signups: signups
                ?? SignupDesk(LiveSettings(configuration)) { _ in
                    .failure(TransferError(.connectFailed, requestBytesSent: false, detail: "there is no network here"))
                },
            logger: Logger(label: "test")
        )
        let built = router.build()
        let routes = built.declared
        try await Application(router: built).test(.router) { client in
            try await body(GatewayProbe(http: client, ledger: ledger, operatorToken: token, routes: routes))
        }
    }
}

/// An answer, taken apart.
struct Reply: Sendable {
    let status: Int
    let headers: HTTPFields
    let body: [UInt8]

    func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { headers[$0] } }
    func fields() throws -> JSONFields { try JSONFields(body) }
    func text(_ name: String) throws -> String { try fields().require(name) }
    /// The stable code of a problem.
    var code: String? { try? fields().string("code") }
    var field: String? { try? fields().string("field") }

    /// The elements of a list answer, as an independent parser reads them.
    func data() throws -> [[String: Any]] {
        let parsed = try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any]
        return parsed?["data"] as? [[String: Any]] ?? []
    }
}

extension GatewayProbe {
    enum Method {
        case get
        case post
        case put
        case patch

        var http: HTTPRequest.Method {
            switch self {
            case .get: .get
            case .post: .post
            case .put: .put
            case .patch: .patch
            }
        }
    }

    func ask(
        _ method: Method,
        _ path: String,
        token: String? = nil,
        headers: [String: String] = [:],
        body: String? = nil
    ) async throws -> Reply {
        try await ask(method.http, path, token: token, headers: headers.map { ($0.key, $0.value) }, body: body)
    }

    /// As it is: with any method, and with headers given twice.
    func ask(
        _ method: HTTPRequest.Method,
        _ path: String,
        token: String? = nil,
        headers: [(String, String)],
        body: String? = nil
    ) async throws -> Reply {
        var fields = HTTPFields()
        if let token { fields[.authorization] = "Bearer \(token)" }
        for (name, value) in headers {
            if let name = HTTPField.Name(name) { fields.append(HTTPField(name: name, value: value)) }
        }
        let response = try await http.execute(
            uri: path,
            method: method,
            headers: fields,
            body: body.map { ByteBuffer(string: $0) }
        )
        return Reply(status: response.status.code, headers: response.headers, body: [UInt8](buffer: response.body))
    }

    struct Account: Sendable {
        let id: String
        let key: String
        let secret: String
    }

    /// A client as the operator makes it.
    func account(plan: String = "business", addon: String = "active") async throws -> Account {
        let body = #"{"name":"Acme","plan":"\#(plan)","addon":{"status":"\#(addon)"}}"#
        let reply = try await ask(.post, "/admin/v1/clients", token: operatorToken, body: body)
        return Account(
            id: try reply.text("client_id"),
            key: try reply.text("api_key"),
            secret: try reply.text("webhook_secret")
        )
    }

    /// A client with a number.
    func smsAccount() async throws -> Account {
        let account = try await account()
        _ = try await connect(account)
        return account
    }

    func connect(_ account: Account) async throws -> Reply {
        let body =
            #"{"account_sid":"\#(Self.accountSID)","auth_token":"\#(Self.authToken)","from_phone":"\#(Self.ourPhone)"}"#
        return try await ask(
            .put,
            "/admin/v1/clients/\(account.id)/channels/sms",
            token: operatorToken,
            body: body
        )
    }

    func send(_ account: Account, _ body: String, headers: [String: String] = [:]) async throws -> Reply {
        try await ask(.post, "/v1/send", token: account.key, headers: headers, body: body)
    }

    /// Twilio's form, signed with the account's token unless another signature is given.
    func twilio(
        _ account: Account,
        _ fields: [(String, String)],
        signature: String? = nil
    ) async throws -> Reply {
        let target = "/channels/twilio/\(account.id)/sms"
        let expected = TwilioSignature.expected(
            token: [UInt8](Self.authToken.utf8),
            url: Self.publicURL + target,
            fields: fields.map { (name: $0.0, value: $0.1) }
        )
        return try await ask(
            .post,
            target,
            headers: [
                "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
                "X-Twilio-Signature": signature ?? expected,
            ],
            body: String(decoding: FormBody.encode(fields), as: UTF8.self)
        )
    }

    static func message(_ sid: String, text: String = "Hello") -> [(String, String)] {
        [
            ("MessageSid", sid), ("AccountSid", accountSID), ("From", "+14155552671"), ("To", ourPhone),
            ("Body", text), ("NumSegments", "1"), ("FromCity", ""),
        ]
    }
}
