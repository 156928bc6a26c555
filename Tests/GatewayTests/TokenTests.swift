import Foundation
import Gateway
import HTTPTypes
import Log
import Projections
import Testing

/// Tokens that end and are seen to be used, keys that an operator replaces, and who is on record for it.
@Suite struct TokenTests {
    private struct Listed: Decodable {
        let id: String
        let role: String
        let label: String
        let created_at: String
        let expires_at: String?
        let last_used_at: String?
    }

    private func listed(_ probe: GatewayProbe) async throws -> [Listed] {
        try JSONDecoder().decode([Listed].self, from: Data(try await TokenControl(probe.ledger).list()))
    }

    /// A token that was made a while ago.
    private func token(_ role: TokenRole, expiring time: Timestamp, _ probe: GatewayProbe) async throws -> String {
        let text = "wb_op_\(role.name)\(time.nanoseconds)"
        _ = try await probe.ledger.commit { _, _ in
            var event = TokenCreated()
            event.role = role
            event.hash = try #require(Digest(Crypto.sha256([UInt8](text.utf8))))
            event.expiresAt = time
            return ([NewEvent(.tokenCreated(event))], ())
        }
        return text
    }

    /// The actors of all records of a type, oldest first.
    private func actors(_ type: EventType, _ probe: GatewayProbe) throws -> [String] {
        struct Line: Decodable {
            struct Fields: Decodable { let actor: String? }
            let type: String
            let data: Fields
        }
        let printer = ReplayPrinter(ids: probe.ledger.ids, keys: nil)
        let lines = try (1...probe.ledger.head.rawValue).map { number in
            try probe.ledger.log.reader.record(at: LogPosition(number)).withView { try printer.line($0) }
        }
        return try lines.map { try JSONDecoder().decode(Line.self, from: Data($0)) }
            .filter { $0.type == type.name }.map { $0.data.actor ?? "" }
    }

    // MARK: Tokens

    @Test func anExpiredTokenIsNoToken() async throws {
        try await GatewayProbe.with { probe in
            let now = probe.ledger.now
            for role in TokenRole.allCases {
                let ended = try await token(role, expiring: Timestamp(now.nanoseconds - 1), probe)
                let valid = try await token(role, expiring: now.advanced(bySeconds: 600), probe)
                for path in ["/admin/v1/clients", "/audit/v1/checkpoint", "/audit/v1/receipts/msg_x", "/v1/usage"] {
                    let refused = try await probe.ask(.get, path, token: ended)
                    #expect(refused.status == 401, "\(role) \(path)")
                    #expect(refused.code == "unauthorized")
                    #expect(try await probe.ask(.get, path, token: valid).status != 401, "\(role) \(path)")
                }
            }
        }
    }

