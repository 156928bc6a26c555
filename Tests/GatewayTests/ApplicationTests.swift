import Gateway
import Log
import Projections
import Testing

/// The public edges as a whole, without a socket.
@Suite struct ApplicationTests {
    // MARK: Errors

    @Test func whoMayAskWhat() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let auditor = try JSONFields(try await TokenControl(probe.ledger).create(role: .auditor, label: "a"))
                .require("token")
            let rows: [(path: String, token: String?, status: Int, code: String)] = [
                ("/v1/usage", nil, 401, "unauthorized"), ("/v1/usage", "", 401, "unauthorized"),
                ("/v1/usage", "wb_live_nonsense", 401, "unauthorized"),
                ("/v1/usage", account.key + "x", 401, "unauthorized"),
                ("/v1/usage", probe.operatorToken, 403, "forbidden"), ("/v1/usage", auditor, 403, "forbidden"),
                ("/admin/v1/clients", nil, 401, "unauthorized"),
                ("/admin/v1/clients", "wb_op_nonsense", 401, "unauthorized"),
                ("/admin/v1/clients", account.key, 403, "forbidden"),
                ("/admin/v1/clients", auditor, 403, "forbidden"),
            ]
            for row in rows {
                let reply = try await probe.ask(.get, row.path, token: row.token)
                #expect(reply.status == row.status, "\(row)")
                #expect(reply.code == row.code, "\(row)")
                #expect((reply.header("WWW-Authenticate") != nil) == (row.status == 401))
            }
            let usage = try await probe.ask(.get, "/v1/usage", token: account.key)
            #expect(usage.status == 200)
        }
    }

    @Test func problemsHaveTheShapeOfTheContract() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let reply = try await probe.ask(.get, "/v1/conversations?limit=0", token: account.key)
            #expect(reply.status == 400)
            #expect(reply.header("Content-Type") == "application/problem+json")
            let fields = try reply.fields()
            #expect(try fields.require("type").hasSuffix("/invalid_request"))
            #expect(try fields.require("title") == "invalid request")
            #expect(try fields.integer("status", in: 0...599) == 400)
            #expect(try fields.require("code") == "invalid_request")
            #expect(try fields.require("field") == "limit")
            #expect(try !fields.require("detail").isEmpty)
            #expect(try fields.require("request_id") == reply.header("X-Request-Id"))
        }
    }

    @Test(arguments: ["/", "/nothing", "/v1/messages/msg_x/nothing", "/channels/twilio"])
    func whatIsNotThere(_ path: String) async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let reply = try await probe.ask(.get, path, token: account.key)
            #expect(reply.status == 404)
            #expect(reply.code == "not_found")
            #expect(reply.header("Content-Type") == "application/problem+json")
            #expect(reply.header("X-Request-Id")?.hasPrefix("req_") == true)
        }
    }

    @Test func everyAnswerHasItsOwnRequestId() async throws {
        try await GatewayProbe.with { probe in
            let first = try await probe.ask(.get, "/healthz")
            let second = try await probe.ask(.get, "/healthz")
            #expect(first.status == 200)
            #expect(first.header("X-Request-Id") != nil)
            #expect(first.header("X-Request-Id") != second.header("X-Request-Id"))
        }
    }

    @Test func aBodyThatIsTooLargeIsRefused() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let body = #"{"text":"\#(String(repeating: "x", count: 300_000))"}"#
            let reply = try await probe.send(account, body)
            #expect(reply.status == 413)
            #expect(reply.code == "payload_too_large")
        }
    }

    // MARK: Administration

    @Test func clientsAndTheirSecrets() async throws {
        try await GatewayProbe.with { probe in
            let body = #"{"name":"Acme","plan":"business","addon":{"status":"active"},"time_zone":"Europe/Berlin"}"#
            let made = try await probe.ask(.post, "/admin/v1/clients", token: probe.operatorToken, body: body)
            #expect(made.status == 201)
            #expect(try made.text("api_key").hasPrefix("wb_live_"))
            #expect(try made.text("webhook_secret").hasPrefix("whsec_"))
            #expect(try made.text("client_id").hasPrefix("cl_"))
            #expect(made.header("Waybill-Position") != nil)
            let id = try made.text("client_id")
            let shown = try await probe.ask(.get, "/admin/v1/clients/\(id)", token: probe.operatorToken)
            #expect(try shown.text("name") == "Acme")
            #expect(try shown.text("time_zone") == "Europe/Berlin")
            let text = String(decoding: shown.body, as: UTF8.self)
            #expect(!text.contains("wb_live_") && !text.contains("whsec_"), "secrets are shown once")
        }
    }

    @Test func credentialsGoInAndNeverOut() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let put = try await probe.connect(account)
            #expect(put.status == 200)
            #expect(try put.text("state") == "connected")
            let shown = try await probe.ask(.get, "/admin/v1/clients/\(account.id)", token: probe.operatorToken)
            for reply in [put, shown] {
                #expect(!String(decoding: reply.body, as: UTF8.self).contains(GatewayProbe.authToken))
            }
            let missing = try await probe.ask(
                .put,
                "/admin/v1/clients/\(account.id)/channels/sms",
                token: probe.operatorToken,
                body: #"{"account_sid":"AC1","auth_token":"x"}"#
            )
            #expect(missing.status == 400)
            #expect(missing.field == "from_phone")
        }
    }

    @Test func aTrialIsGivenOnce() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account(addon: "none")
            let path = "/admin/v1/clients/\(account.id)/trial"
            let first = try await probe.ask(.post, path, token: probe.operatorToken)
            #expect(first.status == 200)
            #expect(try first.fields().object("addon")?.string("status") == "trial")
            let second = try await probe.ask(.post, path, token: probe.operatorToken)
            #expect(second.status == 409)
            #expect(second.code == "trial_used")
        }
    }

    @Test func aRotatedKeyEnds() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let key = #"{"to_phone":"+15551234567","text":"hi","idempotency_key":"k"}"#
            let sent = try await probe.send(account, key)
            let rotated = try await probe.ask(
                .post,
                "/v1/api-key/rotate",
                token: account.key,
                body: #"{"overlap_seconds":0}"#
            )
            #expect(rotated.status == 200)
            let old = try await probe.ask(.get, "/v1/usage", token: account.key)
            #expect(old.status == 401)
            let text = String(decoding: rotated.body, as: UTF8.self)
            let new = try #require(text.split(separator: "\"").first { $0.hasPrefix("wb_live_") })
            let again = try await probe.ask(.post, "/v1/send", token: String(new), body: key)
            #expect(again.header("Idempotency-Replayed") == "true", "idempotency survives key rotation")
            #expect(try again.text("message_id") == sent.text("message_id"))
        }
    }

    // MARK: Sending

    @Test func sendingAndRepeating() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let body = #"{"to_phone":"+15551234567","text":"hi","idempotency_key":"k"}"#
            let first = try await probe.send(account, body)
            #expect(first.status == 202)
            #expect(first.header("Idempotency-Replayed") == nil)
            #expect(try first.text("status") == "queued")
            #expect(try first.text("platform") == "sms")
            #expect(try first.text("idempotency_key") == "k")
            let position = try first.fields().integer("position", in: 1...1_000_000)
            #expect(position.map { String($0) } == first.header("Waybill-Position"))
            let second = try await probe.send(account, body)
            #expect(second.status == 202)
            #expect(second.header("Idempotency-Replayed") == "true")
            #expect(second.body == first.body, "a repeat gets the first answer")
            let other = try await probe.send(account, body.replacing("hi", with: "ho"))
            #expect(other.status == 422)
            #expect(other.code == "idempotency_mismatch")
        }
    }

    @Test func aSentMessageIsInTheInbox() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let sent = try await probe.send(account, #"{"to_phone":"+15551234567","text":"hi","metadata":{"a":"b"}}"#)
            let id = try sent.text("message_id")
            let shown = try await probe.ask(.get, "/v1/messages/\(id)", token: account.key)
            #expect(try shown.text("text") == "hi")
            #expect(try shown.text("status") == "queued")
            #expect(try shown.fields().object("metadata")?.string("a") == "b")
            let stranger = try await probe.account()
            let hidden = try await probe.ask(.get, "/v1/messages/\(id)", token: stranger.key)
            #expect(hidden.status == 404)
            let canceled = try await probe.ask(.post, "/v1/messages/\(id)/cancel", token: account.key)
            #expect(canceled.status == 200)
            let again = try await probe.ask(.post, "/v1/messages/\(id)/cancel", token: account.key)
            #expect(again.status == 409)
        }
    }

    @Test func refusalsHaveTheirStatus() async throws {
        try await GatewayProbe.with { probe in
            let body = #"{"to_phone":"+15551234567","text":"hi"}"#
            let without = try await probe.account(addon: "none")
            #expect(try await probe.send(without, body).code == "plan_required")
            let unconnected = try await probe.account()
            let refused = try await probe.send(unconnected, body)
            #expect(refused.status == 403)
            #expect(refused.code == "sms_not_enabled")
            let account = try await probe.smsAccount()
            let unknown = try await probe.send(account, #"{"conversation_id":"conv_x","text":"hi"}"#)
            #expect(unknown.status == 404)
            #expect(unknown.code == "unknown_recipient")
            _ = try await probe.twilio(account, GatewayProbe.message("SM1", text: "STOP"))
            let optedOut = try await probe.send(account, #"{"to_phone":"+14155552671","text":"hi"}"#)
            #expect(optedOut.status == 410)
            #expect(optedOut.code == "recipient_opted_out")
        }
    }

    @Test func theQuotaAnswersWithRetryAfter() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let patched = try await probe.ask(
                .patch,
                "/admin/v1/clients/\(account.id)",
                token: probe.operatorToken,
                body: #"{"sms_monthly_quota":1}"#
            )
            #expect(patched.status == 200)
            let body = #"{"to_phone":"+15551234567","text":"hi"}"#
            #expect(try await probe.send(account, body).status == 202)
            let refused = try await probe.send(account, body)
            #expect(refused.status == 429)
            #expect(refused.code == "sms_quota_exceeded")
            #expect(refused.header("Retry-After") != nil)
        }
    }

    // MARK: Inbound

    @Test func aSignedFormIsStoredOnce() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let before = probe.ledger.head
            let first = try await probe.twilio(account, GatewayProbe.message("SM1"))
            #expect(first.status == 200)
            #expect(first.header("Content-Type")?.hasPrefix("text/xml") == true, "plain text would be sent as a reply")
            #expect(String(decoding: first.body, as: UTF8.self).hasSuffix("<Response></Response>"))
            let stored = probe.ledger.head
            #expect(stored > before)
            #expect(probe.ledger.log.durable >= stored, "200 only when it is on disk")
            let again = try await probe.twilio(account, GatewayProbe.message("SM1"))
            #expect(again.status == 200)
            #expect(again.body == first.body)
            #expect(probe.ledger.head == stored)
            let events = try await probe.ask(.get, "/v1/events", token: account.key)
            #expect(try events.data().count == 1)
            let conversations = try await probe.ask(.get, "/v1/conversations?phone=%2B14155552671", token: account.key)
            #expect(try conversations.data().count == 1)
        }
    }

    @Test func aWrongSignatureLeavesNothing() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let unconnected = try await probe.account()
            let before = probe.ledger.head
            for signature in ["", "AAAA", String(repeating: "A", count: 28)] {
                let reply = try await probe.twilio(account, GatewayProbe.message("SM1"), signature: signature)
                #expect(reply.status == 403)
                #expect(reply.code == "invalid_signature")
            }
            // Neither may a stranger find out who is a client.
            let none = try await probe.twilio(unconnected, GatewayProbe.message("SM1"))
            let nobody = try await probe.ask(.post, "/channels/twilio/cl_nobody/sms", body: "MessageSid=SM1")
            #expect(none.code == "invalid_signature")
            #expect(nobody.code == "invalid_signature")
            #expect(probe.ledger.head == before)
        }
    }

    @Test func aFormChangedOnTheWayIsRefused() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let before = probe.ledger.head
            let target = "/channels/twilio/\(account.id)/sms"
            let signature = TwilioSignature.expected(
                token: [UInt8](GatewayProbe.authToken.utf8),
                url: GatewayProbe.publicURL + target,
                fields: GatewayProbe.message("SM1").map { (name: $0.0, value: $0.1) }
            )
            for changed in [GatewayProbe.message("SM2"), GatewayProbe.message("SM1") + [("X", "")]] {
                let reply = try await probe.twilio(account, changed, signature: signature)
                #expect(reply.status == 403)
            }
            #expect(probe.ledger.head == before)
        }
    }

    @Test func aVerifiedFormOfAnUnknownShapeIsKept() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let before = probe.ledger.head
            let first = try await probe.twilio(account, [("Something", "else")])
            #expect(first.status == 200)
            #expect(probe.ledger.head == before.next)
            #expect(try probe.ledger.event(at: before.next).event.type == .providerEventUnrecognized)
            let again = try await probe.twilio(account, [("Something", "else")])
            #expect(again.status == 200)
            #expect(probe.ledger.head == before.next, "a repeat makes no second event")
        }
    }

    // MARK: Reading

    @Test func pagesHoldEverythingOnce() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            for number in 0..<7 {
                let body = #"{"to_phone":"+1555123456\#(number)","text":"hi"}"#
                #expect(try await probe.send(account, body).status == 202)
            }
            var ids: [String] = []
            var path = "/v1/conversations?limit=3"
            for expected in [3, 3, 1] {
                let reply = try await probe.ask(.get, path, token: account.key)
                let page = try reply.data()
                #expect(page.count == expected)
                ids += page.compactMap { $0["id"] as? String }
                let cursor = try reply.fields().string("next_cursor")
                #expect((cursor == nil) == (expected == 1))
                path = "/v1/conversations?limit=3&cursor=\(cursor ?? "")"
            }
            #expect(Set(ids).count == 7)
            for (query, field) in [("cursor=nonsense", "cursor"), ("limit=201", "limit"), ("limit=x", "limit")] {
                let reply = try await probe.ask(.get, "/v1/conversations?\(query)", token: account.key)
                #expect(reply.status == 400)
                #expect(reply.field == field)
            }
        }
    }

    @Test func aReadWaitsForThePositionItNeeds() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let head = probe.ledger.head.rawValue
            func read(_ position: String) async throws -> Reply {
                try await probe.ask(
                    .get,
                    "/v1/conversations",
                    token: account.key,
                    headers: ["Waybill-Min-Position": position]
                )
            }
            #expect(try await read(String(head)).status == 200)
            let ahead = try await read(String(head + 1000))
            #expect(ahead.status == 412)
            #expect(ahead.code == "position_not_reached")
            #expect(try await read("soon").status == 400)
            #expect(try await read("-1").status == 400)
        }
    }

    @Test func eventsByPullAreTheBytesOfTheWebhook() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            _ = try await probe.twilio(account, GatewayProbe.message("SM1", text: "one"))
            let position = probe.ledger.head
            _ = try await probe.twilio(account, GatewayProbe.message("SM2", text: "two"))
            let rendering = try #require(try probe.ledger.body(at: position, .rendering))
            let events = try await probe.ask(.get, "/v1/events?after=0&limit=1", token: account.key)
            let text = String(decoding: events.body, as: UTF8.self)
            #expect(text.contains(String(decoding: rendering, as: UTF8.self)))
            let rest = try await probe.ask(.get, "/v1/events?after=1", token: account.key)
            #expect(try rest.data().count == 1)
            #expect(try rest.fields().integer("next_after", in: 0...9) == 2)
        }
    }
}
