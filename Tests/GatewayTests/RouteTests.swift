import Gateway
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import Synchronization
import Testing

/// What holds for every route, because it was declared as one.
@Suite struct RouteTests {
    // MARK: Query parameters

    @Test func noRouteTakesAParameterThatItDoesNotName() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            #expect(probe.routes.count > 60, "the walk has something to walk")
            for route in probe.routes {
                guard case .named(let known) = route.query else {
                    #expect(route.path.hasPrefix("/channels/"), "\(route.path): only a provider adds what it likes")
                    continue
                }
                let queries = ["surely": "surely=1"].merging(known.map { ($0, "\($0)=1&\($0)=1") }) { $1 }
                for (name, query) in queries {
                    let path = "\(RouteTests.example(route.path))?\(query)"
                    let token = route.path.hasPrefix("/v1/") ? account.key : probe.operatorToken
                    let reply = try await probe.ask(route.method, path, token: token, headers: [])
                    #expect(reply.status == 400, "\(route.method) \(path)")
                    guard route.method != .head else { continue }
                    #expect(reply.code == (name == "surely" ? "unknown_parameter" : "invalid_request"), "\(path)")
                    #expect(reply.field == name, "\(path)")
                }
            }
        }
    }

    /// A path of the route.
    private static func example(_ path: String) -> String {
        path.split(separator: "/").map { $0.hasPrefix(":") ? "x" : $0 == "**" ? "0/000" : $0 }
            .reduce("") { $0 + "/" + $1 }
    }

    @Test(arguments: [
        "statuss=open", "st%61tus=open", "status", "status=open&", "&&status=open", "Status=open", "=open",
    ])
    func aMisspeltFilterAnswersNothing(_ query: String) async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            _ = try await probe.twilio(account, GatewayProbe.message("SM1"))
            let reply = try await probe.ask(.get, "/v1/conversations?\(query)", token: account.key)
            let isRight = query.contains("status=open") && !query.contains("statuss")
            #expect(reply.status == (isRight ? 200 : 400), "\(query)")
        }
    }

    @Test func whoIsAskedForComesBeforeWhatIsAsked() async throws {
        try await GatewayProbe.with { probe in
            let reply = try await probe.ask(.get, "/v1/usage?x=1")
            #expect(reply.status == 401)
        }
    }

    // MARK: Methods

    private static let methods: [HTTPRequest.Method] =
        [.get, .head, .post, .put, .patch, .delete, .options, HTTPRequest.Method("PROPFIND")].compactMap { $0 }

    @Test func aKnownPathSaysWhatItTakes() async throws {
        try await GatewayProbe.with { probe in
            let paths = Dictionary(grouping: probe.routes) { $0.path }
            for (path, routes) in paths {
                let known = Set(routes.map(\.method))
                for method in RouteTests.methods where !known.contains(method) {
                    let reply = try await probe.ask(method, RouteTests.example(path), headers: [])
                    #expect(reply.status == 405, "\(method) \(path)")
                    let allowed = known.map(\.rawValue).sorted().joined(separator: ", ")
                    #expect(reply.header("Allow") == allowed, "\(path)")
                    #expect(method == .head || reply.code == "method_not_allowed", "\(path)")
                    #expect(reply.header("X-Request-Id") != nil)
                }
            }
        }
    }

    @Test func whatIsSpelledOutGoesFirst() {
        let declared: [(HTTPRequest.Method, String)] = [
            (.get, "/letters/:id"), (.delete, "/letters/:id"), (.post, "/letters/replay"), (.get, "/tile/**"),
            (.post, "/letters/:id/replay"),
        ]
        let table = RouteTable(declared.map { Route(method: $0.0, path: $0.1, query: []) })
        let rows: [(path: String, methods: [HTTPRequest.Method])] = [
            ("/letters/x", [.delete, .get]), ("/letters/replay", [.post]), ("/letters/x/replay", [.post]),
            ("/tile/0/000", [.get]), ("/tile", []), ("/letters", []), ("/", []), ("/letters/x/other", []),
        ]
        for row in rows { #expect(table.methods(of: row.path) == row.methods, "\(row.path)") }
    }

    @Test func headIsGetWithoutTheBody() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let rows: [(path: String, token: String?, status: Int)] = [
                ("/healthz", nil, 200), ("/openapi.yaml", nil, 200), ("/v1/usage", account.key, 200),
                ("/v1/conversations", account.key, 200), ("/v1/conversations?limit=0", account.key, 400),
                ("/v1/usage", nil, 401), ("/v1/messages/msg_x", account.key, 404), ("/nowhere", nil, 404),
                ("/admin/v1/clients/\(account.id)", probe.operatorToken, 200),
            ]
            for row in rows {
                let got = try await probe.ask(.get, row.path, token: row.token)
                let head = try await probe.ask(HTTPRequest.Method.head, row.path, token: row.token, headers: [])
                #expect(got.status == row.status, "\(row.path)")
                #expect(head.status == row.status, "\(row.path)")
                #expect(head.body.isEmpty && !got.body.isEmpty, "\(row.path)")
                var (left, right) = (got.headers, head.headers)
                if let name = HTTPField.Name("X-Request-Id") { (left[name], right[name]) = (nil, nil) }
                #expect(left == right, "\(row.path)")
            }
        }
    }

    /// Twilio may deliver by GET; HEAD of the same is no delivery.
    @Test(arguments: ["sms", "status"])
    func headTakesNothing(_ kind: String) async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let query = String(decoding: FormBody.encode(GatewayProbe.message("SM1")), as: UTF8.self)
            let target = "/channels/twilio/\(account.id)/\(kind)?\(query)"
            let signature = TwilioSignature.expected(
                token: [UInt8](GatewayProbe.authToken.utf8),
                url: GatewayProbe.publicURL + target,
                fields: []
            )
            let before = probe.ledger.head
            let headers = [("X-Twilio-Signature", signature)]
            #expect(try await probe.ask(HTTPRequest.Method.head, target, headers: headers).status == 200)
            #expect(probe.ledger.head == before)
            #expect(try await probe.ask(HTTPRequest.Method.get, target, headers: headers).status == 200)
            #expect(probe.ledger.head > before)
            #expect(try await probe.ask(HTTPRequest.Method.head, target, headers: []).status == 403)
        }
    }

    // MARK: Headers

    private static let single = [
        "Authorization", "Content-Length", "Content-Type", "Host", "Idempotency-Key", "If-None-Match", "If-Range",
        "Prefer",
        "Range", "Waybill-Min-Position", "X-Hub-Signature-256", "X-Twilio-Signature", "webhook-signature",
    ]

    @Test(arguments: single)
    func aHeaderThatMustBeSingleIs(_ name: String) async throws {
        try await GatewayProbe.with { probe in
            for path in ["/healthz", "/v1/usage", "/channels/meta", "/nowhere"] {
                for (first, second) in [("1", "1"), ("1", "2")] {
                    let headers = [(name, first), (name.lowercased(), second)]
                    let reply = try await probe.ask(HTTPRequest.Method.get, path, headers: headers)
                    #expect(reply.status == 400, "\(path)")
                    #expect(reply.code == "invalid_request")
                    #expect(reply.field?.lowercased() == name.lowercased())
                }
            }
            let once = name == "Host" ? [] : [(name, "1")]
            #expect(try await probe.ask(HTTPRequest.Method.get, "/healthz", headers: once).status == 200)
        }
    }

    @Test func otherHeadersMayRepeat() async throws {
        try await GatewayProbe.with { probe in
            let headers = [("Accept", "a/b"), ("Accept", "c/d"), ("X-Forwarded-For", "1"), ("X-Forwarded-For", "2")]
            let reply = try await probe.ask(HTTPRequest.Method.get, "/healthz", headers: headers)
            #expect(reply.status == 200)
        }
    }

    @Test func twoKeysAreNoKey() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let before = probe.ledger.head
            let reply = try await probe.ask(
                HTTPRequest.Method.post,
                "/v1/send",
                token: account.key,
                headers: [("Idempotency-Key", "k"), ("Idempotency-Key", "k")],
                body: #"{"to_phone":"+15551234567","text":"hi"}"#
            )
            #expect(reply.status == 400)
            #expect(reply.field == "Idempotency-Key")
            #expect(probe.ledger.head == before, "nothing is sent")
        }
    }

    @Test(arguments: ["k, k", "k,l", "\"k\", \"k\"", "\"k\",\"l\""])
    func keysThatWereJoinedAreNoKey(_ header: String) async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let before = probe.ledger.head
            let body = #"{"to_phone":"+15551234567","text":"hi"}"#
            let reply = try await probe.send(account, body, headers: ["Idempotency-Key": header])
            #expect(reply.status == 400)
            #expect(reply.field == "Idempotency-Key")
            #expect(probe.ledger.head == before, "nothing is sent")
            let quoted = try await probe.send(account, body, headers: ["Idempotency-Key": "\"k, k\""])
            #expect(try quoted.text("idempotency_key") == "k, k")
        }
    }

    // MARK: The request's id

    @Test func theProcessLogNamesTheRequestAsTheAnswerDoes() async throws {
        struct Broken: Error {}
        let lines = LogLines()
        let routes = GatewayRoutes(metrics: GatewayMetrics())
        routes.group().get("/broken") { _, context in
            context.logger.warning("on the way")
            throw Broken()
        }
        let logger = Logger(label: "test") { _ in LineCollector(lines: lines) }
        try await Application(router: routes, logger: logger).test(.router) { client in
            let response = try await client.execute(uri: "/broken", method: .get)
            let body = try JSONFields([UInt8](buffer: response.body))
            let id = try #require(HTTPField.Name("X-Request-Id").flatMap { response.headers[$0] })
            #expect(try body.string("request_id") == id)
            #expect(lines.requests.withLock { $0 } == [id, id])
        }
    }
}

/// The request ids that lines of a process log carry.
private final class LogLines: Sendable {
    let requests = Mutex<[String]>([])
}

private struct LineCollector: LogHandler {
    let lines: LogLines
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let id = metadata["hb.request.id"].map { "\($0)" }
        lines.requests.withLock { $0.append(id ?? "none") }
    }
}
