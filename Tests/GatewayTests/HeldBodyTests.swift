import Foundation
import Gateway
import Log
import Logging
import Projections
import Synchronization
import TestSupport
import Testing

/// Inbound Body Purge where no endpoint takes a message, through the routes and the purge service, on a clock that can be moved.
@Suite struct HeldBodyRouteTests {
    /// Moves the ledger's clock on.
    private final class Clock: Sendable {
        private let ahead = Mutex(Duration.zero)
        private let start = GuardedClock().now
        private let began = BootTime.now

        func pass(seconds: UInt64) { ahead.withLock { $0 += .seconds(seconds) } }

        /// The boot clock and the wall clock go on together.
        var guarded: GuardedClock {
            let boot: @Sendable () -> BootTime = { BootTime.now.advanced(by: self.ahead.withLock { $0 }) }
            let wall: @Sendable () -> UInt64 = {
                Timestamp(self.start).advanced(byNanoseconds: boot().nanoseconds - self.began.nanoseconds).nanoseconds
            }
            return GuardedClock(ClockSources(wall: wall, boot: boot))
        }
    }

    private func with(_ body: @Sendable (GatewayProbe, Clock) async throws -> Void) async throws {
        let directory = TemporaryDirectory()
        let opened = try await GatewayProbe.openLedger(directory)
        let clock = Clock()
        let state = try await opened.read { copy $0 }
        let ledger = Ledger(log: opened.log, keys: opened.keys, state: state, clock: clock.guarded)
        do {
            try await GatewayProbe.with(ledger) { try await body($0, clock) }
        } catch {
            await ledger.close(reason: "test failed")
            throw error
        }
        await ledger.close(reason: "test")
    }

    private static let purge = #"{"inbound_body_purge":{"sms":true}}"#

    private func subscribe(
        _ probe: GatewayProbe,
        _ account: GatewayProbe.Account,
        _ more: String = ""
    ) async throws -> Reply {
        let body = #"{"url":"https://receiver.test/hook"\#(more)}"#
        return try await probe.ask(.put, "/v1/webhook", token: account.key, body: body)
    }

    private func purging(_ probe: GatewayProbe) async throws -> GatewayProbe.Account {
        let account = try await probe.smsAccount()
        #expect(try await subscribe(probe, account).status == 200)
        let reply = try await probe.ask(.patch, "/v1/settings", token: account.key, body: Self.purge)
        #expect(reply.status == 200)
        return account
    }

    private func setAddon(_ status: String, _ probe: GatewayProbe, _ account: GatewayProbe.Account) async throws {
        let path = "/admin/v1/clients/\(account.id)"
        let body = #"{"addon":{"status":"\#(status)"}}"#
        #expect(try await probe.ask(.patch, path, token: probe.operatorToken, body: body).status == 200)
    }

    @Test(arguments: [
        #","enabled":false"#, #","events":["message.status"]"#, #","events":["whatsapp.message_received"]"#,
    ])
    func anEndpointThatLeavesItOutIsRefusedWhicheverComesFirst(_ change: String) async throws {
        try await with { probe, _ in
            let account = try await probe.smsAccount()
            #expect(try await subscribe(probe, account, change).status == 200)
            let refused = try await probe.ask(.patch, "/v1/settings", token: account.key, body: Self.purge)
            #expect(refused.status == 409 && refused.code == "purge_requires_webhook")
            #expect(try refused.text("detail").contains("sms.message_received"))
            let other = try await purging(probe)
            let kept = try await probe.ask(.get, "/v1/webhook", token: other.key).body
            let again = try await subscribe(probe, other, change)
            #expect(again.status == 409 && again.code == "purge_requires_webhook")
            #expect(try await probe.ask(.get, "/v1/webhook", token: other.key).body == kept)
            #expect(try await subscribe(probe, other, #","channels":["sms"]"#).status == 200)
        }
    }

    /// The deadline needs no endpoint, no client and no restart: the service purges, and tells that nobody had it.
    @Test func theDeadlineLeavesADeadLetterAndAMetric() async throws {
        try await with { probe, clock in
            let account = try await purging(probe)
            try await setAddon("none", probe, account)
            #expect(try await probe.twilio(account, GatewayProbe.message("SM1", text: "secret")).status == 200)
            let held = try #require(try await probe.ask(.get, "/v1/deliveries", token: account.key).data().first)
            #expect(held["state"] as? String == "scheduled" && held["reason"] as? String == "plan_required")
            clock.pass(seconds: LogState.purgeDeadline + 1)
            let metrics = GatewayMetrics()
            let service = PurgeService(
                ledger: probe.ledger,
                shelf: MediaShelf(ledger: probe.ledger, directory: TemporaryDirectory().path),
                metrics: metrics,
                logger: Logger(label: "test")
            )
            let running = Task { try await service.run() }
            defer { running.cancel() }
            #expect(try await isPurged(probe.ledger))
            let letter = try #require(try await probe.ask(.get, "/v1/dead-letters", token: account.key).data().first)
            #expect(letter["state"] as? String == "purged" && letter["reason"] as? String == "plan_required")
            #expect(letter["attempt_count"] as? Int == 0)
            let event = try #require(try await probe.ask(.get, "/v1/events", token: account.key).data().first)
            #expect(event["purged"] as? Bool == true && event["type"] as? String == "sms.message_received")
            #expect(metrics.render(gauges: []).contains(#"waybill_purges_undelivered_total{reason="plan_required"} 1"#))
            try await setAddon("active", probe, account)
            #expect(try await probe.ledger.read { $0.deliveries.rows.values.allSatisfy { $0.state == .purged } })
        }
    }

    private func isPurged(_ ledger: Ledger) async throws -> Bool {
        for _ in 0..<4000 {
            // What the settings replaced is purged too; a message's purge is asked for once it is over.
            if try await ledger.read({ $0.purges.pending.isEmpty && $0.deliveries.held.isEmpty }) { return true }
            try await Task.sleep(for: .milliseconds(5))
        }
        return false
    }

    @Test func theAddOnThatComesBackInTimeLetsItGo() async throws {
        try await with { probe, clock in
            let account = try await purging(probe)
            try await setAddon("none", probe, account)
            #expect(try await probe.twilio(account, GatewayProbe.message("SM1", text: "secret")).status == 200)
            clock.pass(seconds: LogState.purgeDeadline - 10)
            try await setAddon("active", probe, account)
            var state = try await probe.ledger.read { copy $0 }
            state.deliveries.schedule.advance(to: probe.ledger.now)
            let offered = state.deliveries.schedule.pick(limit: 9) { _ in 9 }
            let event = try #require(offered.first)
            let body = try #require(try probe.ledger.body(at: event, .rendering))
            #expect(String(decoding: body, as: UTF8.self).contains("secret"))
        }
    }
}
