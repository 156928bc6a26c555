import Log
import Projections
import Testing

@Suite struct ReachabilityTests {
    // MARK: Opt-out by the provider

    @Test(arguments: [true, false])
    func theProvidersWordOptsOut(_ isByAnswer: Bool) throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        let queued = try world.send(world.request(client, key: "2"))
        world.start([message])
        var events = world.finish(message, isByAnswer ? .rejected : .accepted, code: isByAnswer ? "21610" : "")
        if !isByAnswer { events = world.report(message, .failed, client: client, code: "21610") }
        let optOuts = events.compactMap { new -> CustomerOptedOut? in
            if case .customerOptedOut(let event) = new.event { event } else { nil }
        }
        #expect(optOuts.map(\.source) == ["provider"])
        #expect(World.publishedStatus(events) == "failed")
        #expect(world.refusal(world.request(client, key: "3")) == .recipientOptedOut)
        #expect(world.refusal(world.request(client, to: "bea", key: "4")) == nil)
        #expect(world.state.decideStart([queued], now: world.now).drop == [queued])
        #expect(try world.rebuilt().optOuts == world.state.optOuts)
        world.receive(world.inbound(client, id: "SM9", consent: .optIn))
        #expect(world.refusal(world.request(client, key: "5")) == nil)
    }

    @Test func whatIsKnownIsNotToldTwice() throws {
        var world = World()
        let client = world.client()
        let first = try world.send(world.request(client, key: "1"))
        let second = try world.send(world.request(client, key: "2"))
        world.start([first, second])
        world.finish(first, .rejected, code: "21610")
        let events = world.finish(second, .rejected, code: "21610")
        #expect(!events.map(\.event.type).contains(.customerOptedOut))
    }

    @Test(arguments: ["21614", "30003", "131050", ""])
    func otherRefusalsAreNoOptOut(_ code: String) throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.start([message])
        world.finish(message, .rejected, code: code)
        #expect(world.refusal(world.request(client, key: "2")) == nil)
    }

    // MARK: Reachability

    @Test func itLastsUntilTheCustomerIsReached() throws {
        var world = World()
        let client = world.client()
        let first = try world.send(world.request(client, key: "1"))
        let second = try world.send(world.request(client, key: "2"))
        let conversation = try #require(world.state.inbox.messages[first]?.conversation)
        func known() -> Reachability? { world.state.inbox.conversations[conversation]?.reachability }
        world.start([first, second])
        world.finish(first, .accepted)
        world.finish(second, .accepted)
        #expect(known() == nil)
        world.report(first, .failed, client: client, code: "30003")
        let since = try #require(known()?.since)
        #expect(known()?.message == first)
        world.pass(seconds: 60)
        world.report(second, .failed, client: client, code: "30003")
        #expect(known() == Reachability(code: "30003", since: since, message: second))
        #expect(try world.rebuilt().inbox == world.state.inbox)
        world.report(second, .delivered, client: client)
        #expect(known() == nil)
        let third = try world.send(world.request(client, key: "3"))
        world.start([third])
        world.finish(third, .rejected, code: "21614")
        #expect(known()?.code == "21614")
        world.receive(world.inbound(client, id: "SM9"))
        #expect(known() == nil)
    }

    static let codes: [(Platform, String, String?)] = [
        (.sms, "30006", "landline"), (.sms, "131026", nil), (.sms, "30007", nil), (.sms, "", nil),
        (.whatsapp, "131026", "undeliverable"), (.whatsapp, "131030", "not_allowed"), (.whatsapp, "131050", nil),
        (.facebook, "551/1545041", "unavailable"), (.instagram, "551", "unavailable"), (.facebook, "5510", nil),
    ]

    @Test(arguments: codes)
    func codesOfEachPlatform(_ platform: Platform, _ code: String, _ reason: String?) {
        #expect(RecipientCode.reason(platform, code) == reason)
    }
}
