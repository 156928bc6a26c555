import Gateway
import Testing

/// What an endpoint must look like, asked as a client asks.
@Suite struct EndpointFormTests {
    struct Bad: Sendable {
        let body: String
        let code: String
        let field: String?
        let status: Int

        init(_ body: String, _ field: String?, code: String = "invalid_request", status: Int = 400) {
            self.body = body
            self.code = code
            self.field = field
            self.status = status
        }
    }

    private static func with(_ rest: String) -> String { #"{"url":"https://hooks.example/in",\#(rest)}"# }

    static let urls: [Bad] = [
        "http://hooks.example/", "ftp://hooks.example/", "hooks.example", "", "https://", "https:///path",
        "https://user:pass@hooks.example/", "https://user@hooks.example/", "https://hooks.example/a b",
        "https://hooks.example/é", "https://hooks.example/" + String(repeating: "x", count: 2048),
    ].map { url in Bad("{\"url\":\"\(url)\"}", "url") }

    static let settings: [Bad] = [
        Bad("{}", "url"), Bad(with(#""surprise":1"#), "surprise", code: "unknown_field"),
        Bad(with(#""enabled":"yes""#), "enabled"), Bad(with(#""events":"*""#), "events"),
        Bad(with(#""events":["sms.message_recieved"]"#), "events"), Bad(with(#""events":[1]"#), "events"),
        Bad(with(#""channels":["telegram"]"#), "channels"),
        Bad(with(#""channels":["whatsapp"]"#), nil, code: "channel_not_connected", status: 403),
        Bad(with(#""retry_schedule":[0]"#), "retry_schedule"),
        Bad(with(#""retry_schedule":[604801]"#), "retry_schedule"),
        Bad(with(#""retry_schedule":[1.5]"#), "retry_schedule"),
        Bad(with("\"retry_schedule\":[1" + String(repeating: ",1", count: 20) + "]"), "retry_schedule"),
        Bad(with(#""max_in_flight":0"#), "max_in_flight"), Bad(with(#""max_in_flight":257"#), "max_in_flight"),
        Bad(with(#""ordering":"random""#), "ordering"), Bad(with(#""headers":[]"#), "headers"),
        Bad(with(#""headers":{"X-Mine":5}"#), "headers.X-Mine"),
        Bad(with(#""headers":{"X-Mine":"a\r\nX-Evil: b"}"#), "headers.X-Mine"),
        Bad(with(#""headers":{"":"x"}"#), "headers."), Bad(with(#""headers":{"a b":"x"}"#), "headers.a b"),
    ]

    static let headers: [Bad] = [
        "Host", "content-length", "Content-Type", "Transfer-Encoding", "Connection", "user-agent", "webhook-id",
        "Webhook-Timestamp", "webhook-signature", "X-ChatGenius-Signature", "x-chatgenius-anything",
    ].map { name in Bad(with("\"headers\":{\"\(name)\":\"x\"}"), "headers.\(name)") }

    @Test(arguments: [urls, settings, headers])
    func badEndpointsNameTheFieldAtFault(_ rows: [Bad]) async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let before = probe.ledger.head
            for row in rows {
                let reply = try await probe.ask(.put, "/v1/webhook", token: account.key, body: row.body)
                #expect(reply.status == row.status, "\(row.body)")
                #expect(reply.code == row.code, "\(row.body)")
                #expect(reply.field == row.field, "\(row.body)")
            }
            #expect(probe.ledger.head == before)
        }
    }

    @Test func defaultsAreThoseOfTheContract() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let reply = try await probe.ask(
                .put,
                "/v1/webhook",
                token: account.key,
                body: #"{"url":"https://hooks.example/in"}"#
            )
            #expect(reply.status == 200)
            let fields = try reply.fields()
            #expect(try fields.bool("enabled") == true)
            #expect(try fields.integers("retry_schedule", in: 0...100_000) == [30, 60, 300, 900, 3600, 14_400])
            #expect(try fields.string("ordering") == "first_attempt")
            #expect(try fields.string("state") == "active")
            #expect(try fields.strings("channels") == [])
            let events = try #require(try fields.strings("events"))
            #expect(events.contains("sms.message_received"))
            #expect(!events.contains("message.status"), "statuses are by subscription")
        }
    }

    @Test func whatWasSetIsShown() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let body =
                #"{"url":"HTTPS://hooks.example/in?a=1","events":["*"],"channels":["sms"],"enabled":false,"#
                + #""headers":{"X-Mine":"v"},"retry_schedule":[5],"max_in_flight":1,"ordering":"strict"}"#
            let put = try await probe.ask(.put, "/v1/webhook", token: account.key, body: body)
            let got = try await probe.ask(.get, "/v1/webhook", token: account.key)
            #expect(put.body == got.body)
            let fields = try got.fields()
            #expect(try fields.string("url") == "HTTPS://hooks.example/in?a=1")
            #expect(try fields.strings("events") == ["*"])
            #expect(try fields.strings("channels") == ["sms"])
            #expect(try fields.bool("enabled") == false)
            #expect(try fields.object("headers")?.string("X-Mine") == "v")
            #expect(try fields.integers("retry_schedule", in: 1...9) == [5])
            #expect(try fields.integer("max_in_flight", in: 1...9) == 1)
            #expect(try fields.string("ordering") == "strict")
            #expect(try fields.string("state") == "disabled")
        }
    }

    @Test func anEndpointNeedsTheAddon() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account(addon: "none")
            let reply = try await probe.ask(
                .put,
                "/v1/webhook",
                token: account.key,
                body: #"{"url":"https://hooks.example/in"}"#
            )
            #expect(reply.status == 403)
            #expect(reply.code == "plan_required")
        }
    }
}
