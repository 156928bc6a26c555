import Gateway
import Testing

/// What a send request must look like, asked as a client asks.
@Suite struct SendFormTests {
    struct Bad: Sendable, CustomTestStringConvertible {
        let body: String
        let code: String
        let field: String?

        init(_ body: String, _ field: String?, code: String = "invalid_request") {
            self.body = body
            self.code = code
            self.field = field
        }

        var testDescription: String { String(body.prefix(80)) }
    }

    private static func to(_ rest: String) -> String { #"{"to_phone":"+15551234567","text":"hi",\#(rest)}"# }
    private static func metadata(_ count: Int) -> String {
        "{" + (0..<count).map { "\"k\($0)\":\"v\"" }.joined(separator: ",") + "}"
    }
    private static func long(_ count: Int) -> String { String(repeating: "x", count: count) }

    static let shapes: [Bad] = [
        Bad("", nil, code: "invalid_json"), Bad("[]", nil, code: "invalid_json"), Bad("{", nil, code: "invalid_json"),
        Bad(#"{"text":"hi"}"#, "conversation_id"),
        Bad(#"{"to_phone":"+15551234567","conversation_id":"conv_x","text":"hi"}"#, "to_phone"),
        Bad(#"{"to_phone":"+15551234567"}"#, "text"), Bad(#"{"to_phone":"+15551234567","text":""}"#, "text"),
        Bad(#"{"to_phone":"+15551234567","text":5}"#, "text"), Bad(#"{"to_phone":5,"text":"hi"}"#, "to_phone"),
        Bad(#"{"to_phone":"+15551234567","text":"\#(long(1601))"}"#, "text"),
        Bad(to(#""nonsense":1"#), "nonsense", code: "unknown_field"),
    ]

    static let options: [Bad] = [
        // 128 characters, and 256 bytes.
        Bad(to("\"idempotency_key\":\"\(String(repeating: "é", count: 128))\""), "idempotency_key"),
        Bad(to(#""platform":"telegram""#), "platform"), Bad(to(#""platform":"facebook""#), "platform"),
        Bad(to(#""expires_at":"tomorrow""#), "expires_at"), Bad(to(#""expires_at":5"#), "expires_at"),
        Bad(to(#""expires_at":"9999-12-31T23:59:59Z""#), "expires_at"),
        Bad(to(#""metadata":[]"#), "metadata"), Bad(to(#""metadata":{"a":1}"#), "metadata.a"),
        Bad(to(#""metadata":\#(metadata(17))"#), "metadata"),
        Bad(to(#""metadata":{"\#(long(65))":"v"}"#), "metadata"),
        Bad(to(#""metadata":{"k":"\#(long(513))"}"#), "metadata"),
        Bad(to(#""idempotency_key":"""#), "idempotency_key"),
        Bad(to(#""idempotency_key":"\#(long(256))""#), "idempotency_key"),
        Bad(to(#""idempotency_key":"a\nb""#), "idempotency_key"), Bad(to(#""idempotency_key":7"#), "idempotency_key"),
    ]

    static let senders: [Bad] = ["from", "from_phone", "sender", "sender_id", "messaging_service_sid"].map {
        (name: String) in
        Bad(to("\"\(name)\":\"+15550001111\""), name, code: "unknown_field")
    }

    static let phones: [Bad] = [
        "+1555", "15551234567", "+05551234567", "+1555123456789012", "+1 555 123 4567", "", "+155512345é7",
    ].map { phone in Bad("{\"to_phone\":\"\(phone)\",\"text\":\"hi\"}", "to_phone") }

    private static func sms(_ rest: String) -> String { #"{"to_phone":"+15551234567",\#(rest)}"# }

    /// Contents that SMS does not have; what is told from the request alone is no matter of policy.
    static let otherChannels: [Bad] = [
        Bad(
            sms(#""template_name":"t","template_language":"en""#),
            "template_name",
            code: "unsupported_channel"
        ),
        Bad(sms(#""reaction":{"message_id":"msg_x","emoji":"x"}"#), "reaction", code: "unsupported_channel"),
        Bad(sms(#""typing":true"#), "typing", code: "unsupported_channel"),
    ]

    static let contents: [Bad] = [
        Bad(to(#""media_url":"https://x/y.png","media_type":"image""#), "media_url"),
        Bad(sms(#""media_url":"https://x/y.png""#), "media_type"),
        Bad(sms(#""media_url":"https://x/y.png","media_type":"film""#), "media_type"),
        Bad(sms(#""media_url":"ftp://x/y.png","media_type":"image""#), "media_url"),
        Bad(sms(#""media_url":"https://x/ y.png","media_type":"image""#), "media_url"),
        Bad(to(#""caption":"c""#), "caption"), Bad(to(#""filename":"f""#), "filename"),
        Bad(to(#""template_components":[]"#), "template_components"),
        Bad(sms(#""template_name":"t""#), "template_language"),
        Bad(sms(#""template_name":"t","template_language":"en","template_components":{}"#), "template_components"),
        Bad(sms(#""reaction":{"emoji":"x"}"#), "reaction.message_id"),
        Bad(sms(#""reaction":{"message_id":"msg_x","more":1}"#), "reaction.more", code: "unknown_field"),
        Bad(sms(#""typing":true,"reply_to":"msg_x""#), "reply_to"),
    ]

    @Test(arguments: [shapes, options, senders, phones, otherChannels, contents])
    func badRequestsNameTheFieldAtFault(_ rows: [Bad]) async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let before = probe.ledger.head
            for row in rows {
                let reply = try await probe.send(account, row.body)
                #expect(reply.status == 400, "\(row.testDescription)")
                #expect(reply.code == row.code, "\(row.testDescription)")
                #expect(reply.field == row.field, "\(row.testDescription)")
            }
            #expect(probe.ledger.head == before, "what is malformed is not put on record")
        }
    }

    @Test(arguments: [
        #"{"to_phone":"+15551234567","text":"hi"}"#, #"{"to_phone":"+15551234567","text":"hi","platform":"sms"}"#,
        #"{"to_phone":"+1555123","text":"☕","metadata":{}}"#,
        #"{"to_phone":"+15551234567","text":"hi","conversation_id":null,"media_url":null}"#,
        #"{"to_phone":"+15551234567","text":"hi","expires_at":"2100-01-01T00:00:00Z"}"#,
        #"{"to_phone":"+15551234567","text":"\#(String(repeating: "x", count: 1600))"}"#,
    ])
    func goodRequestsAreAccepted(_ body: String) async throws {
        try await GatewayProbe.with { probe in
            let reply = try await probe.send(try await probe.smsAccount(), body)
            #expect(reply.status == 202)
        }
    }

    // MARK: The key

    @Test func whereTheKeyMayStand() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let plain = #"{"to_phone":"+15551234567","text":"hi"}"#
            let keyed = #"{"to_phone":"+15551234567","text":"hi","idempotency_key":"abc"}"#
            let first = try await probe.send(account, keyed)
            #expect(try first.text("idempotency_key") == "abc")
            for (body, header) in [(plain, "abc"), (plain, "\"abc\""), (keyed, "abc"), (keyed, "\"abc\"")] {
                let reply = try await probe.send(account, body, headers: ["Idempotency-Key": header])
                #expect(reply.status == 202)
                #expect(reply.header("Idempotency-Replayed") == "true")
                #expect(try reply.text("message_id") == first.text("message_id"))
            }
            let differing = try await probe.send(account, keyed, headers: ["Idempotency-Key": "abd"])
            #expect(differing.status == 400)
            #expect(differing.field == "idempotency_key")
        }
    }

    @Test func withoutAKeyEveryRequestIsNew() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let body = #"{"to_phone":"+15551234567","text":"hi"}"#
            let first = try await probe.send(account, body)
            let second = try await probe.send(account, body)
            #expect(try first.text("message_id") != second.text("message_id"))
            #expect(try first.text("idempotency_key") != second.text("idempotency_key"))
        }
    }

    /// What a repeat must match is the content, not how it was written down.
    @Test func theOrderOfFieldsIsNoDifference() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let key = ["Idempotency-Key": "k"]
            let first = try await probe.send(
                account,
                #"{"to_phone":"+15551234567","text":"hi","metadata":{"a":"1","b":"2"},"platform":"sms"}"#,
                headers: key
            )
            let same = try await probe.send(
                account,
                #"{ "metadata":{"b":"2","a":"1"}, "text":"h\u0069", "to_phone":"+15551234567" }"#,
                headers: key
            )
            #expect(first.status == 202)
            #expect(same.header("Idempotency-Replayed") == "true")
            for other in [
                #"{"to_phone":"+15551234567","text":"hi"}"#,
                #"{"to_phone":"+15551234567","text":"ho","metadata":{"a":"1","b":"2"}}"#,
                #"{"to_phone":"+15551234568","text":"hi","metadata":{"a":"1","b":"2"}}"#,
                #"{"to_phone":"+15551234567","text":"hi","metadata":{"a":"1","b":"3"}}"#,
                #"{"to_phone":"+15551234567","text":"hi","metadata":{"a":"1","b":"2"},"expires_at":"2100-01-01T00:00:00Z"}"#,
            ] {
                let reply = try await probe.send(account, other, headers: key)
                #expect(reply.status == 422)
                #expect(reply.code == "idempotency_mismatch")
            }
        }
    }
}
