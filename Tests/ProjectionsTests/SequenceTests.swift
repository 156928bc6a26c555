import Log
import Projections
import Testing

@Suite struct SequenceTests {
    private func published(_ world: World) -> [EventPublished] { world.records.compactMap { $0.event.published } }

    /// `sequence` counts all events of a client; `previous_sequence` is the last one that the endpoint wanted.
    @Test func aReceiverSeesAGap() {
        var world = World()
        let client = world.client()
        func receive(_ id: Int, wanted: Bool) {
            world.endpoint(client) { $0.events = ListField(wanted ? ["sms.message_received"] : ["escalation"]) }
            world.receive(world.inbound(client, id: "SM\(id)"))
        }
        receive(1, wanted: true)
        receive(2, wanted: true)
        receive(3, wanted: false)
        receive(4, wanted: false)
        receive(5, wanted: true)
        receive(6, wanted: true)
        #expect(published(world).map(\.sequence) == [1, 2, 3, 4, 5, 6])
        #expect(published(world).map(\.previousSequence) == [0, 1, 2, 2, 2, 5])
        #expect(published(world).map(\.wanted) == [true, true, false, false, true, true])
        #expect(world.state.deliveries.rows.count == 4)
        #expect(world.state.clients.events[client]?.count == 6)
    }

    @Test func clientsCountForThemselves() {
        var world = World()
        let client = world.client()
        let other = world.client()
        world.receive(world.inbound(client, id: "SM1"))
        world.receive(world.inbound(other, id: "SM1"))
        world.receive(world.inbound(client, id: "SM2"))
        #expect(published(world).map(\.sequence) == [1, 1, 2])
    }

    struct Wish: Sendable {
        let events: [String]
        let channels: [UInt64]
        let enabled: Bool
        let wanted: Bool
    }

    static let wishes = [
        Wish(events: ["sms.message_received"], channels: [], enabled: true, wanted: true),
        Wish(events: ["*"], channels: [], enabled: true, wanted: true),
        Wish(events: [], channels: [], enabled: true, wanted: false),
        Wish(events: ["whatsapp.message_received"], channels: [], enabled: true, wanted: false),
        Wish(events: ["sms.message_received"], channels: [3], enabled: true, wanted: true),
        Wish(events: ["sms.message_received"], channels: [4], enabled: true, wanted: false),
        Wish(events: ["sms.message_received"], channels: [], enabled: false, wanted: false),
    ]

    @Test(arguments: wishes)
    func whatAnEndpointWants(_ wish: Wish) {
        var world = World()
        let client = world.client()
        world.endpoint(client) { event in
            event.events = ListField(wish.events)
            event.channels = ListField(wish.channels)
            event.enabled = wish.enabled
        }
        world.receive(world.inbound(client, id: "SM1"))
        #expect(published(world).map(\.wanted) == [wish.wanted])
        #expect(world.state.deliveries.rows.count == (wish.wanted ? 1 : 0))
    }
}
