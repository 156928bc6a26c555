import Gateway
import HTTPTypes
import Testing

/// What of a provider's request is checked before its body is read.
struct EarlyCheckTests {
    private static let twilio = String(repeating: "A", count: 27) + "="

    /// A body that never comes: whoever reads it answers 400.
    private func ask(_ probe: GatewayProbe, _ path: String, _ headers: [(String, String)]) async throws -> Reply {
        try await probe.ask(.post, path, headers: headers + [("Content-Length", "10")])
    }

    @Test func aBodyIsNotReadWithoutWhatLooksLikeASignature() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let sms = "/channels/twilio/\(account.id)/sms"
            for headers in [[], [("X-Twilio-Signature", "AAAA")]] {
                #expect(try await ask(probe, sms, headers).code == "invalid_signature")
            }
            for headers in [[], [("X-Hub-Signature-256", "sha256=00")], [("X-Hub-Signature-256", "sha1=00")]] {
                #expect(try await ask(probe, "/channels/meta", headers).code == "invalid_signature")
            }
            // Of the form of one: no app secret is set, so none can be right.
            let hub = ("X-Hub-Signature-256", "sha256=" + String(repeating: "0", count: 64))
            #expect(try await ask(probe, "/channels/meta", [hub]).code == "invalid_signature")
            let signed = ("X-Twilio-Signature", EarlyCheckTests.twilio)
            #expect(try await ask(probe, sms, [signed]).status == 400, "this one is read")
        }
    }

    @Test func aBodyIsNotReadForWhoIsNotConnected() async throws {
        try await GatewayProbe.with { probe in
            let unconnected = try await probe.account()
            let signed = ("X-Twilio-Signature", EarlyCheckTests.twilio)
            for client in [unconnected.id, "cl_nobody"] {
                let reply = try await ask(probe, "/channels/twilio/\(client)/sms", [signed])
                #expect(reply.status == 403)
                #expect(reply.code == "invalid_signature")
            }
        }
    }

    @Test func aLengthBeyondTheLimitIsRefusedAtOnce() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            for path in ["/channels/meta", "/channels/twilio/\(account.id)/sms"] {
                let reply = try await probe.ask(.post, path, headers: [("Content-Length", "4194305")])
                #expect(reply.status == 413)
            }
        }
    }
}
