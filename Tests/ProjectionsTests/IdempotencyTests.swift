import Log
import Projections
import Testing

@Suite struct IdempotencyTests {
    @Test func aRepeatGetsTheFirstMessage() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "k"))
        let before = world.state.position
        guard case .replayed(message) = world.decide(world.request(client, key: "k")) else {
            Issue.record("not replayed")
            return
        }
        #expect(world.state.position == before)
        #expect(world.month(client).reserved == 1)
    }

    /// Also when the message has long been settled, or when a new one would be refused now.
    @Test func aRepeatIsReplayedWhateverHappenedSince() throws {
        var world = World()
        let client = world.client(quota: 1)
        let message = try world.send(world.request(client, key: "k"))
        world.start([message])
        world.finish(message, .rejected)
        world.receive(world.inbound(client, id: "SM1", consent: .optOut))
        guard case .replayed(message) = world.decide(world.request(client, key: "k")) else {
            Issue.record("not replayed")
            return
        }
    }

    @Test func anotherRequestUnderTheKeyIsAMismatch() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "k"))
        #expect(world.refusal(world.request(client, key: "k", request: "other")) == .idempotencyMismatch)
        guard case .replayed(message) = world.decide(world.request(client, key: "k")) else {
            Issue.record("a mismatch must not take the key away")
            return
        }
    }

    @Test func keysAreScopedToTheClient() throws {
        var world = World()
        let client = world.client()
        let other = world.client()
        let message = try world.send(world.request(client, key: "k"))
        #expect(try world.send(world.request(other, key: "k")) != message)
    }

    @Test func aKeyIsForgottenAtItsTimeAndNotBefore() throws {
        var world = World()
        let client = world.client()
        let first = try world.send(world.request(client, key: "k"))
        let expiry = try #require(world.state.idempotency.entry(client, World.hash("key/k"), at: world.now)).expiresAt
        world.now = Timestamp(expiry.nanoseconds - 1)
        guard case .replayed(first) = world.decide(world.request(client, key: "k")) else {
            Issue.record("forgotten too early")
            return
        }
        world.now = expiry
        let second = try world.send(world.request(client, key: "k"))
        #expect(second > first)
        guard case .replayed(second) = world.decide(world.request(client, key: "k")) else {
            Issue.record("the second use is not remembered")
            return
        }
    }

    /// What is over is let go of, so that the index does not grow for ever.
    @Test func expiredKeysLeaveTheIndex() throws {
        var world = World()
        let client = world.client()
        for number in 0..<20 {
            let expiry = world.now.advanced(bySeconds: 10)
            _ = try world.send(world.request(client, key: "k\(number)") { $0.keyExpiresAt = expiry })
            world.pass(seconds: 4)
        }
        #expect(world.state.idempotency.count <= 4)
    }

    /// A key that was used again keeps its new time when its old standing comes to the front.
    @Test func aKeyUsedAgainIsNotForgottenWithItsFirstUse() throws {
        var world = World()
        let client = world.client()
        let start = world.now
        func request(_ key: String, _ seconds: UInt64) -> SendRequest {
            world.request(client, key: key) { $0.keyExpiresAt = start.advanced(bySeconds: seconds) }
        }
        _ = try world.send(request("long", 100))
        _ = try world.send(request("k", 10))
        world.now = start.advanced(bySeconds: 20)
        let again = try world.send(request("k", 200))
        world.now = start.advanced(bySeconds: 150)
        _ = try world.send(request("other", 300))
        guard case .replayed(again) = world.decide(request("k", 400)) else {
            Issue.record("the key was forgotten")
            return
        }
    }

    @Test func theIndexIsRebuiltFromTheLog() throws {
        var world = World()
        let client = world.client()
        for number in 0..<10 { _ = try world.send(world.request(client, key: "k\(number)")) }
        let rebuilt = try world.rebuilt()
        #expect(rebuilt.idempotency == world.state.idempotency)
        guard case .replayed = rebuilt.decide(world.request(client, key: "k3"), world.context) else {
            Issue.record("a restart forgot a key")
            return
        }
    }
}
