import Gateway
import Log
import Projections
import Testing

/// Deliveries as the API lists and shows them.
@Suite struct DeliveryRouteTests {
    /// A client whose endpoint refused one event for good and has another one before it.
    private func withOneDead(
        _ body: @Sendable (GatewayProbe, GatewayProbe.Account, _ dead: String, _ due: String) async throws -> Void
    ) async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.smsAccount()
            let hook = #"{"url":"https://hooks.example.test/x"}"#
            #expect(try await probe.ask(.put, "/v1/webhook", token: account.key, body: hook).status == 200)
            _ = try await probe.twilio(account, GatewayProbe.message("SM1"))
            let dead = probe.ledger.head
            _ = try await probe.ledger.commit { _, _ in
                var started = DeliveryStarted()
                started.deliveries = ListField([dead])
                return ([NewEvent(.deliveryStarted(started))], ())
            }
            _ = try await probe.ledger.commit { state, _ in
                var finished = DeliveryFinished()
                finished.attempt = 1
                finished.final = "retries_exhausted"
                let client = state.deliveries.rows[dead]?.client ?? .zero
                return ([NewEvent(.deliveryFinished(finished), client: client, subject: dead)], ())
            }
            _ = try await probe.twilio(account, GatewayProbe.message("SM2"))
            let ids = probe.ledger.ids
            try await body(probe, account, ids.encode(.delivery, dead), ids.encode(.delivery, probe.ledger.head))
        }
    }

    private func listed(_ probe: GatewayProbe, _ account: GatewayProbe.Account, _ path: String) async throws -> [String]
    {
        try await probe.ask(.get, path, token: account.key).data().compactMap { $0["id"] as? String }
    }

    @Test func deliveriesAreFilteredByState() async throws {
        try await withOneDead { probe, account, dead, due in
            #expect(try await listed(probe, account, "/v1/deliveries") == [due, dead])
            #expect(try await listed(probe, account, "/v1/deliveries?state=dead") == [dead])
            #expect(try await listed(probe, account, "/v1/deliveries?state=scheduled&limit=1") == [due])
            for state in ["in_flight", "delivered", "discarded", "purged"] {
                #expect(try await listed(probe, account, "/v1/deliveries?state=\(state)").isEmpty, "\(state)")
            }
            for state in ["", "Dead", "failed", "dead,purged", "dead%20"] {
                let reply = try await probe.ask(.get, "/v1/deliveries?state=\(state)", token: account.key)
                #expect(reply.status == 400, "\(state)")
                #expect(reply.field == "state", "\(state)")
            }
        }
    }

    @Test func aReplayedOneNamesWhatReplacedIt() async throws {
        try await withOneDead { probe, account, dead, due in
            for id in [dead, due] {
                let shown = try await probe.ask(.get, "/v1/deliveries/\(id)", token: account.key)
                #expect(try shown.fields().string("replaced_by") == nil)
            }
            let replayed = try await probe.ask(.post, "/v1/dead-letters/\(dead)/replay", token: account.key)
            #expect(replayed.status == 202)
            let new = try replayed.text("delivery_id")
            for path in ["/v1/deliveries/\(dead)", "/v1/dead-letters/\(dead)"] {
                let shown = try await probe.ask(.get, path, token: account.key)
                #expect(shown.status == 200, "\(path)")
                #expect(try shown.text("replaced_by") == new)
                #expect(try shown.text("state") == "discarded")
            }
            #expect(try await listed(probe, account, "/v1/dead-letters").isEmpty, "it is settled")
            let listing = try await probe.ask(.get, "/v1/deliveries?state=discarded", token: account.key).data()
            #expect(listing.map { $0["replaced_by"] as? String } == [new])
            #expect(try await probe.ask(.get, "/v1/dead-letters/\(due)", token: account.key).status == 404)
        }
    }
}
