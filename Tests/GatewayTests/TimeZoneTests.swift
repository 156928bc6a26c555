import Gateway
import Log
import Projections
import Testing

/// Only names of the IANA time zone database are zones, exactly as they are spelled there.
@Suite struct TimeZoneTests {
    private func created(_ zone: String, _ probe: GatewayProbe) async throws -> Reply {
        let body = #"{"name":"Acme","plan":"business","addon":{"status":"active"},"time_zone":"\#(zone)"}"#
        return try await probe.ask(.post, "/admin/v1/clients", token: probe.operatorToken, body: body)
    }

    @Test func abbreviationsAreNotGuessed() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let wrong = [
                "BST", "CST", "IST", "PST", "CEST", "AEST", #"UTC\u0000"#, "utc", "europe/berlin", "Europe/berlin",
                "GMT+1",
                "GMT+01:00", "UTC+1", "+01:00", " UTC", "UTC ", "", "Factory", "Europe", "posix/UTC", "../UTC",
                "Europe//Berlin",
                "Mars/Olympus", "Etc/Unknown", #"Asia/\u212Aolkata"#,
            ]
            for zone in wrong {
                let refused = try await created(zone, probe)
                #expect(refused.status == 400, "\(zone)")
                #expect(refused.field == "time_zone", "\(zone)")
                let body = #"{"time_zone":"\#(zone)"}"#
                let path = "/admin/v1/clients/\(account.id)"
                let change = try await probe.ask(.patch, path, token: probe.operatorToken, body: body)
                #expect(change.status == 400, "\(zone)")
                let settings = try await probe.ask(.patch, "/v1/settings", token: account.key, body: body)
                #expect(settings.status == 400, "\(zone)")
                #expect(settings.field == "time_zone", "\(zone)")
            }
        }
    }

    @Test func zonesAndLinksAreTaken() async throws {
        try await GatewayProbe.with { probe in
            let names = [
                "UTC", "Etc/UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Calcutta", "America/Argentina/Buenos_Aires",
                "EST",
                "Etc/GMT+5", "US/Eastern", "Europe/Kyiv",
            ]
            for zone in names {
                let made = try await created(zone, probe)
                #expect(made.status == 201, "\(zone)")
                let key = try made.text("api_key")
                #expect(try await probe.ask(.get, "/v1/usage", token: key).text("time_zone") == zone)
                let body = #"{"time_zone":"\#(zone)"}"#
                #expect(try await probe.ask(.patch, "/v1/settings", token: key, body: body).status == 200, "\(zone)")
            }
        }
    }

    /// What an older version took goes on, and does not stand in the way of other changes.
    @Test func whatIsOnRecordGoesOn() async throws {
        try await GatewayProbe.with { probe in
            let account = try await probe.account()
            let client = try #require(probe.ledger.ids.decode(.client, account.id))
            _ = try await probe.ledger.commit { state, _ in
                var event = ClientUpdated()
                event.plan = .business
                event.addon = .active
                event.smsMonthlyQuota = 1000
                event.timeZone = "BST"
                return ([NewEvent(.clientUpdated(event), client: client)], ())
            }
            #expect(try await probe.ask(.get, "/v1/usage", token: account.key).text("time_zone") == "BST")
            let path = "/admin/v1/clients/\(account.id)"
            let changed = try await probe.ask(.patch, path, token: probe.operatorToken, body: #"{"name":"Acme 2"}"#)
            #expect(changed.status == 200)
            #expect(try changed.text("time_zone") == "BST")
            let phrases = #"{"escalation":{"phrases":["human"]}}"#
            #expect(try await probe.ask(.patch, "/v1/settings", token: account.key, body: phrases).status == 200)
        }
    }
}
