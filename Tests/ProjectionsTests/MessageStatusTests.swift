import Foundation
import Log
import Projections
import Testing

@Suite struct MessageStatusTests {
    private static let reportable = MessageStatus.allCases.filter { $0 != .received }

    @Test func theOrderIsThatOfTheContract() {
        let order: [MessageStatus] = [.queued, .sending, .outcomeUnknown, .sent, .failed, .delivered, .read]
        #expect(order == order.sorted())
    }

    /// Every pair: what is not higher is not even put on record.
    @Test(arguments: reportable, reportable)
    func statusesOnlyRise(_ from: MessageStatus, _ to: MessageStatus) throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        var changed = MessageStatusChanged()
        changed.status = from
        world.apply([NewEvent(.messageStatusChanged(changed), client: client, message: message)])
        #expect(world.status(message) == from)
        let events = world.report(message, to, client: client)
        #expect(events.isEmpty == (to <= from))
        #expect(world.status(message) == max(from, to))
    }

    /// The fold holds the line by itself, whatever is on the log.
    @Test(arguments: reportable, reportable)
    func theFoldOnlyRises(_ from: MessageStatus, _ to: MessageStatus) throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        for status in [from, to] {
            var changed = MessageStatusChanged()
            changed.status = status
            world.apply([NewEvent(.messageStatusChanged(changed), client: client, message: message)])
        }
        #expect(world.status(message) == max(from, to))
    }

    @Test func reportsAboutOthersMessagesAreIgnored() throws {
        var world = World()
        let client = world.client()
        let other = world.client()
        let message = try world.send(world.request(client, key: "1"))
        #expect(world.report(message, .delivered, client: other).isEmpty)
        #expect(world.report(.zero, .delivered, client: client).isEmpty)
        world.receive(world.inbound(client, id: "SM1"))
        let inbound = world.state.position
        #expect(world.report(inbound, .delivered, client: client).isEmpty)
    }

    /// Twilio took it, whatever became of it later: a report settles an unknown outcome as used.
    @Test func aReportSettlesAnUnknownOutcome() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        world.finish(message, .unknown)
        #expect(world.month(client) == .init(reserved: 1, used: 0))
        world.report(message, .delivered, client: client)
        #expect(world.status(message) == .delivered)
        #expect(world.month(client) == .init(reserved: 0, used: 1))
    }

    // MARK: The event

    struct Subscription: Sendable {
        let events: [String]
        let enabled: Bool
        let wanted: Bool
    }

    static let subscriptions = [
        Subscription(events: ["sms.message_received"], enabled: true, wanted: false),
        Subscription(events: ["message.status"], enabled: true, wanted: true),
        Subscription(events: ["*"], enabled: true, wanted: true),
        Subscription(events: ["message.status"], enabled: false, wanted: false),
    ]

    /// A status is always in the sequence, for who pulls; it is delivered by subscription only.
    @Test(arguments: subscriptions)
    func statusEventsAreBySubscription(_ row: Subscription) throws {
        var world = World()
        let client = world.client()
        world.endpoint(client) { event in
            event.events = ListField(row.events)
            event.enabled = row.enabled
        }
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        let finished = world.finish(message, .accepted)
        let reported = world.report(message, .delivered, client: client)
        for events in [finished, reported] {
            let published = events.compactMap { $0.event.published }
            #expect(published.map(\.type) == ["message.status"])
            #expect(published.map(\.wanted) == [row.wanted])
        }
        #expect(world.state.deliveries.rows.count == (row.wanted ? 2 : 0))
    }

    @Test func withoutAnEndpointNobodyWantsAStatus() throws {
        var world = World()
        let client = world.client()
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        let events = world.finish(message, .accepted)
        #expect(events.compactMap { $0.event.published }.map(\.wanted) == [false])
        #expect(world.state.deliveries.rows.isEmpty)
    }

    @Test func theEventSaysWhatHappened() throws {
        var world = World()
        let client = world.client()
        world.endpoint(client) { $0.events = ListField(["message.status"]) }
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        let events = world.finish(message, .rejected, code: "21211")
        let rendering = try #require(events.last?.bodies.first?.plaintext)
        let parsed = try JSONSerialization.jsonObject(with: Data(rendering)) as? [String: Any]
        let data = try #require(parsed?["data"] as? [String: Any])
        let shown = try #require(data["message"] as? [String: Any])
        #expect(shown["id"] as? String == world.ids.encode(.message, message))
        #expect(shown["status"] as? String == "failed")
        #expect(shown["error"] as? [String: String] == ["code": "21211"])
        #expect(parsed?["id"] as? String == world.ids.encode(.event, world.state.position))
    }

    @Test func retriesAreNoStatusEvents() throws {
        var world = World()
        let client = world.client()
        world.endpoint(client) { $0.events = ListField(["*"]) }
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        #expect(world.finish(message, .retryLater).compactMap { $0.event.published }.isEmpty)
    }

    /// A callback may overtake the answer to the call; the answer then says nothing new.
    @Test(arguments: [SendOutcome.accepted, .unknown])
    func aLateAnswerDoesNotAnnounceALowerStatus(_ outcome: SendOutcome) throws {
        var world = World()
        let client = world.client()
        world.endpoint(client) { $0.events = ListField(["message.status"]) }
        let message = try world.send(world.request(client, key: "1"))
        world.startOffered()
        world.report(message, .delivered, client: client)
        let events = world.finish(message, outcome)
        #expect(world.status(message) == .delivered)
        #expect(events.map(\.event.type) == [.sendFinished])
    }
}
