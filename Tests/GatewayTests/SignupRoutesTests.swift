import Gateway
import Log
import Projections
import Testing

/// Connecting WhatsApp with a code, as an operator does it.
@Suite struct SignupRoutesTests {
    private static func body(
        code: String = "the-code",
        number: String = "1001",
        _ more: String = ""
    ) -> String {
        #"{"code":"\#(code)","waba_id":"2002","phone_number_id":"\#(number)"\#(more)}"#
    }

    private func put(_ probe: GatewayProbe, _ account: GatewayProbe.Account, _ body: String) async throws -> Reply {
        let path = "/admin/v1/clients/\(account.id)/channels/whatsapp"
        return try await probe.ask(.put, path, token: probe.operatorToken, body: body)
    }

    /// What is sealed with the connection that this answer is about.
    private func sealed(_ probe: GatewayProbe, _ reply: Reply) throws -> JSONFields {
        let position = try #require(reply.header("Waybill-Position").flatMap { UInt64($0) })
        return try JSONFields(try #require(try probe.ledger.body(at: LogPosition(position), .content)))
    }

    private func isConnected(_ probe: GatewayProbe, _ account: GatewayProbe.Account) async throws -> Bool {
        let shown = try await probe.ask(.get, "/admin/v1/clients/\(account.id)", token: probe.operatorToken)
        return try shown.fields().object("channels")?.has("whatsapp") ?? false
    }

    /// The PINs of all registrations so far.
    private func pins(_ graph: ScriptedGraph) throws -> [String] {
        let calls = graph.asked.filter { $0.url.hasSuffix("/register") }
        return try calls.map { try JSONFields($0.body).require("pin") }
    }

    // MARK: Success

    @Test func stepByStep() async throws {
        let graph = ScriptedGraph()
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            let reply = try await put(probe, account, Self.body())
            #expect(reply.status == 200)
            #expect(try reply.text("state") == "connected")
            #expect(try reply.text("platform") == "whatsapp")
            let query = "client_id=236484624622562&client_secret=\(ScriptedGraph.secret)&code=the-code"
            let urls = [
                "https://graph.example/v25.0/oauth/access_token?" + query,
                "https://graph.example/v25.0/2002/subscribed_apps", "https://graph.example/v25.0/1001/register",
            ]
            #expect(graph.asked.map(\.url) == urls)
            for call in graph.asked.dropFirst() {
                #expect(call.headers.contains { $0.name == "Authorization" && $0.value == "Bearer EAAfresh" })
            }
            for call in graph.asked { #expect(call.timeout <= .seconds(15)) }
            let credentials = try sealed(probe, reply)
            #expect(try credentials.require("access_token") == "EAAfresh")
            #expect(try credentials.require("account_id") == "1001")
            #expect(try credentials.require("business_account_id") == "2002")
            #expect(try credentials.require("pin") == pins(graph).first)
            #expect(try await isConnected(probe, account))
        }
    }

    /// What the token form seals stays as it was.
    @Test func aTokenIsStoredAsItIs() async throws {
        let graph = ScriptedGraph()
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account(plan: "creator")
            let body = #"{"waba_id":"w","phone_number_id":"1001","access_token":"EAAold"}"#
            let reply = try await put(probe, account, body)
            #expect(reply.status == 200)
            #expect(
                try sealed(probe, reply).names == [
                    "access_token", "account_id", "business_account_id", "instagram_login",
                ]
            )
            #expect(graph.asked.isEmpty)
        }
    }

    // MARK: PINs

    @Test func thePINStaysTheSame() async throws {
        let graph = ScriptedGraph()
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            graph.script(
                ScriptedGraph.register,
                .failure(TransferError(.connectionLost, requestBytesSent: true, detail: ""))
            )
            #expect(try await put(probe, account, Self.body()).status == 502)
            #expect(try await put(probe, account, Self.body()).status == 200)
            #expect(try await put(probe, account, Self.body(code: "another")).status == 200)
            let own = try pins(graph)
            #expect(own.count == 3)
            #expect(Set(own).count == 1)
            let other = try await probe.account()
            #expect(try await put(probe, other, Self.body(number: "1002")).status == 200)
            #expect(try pins(graph).last != own.last)
        }
    }

    @Test func aGivenPINIsUsedAndKept() async throws {
        let graph = ScriptedGraph()
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            let first = try await put(probe, account, Self.body(#","pin":"007007""#))
            #expect(try sealed(probe, first).require("pin") == "007007")
            #expect(try await put(probe, account, Self.body(code: "another")).status == 200)
            #expect(try pins(graph) == ["007007", "007007"])
            // Of another number it says nothing.
            #expect(try await put(probe, account, Self.body(code: "third", number: "1002")).status == 200)
            #expect(try pins(graph).last != "007007")
        }
    }

    @Test func aNumberThatStaysInTheApp() async throws {
        let graph = ScriptedGraph()
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            let reply = try await put(probe, account, Self.body(#","register":false"#))
            #expect(reply.status == 200)
            #expect(graph.edges == [ScriptedGraph.exchange, ScriptedGraph.subscribe])
            #expect(try !sealed(probe, reply).has("pin"))
        }
    }

    @Test func aNumberThatWorksAlready() async throws {
        let graph = ScriptedGraph()
        graph.script(ScriptedGraph.register, ScriptedGraph.error(133_005))
        graph.script("1001", ScriptedGraph.answer(200, #"{"status":"CONNECTED","platform_type":"CLOUD_API"}"#))
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            let reply = try await put(probe, account, Self.body())
            #expect(reply.status == 200)
            #expect(graph.edges.last == "1001")
            // It was not set by us, so it is not known.
            #expect(try !sealed(probe, reply).has("pin"))
        }
    }

    // MARK: Failures

    @Test func aWrongPINAndThenTheRightOne() async throws {
        let graph = ScriptedGraph()
        graph.script(ScriptedGraph.register, ScriptedGraph.error(133_005))
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            let refused = try await put(probe, account, Self.body())
            #expect(refused.status == 422)
            #expect(refused.code == "signup_failed")
            #expect(refused.field == "pin")
            #expect(try refused.text("detail").contains("133005"))
            #expect(try await !isConnected(probe, account))
            let reply = try await put(probe, account, Self.body(#","pin":"123456""#))
            #expect(reply.status == 200)
            #expect(graph.edges.filter { $0 == ScriptedGraph.exchange }.count == 1, "the code is good once")
            #expect(try sealed(probe, reply).require("access_token") == "EAAfresh")
        }
    }

    /// A token is kept for the client and the code that it was bought for, whatever else the request says, and only until it is
    /// stored.
    @Test func aKeptTokenIsNobodyElses() async throws {
        let graph = ScriptedGraph()
        graph.script(ScriptedGraph.subscribe, ScriptedGraph.error(2))
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            let failed = try await put(probe, account, Self.body())
            #expect(failed.status == 503)
            #expect(failed.header("Retry-After") == "60")
            let exchanges = { graph.edges.filter { $0 == ScriptedGraph.exchange }.count }
            #expect(exchanges() == 1)
            let other = try await probe.account()
            #expect(try await put(probe, other, Self.body(number: "1002")).status == 200)
            #expect(exchanges() == 2)
            #expect(try await put(probe, account, Self.body(number: "1003")).status == 200)
            #expect(exchanges() == 2)
            #expect(try await put(probe, account, Self.body()).status == 200)
            #expect(exchanges() == 3)
            #expect(try await put(probe, account, Self.body()).status == 200)
            #expect(exchanges() == 4)
        }
    }

    @Test(arguments: [ScriptedGraph.exchange, ScriptedGraph.subscribe, ScriptedGraph.register])
    func nothingIsStoredWhenAStepFails(_ edge: String) async throws {
        let graph = ScriptedGraph()
        graph.script(edge, ScriptedGraph.answer(500, "Internal Server Error"))
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            let before = probe.ledger.head
            let reply = try await put(probe, account, Self.body())
            #expect(reply.status == 502)
            #expect(reply.code == "signup_failed")
            #expect(graph.edges.last == edge)
            #expect(probe.ledger.head == before)
            #expect(try await !isConnected(probe, account))
        }
    }

    // MARK: Refusals, before the code is used

    @Test func refusedBeforeMetaIsAsked() async throws {
        let graph = ScriptedGraph()
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let small = try await probe.account(plan: "creator")
            let refused = try await put(probe, small, Self.body())
            #expect(refused.status == 403)
            #expect(refused.code == "plan_required")
            let owner = try await probe.account()
            let token = #"{"waba_id":"2002","phone_number_id":"1001","access_token":"EAAold"}"#
            #expect(try await put(probe, owner, token).status == 200)
            let account = try await probe.account()
            let taken = try await put(probe, account, Self.body())
            #expect(taken.status == 409)
            #expect(taken.code == "account_in_use")
            let nobody = GatewayProbe.Account(id: "cl_nobody", key: "", secret: "")
            #expect(try await put(probe, nobody, Self.body()).status == 404)
            #expect(graph.asked.isEmpty)
        }
    }

    struct Settings: Sendable {
        let appID: String
        let secrets: [String]
        let missing: String
    }

    static let settings: [Settings] = [
        Settings(appID: "", secrets: ["s"], missing: "meta.app_id"),
        Settings(appID: "1", secrets: [], missing: "meta.app_secrets"),
        Settings(appID: "", secrets: [], missing: "meta.app_id and meta.app_secrets"),
    ]

    @Test(arguments: settings)
    func withoutTheApp(_ row: Settings) async throws {
        let graph = ScriptedGraph()
        try await GatewayProbe.with(signups: graph.desk(appID: row.appID, secrets: row.secrets)) { probe in
            let account = try await probe.account()
            let reply = try await put(probe, account, Self.body())
            #expect(reply.status == 409)
            #expect(reply.code == "configuration_invalid")
            #expect(try reply.text("detail").contains("the setting \(row.missing):"))
            #expect(graph.asked.isEmpty)
        }
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let body: String
        let field: String
        let code: String

        init(_ body: String, _ field: String, code: String = "invalid_request") {
            self.body = body
            self.field = field
            self.code = code
        }

        var testDescription: String { String(body.prefix(100)) }
    }

    static let bad: [Bad] = [
        Bad(body(#","nonsense":1"#), "nonsense", code: "unknown_field"),
        Bad(body(#","access_token":"EAA""#), "access_token"),
        Bad(#"{"waba_id":"2002","phone_number_id":"1001"}"#, "access_token"),
        Bad(#"{"waba_id":"2","phone_number_id":"1","access_token":"a","pin":"123456"}"#, "pin", code: "unknown_field"),
        Bad(#"{"code":"c","phone_number_id":"1001"}"#, "waba_id"),
        Bad(#"{"code":"c","waba_id":"2002"}"#, "phone_number_id"),
        Bad(#"{"code":"c","waba_id":"me","phone_number_id":"1001"}"#, "waba_id"),
        Bad(#"{"code":"c","waba_id":"2002","phone_number_id":"../1"}"#, "phone_number_id"),
        Bad(#"{"code":7,"waba_id":"2002","phone_number_id":"1001"}"#, "code"), Bad(body(code: ""), "code"),
        Bad(body(code: "a b"), "code"), Bad(body(code: "é"), "code"),
        Bad(body(code: String(repeating: "a", count: 4097)), "code"),
        Bad(body(number: String(repeating: "1", count: 65)), "phone_number_id"), Bad(body(#","pin":"12345""#), "pin"),
        Bad(body(#","pin":123456"#), "pin"), Bad(body(#","pin":"""#), "pin"),
        Bad(body(#","register":"no""#), "register"),
        Bad(body(#","register":false,"pin":"123456""#), "pin"),
        Bad(body(#","messages_per_second":-1"#), "messages_per_second"),
    ]

    @Test(arguments: bad)
    func badForms(_ row: Bad) async throws {
        let graph = ScriptedGraph()
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            let reply = try await put(probe, account, row.body)
            #expect(reply.status == 400)
            #expect(reply.code == row.code)
            #expect(reply.field == row.field)
            #expect(graph.asked.isEmpty)
        }
    }

    @Test(arguments: ["facebook", "instagram", "sms"])
    func onlyWhatsAppHasIt(_ platform: String) async throws {
        let graph = ScriptedGraph()
        try await GatewayProbe.with(signups: graph.desk()) { probe in
            let account = try await probe.account()
            let path = "/admin/v1/clients/\(account.id)/channels/\(platform)"
            let reply = try await probe.ask(.put, path, token: probe.operatorToken, body: Self.body())
            #expect(reply.status == 400)
            #expect(reply.code == "unknown_field")
            #expect(graph.asked.isEmpty)
        }
    }
}