    @Test func aTokenEndsInTheFuture() async throws {
        try await GatewayProbe.with { probe in
            let control = TokenControl(probe.ledger)
            let past = Timestamp(probe.ledger.now.nanoseconds - 1)
            await #expect(throws: GatewayError(.invalidRequest, "")) {
                _ = try await control.create(role: .auditor, label: "", expiresAt: past)
            }
            await #expect(throws: GatewayError(.invalidRequest, "")) {
                _ = try await control.create(role: .auditor, label: String(repeating: "x", count: 201))
            }
            let end = probe.ledger.now.advanced(bySeconds: 90)
            let made = try JSONFields(try await control.create(role: .auditor, label: "audit", expiresAt: end))
            let row = try #require(try await listed(probe).first { $0.label == "audit" })
            #expect(try made.string("id") == row.id)
            #expect(row.expires_at == RFC3339.format(end))
            #expect(row.role == "auditor")
            #expect(row.last_used_at == nil)
        }
    }

    @Test func useIsOnRecordOnceAnHour() async throws {
        try await GatewayProbe.with { probe in
            #expect(try await listed(probe).map(\.last_used_at) == [nil])
            #expect(try await probe.ask(.get, "/admin/v1/clients", token: probe.operatorToken).status == 200)
            let used = probe.ledger.head
            #expect(try probe.ledger.event(at: used).event.type == .tokenUsed)
            #expect(try await listed(probe).allSatisfy { $0.last_used_at != nil })
            for _ in 0..<20 { _ = try await probe.ask(.get, "/admin/v1/clients", token: probe.operatorToken) }
            #expect(probe.ledger.head == used)
        }
    }

    @Test func expiriesAreRead() throws {
        let now = Timestamp(1_800_000_000_000_000_000)
        let rows: [(text: String, seconds: UInt64?)] = [
            ("90d", 90 * 86_400), ("12h", 43_200), ("30m", 1800), ("0d", nil), ("d", nil), ("-1d", nil), ("+1d", nil),
            ("1.5d", nil), ("90", nil), ("", nil), ("1 d", nil), ("99999999999999999999d", nil), ("soon", nil),
        ]
        for row in rows {
            let end = row.seconds.map { now.advanced(bySeconds: $0) }
            #expect(TokenExpiry.parse(row.text, now: now) == end, "\(row.text)")
        }
        #expect(TokenExpiry.parse("4294967295d", now: now) == nil, "no time can be so late")
        #expect(TokenExpiry.parse("2030-01-31T00:00:00Z", now: now) == RFC3339.parse("2030-01-31T00:00:00Z"))
    }

    // MARK: Keys

    @Test func anOperatorReplacesAStolenKey() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            // Whoever has the key has locked the client out.
            let taken = try await probe.ask(
                .post,
                "/v1/api-key/rotate",
                token: account.key,
                body: #"{"overlap_seconds":0}"#
            ).text("api_key")
            let path = "/admin/v1/clients/\(account.id)/api-key/rotate"
            let body = #"{"overlap_seconds":0}"#
            let rotated = try await probe.ask(.post, path, token: probe.operatorToken, body: body)
            #expect(rotated.status == 200)
            #expect(rotated.header("Waybill-Position") == String(probe.ledger.head.rawValue))
            #expect(try rotated.text("key_id").hasPrefix("key_"))
            let new = try rotated.text("api_key")
            #expect(try await probe.ask(.get, "/v1/usage", token: taken).status == 401)
            #expect(try await probe.ask(.get, "/v1/usage", token: new).status == 200)
            // Without a word, the old one goes on for a day.
            let kind = try await probe.ask(.post, path, token: probe.operatorToken)
            #expect(kind.status == 200)
            #expect(try await probe.ask(.get, "/v1/usage", token: new).status == 200)
            let ended = try #require(RFC3339.parse(try kind.text("previous_expires_at")))
            #expect(ended > probe.ledger.now.advanced(bySeconds: 86_000))
        }
    }

    /// What let the caller in has ended between that and the decision.
    @Test func whoHasEndedMakesNoCredential() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let client = try #require(probe.ledger.ids.decode(.client, account.id))
            let old = try #require(try await probe.ledger.read { $0.clients[client]?.apiKeys.first?.position })
            _ = try await probe.ledger.rotateKey(of: client, overlap: 0, by: .cli)
            let tokens = try await probe.ledger.read { Array($0.tokens.rows.keys) }
            _ = try await TokenControl(probe.ledger).revoke(probe.ledger.ids.encode(.token, try #require(tokens.first)))
            let before = probe.ledger.head
            for actor in [ChangeActor.apiKey(old), .token(.operator, try #require(tokens.first)), .nobody] {
                await #expect(throws: GatewayError(.unauthorized, "")) {
                    _ = try await probe.ledger.rotateKey(of: client, overlap: 0, by: actor)
                }
                await #expect(throws: GatewayError(.unauthorized, "")) {
                    _ = try await probe.ledger.rotateSecret(of: client, overlap: 0, by: actor)
                }
            }
            #expect(probe.ledger.head == before)
        }
    }

    @Test func anOperatorReplacesAWebhookSecret() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let path = "/admin/v1/clients/\(account.id)/webhook/secret/rotate"
            let rotated = try await probe.ask(.post, path, token: probe.operatorToken, body: #"{"overlap_seconds":0}"#)
            #expect(rotated.status == 200)
            #expect(try rotated.text("webhook_secret").hasPrefix("whsec_"))
            #expect(try rotated.text("webhook_secret") != account.secret)
            let client = try #require(probe.ledger.ids.decode(.client, account.id))
            let valid = try await probe.ledger.read { state in
                state.clients[client]?.secrets(at: state.time).map(\.position) ?? []
            }
            #expect(try valid == [probe.ledger.ids.decode(.secret, rotated.text("secret_id"))])
        }
    }

    @Test func whatIsNotRotated() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let other = try await probe.account()
            let gone = "/admin/v1/clients/\(other.id)"
            let deleted = try await probe.ask(
                HTTPRequest.Method.delete,
                gone,
                token: probe.operatorToken,
                headers: []
            )
            #expect(deleted.status == 204)
            let before = probe.ledger.head
            for what in ["api-key/rotate", "webhook/secret/rotate"] {
                let path = "/admin/v1/clients/\(account.id)/\(what)"
                #expect(try await probe.ask(.post, path).status == 401)
                #expect(try await probe.ask(.post, path, token: account.key).status == 403)
                for body in [#"{"overlap_seconds":-1}"#, #"{"overlap_seconds":2592001}"#, #"{"overlap":0}"#] {
                    let wrong = try await probe.ask(.post, path, token: probe.operatorToken, body: body)
                    #expect(wrong.status == 400, "\(body)")
                }
                for id in [other.id, "cl_x", "cl_\(String(repeating: "0", count: 26))"] {
                    let missing = try await probe.ask(
                        .post,
                        "/admin/v1/clients/\(id)/\(what)",
                        token: probe.operatorToken
                    )
                    #expect(missing.status == 404, "\(id)")
                }
            }
            #expect(probe.ledger.head == before)
        }
    }

    // MARK: Who did it

    @Test func changesNameWhoMadeThem() async throws {
        try await GatewayProbe.with { probe in
            let control = TokenControl(probe.ledger)
            let account = try await probe.smsAccount()
            let base = "/admin/v1/clients/\(account.id)"
            let first = try #require(try await listed(probe).first)
            let theOperator = "operator:\(first.id)"
            let client = try #require(probe.ledger.ids.decode(.client, account.id))
            let key = try #require(try await probe.ledger.read { $0.clients[client]?.apiKeys.first?.position })
            let theClient = "client:\(probe.ledger.ids.encode(.apiKey, key))"

            let hook = #"{"url":"https://hooks.example.test/x"}"#
            #expect(try await probe.ask(.put, "/v1/webhook", token: account.key, body: hook).status == 200)
            let zone = #"{"time_zone":"Europe/Berlin"}"#
            #expect(try await probe.ask(.patch, "/v1/settings", token: account.key, body: zone).status == 200)
            #expect(try await probe.ask(.post, "/v1/webhook/secret/rotate", token: account.key).status == 200)
            #expect(try await probe.ask(.post, "\(base)/api-key/rotate", token: probe.operatorToken).status == 200)
            let plan = #"{"plan":"professional"}"#
            #expect(try await probe.ask(.patch, base, token: probe.operatorToken, body: plan).status == 200)
            for path in ["\(base)/channels/sms", base] {
                let reply = try await probe.ask(
                    HTTPRequest.Method.delete,
                    path,
                    token: probe.operatorToken,
                    headers: []
                )
                #expect(reply.status == 204)
            }
            let made = try JSONFields(try await control.create(role: .auditor, label: "", by: .firstStart))
            _ = try await control.revoke(try made.require("id"))

            let rows: [(type: EventType, actors: [String])] = [
                (.tokenCreated, ["cli", "first_start"]), (.tokenRevoked, ["cli"]), (.clientCreated, [theOperator]),
                (.clientUpdated, [theOperator]), (.clientDeleted, [theOperator]), (.channelConnected, [theOperator]),
                (.channelDisconnected, [theOperator]), (.settingsChanged, [theClient]),
                (.endpointConfigured, [theClient]), (.apiKeyCreated, [theOperator, theOperator]),
                (.apiKeyExpires, [theOperator]), (.webhookSecretCreated, [theOperator, theClient]),
                (.webhookSecretExpires, [theClient]),
            ]
            for row in rows { #expect(try actors(row.type, probe) == row.actors, "\(row.type)") }
        }
    }
}
