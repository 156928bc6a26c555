import Foundation
import Log
import Projections
import TestSupport
import Testing

/// Files of customers' messages: what is to be fetched, who waits for it, and what the webhook says.
@Suite struct MediaTests {
    private static let digest = Crypto.sha256([UInt8]("1".utf8)).withUnsafeBytes { Digest($0) }

    private func world(purges: Bool = false) -> (World, LogPosition) {
        var world = World()
        let client = world.client(sms: false)
        world.connect(client, .whatsapp)
        world.endpoint(client) { $0.events = ListField(["*"]) }
        if purges { world.purgeBodies(client, .whatsapp) }
        return (world, client)
    }

    private func image(
        _ client: LogPosition,
        id: String,
        files: Int = 1,
        mimeType: String = "image/png"
    ) -> InboundMessage {
        var message = InboundMessage(
            client: client,
            platform: .whatsapp,
            duplicateKey: World.hash("message/" + id),
            customer: World.hash("ana"),
            account: World.hash("account")
        )
        message.content.kind = files == 0 ? "text" : "image"
        for _ in 0..<files {
            var media = MessageContent.Media(type: "image")
            media.mimeType = mimeType
            media.providerID = "m"
            message.content.media.append(media)
        }
        return message
    }

    /// The message's position and the rendering of its event.
    private func receive(
        _ world: inout World,
        _ message: InboundMessage
    ) throws -> (LogPosition, event: LogPosition, [UInt8]) {
        let events = world.state.decide(message, ids: world.ids, world.context)
        let positions = world.apply(events)
        let received = try #require(events.firstIndex { $0.event.type == .messageReceived })
        let published = try #require(events.firstIndex { $0.event.type == .eventPublished })
        let rendering = try #require(events[published].bodies.first { $0.purpose == .rendering }?.plaintext)
        return (positions[received], positions[published], rendering)
    }

    @discardableResult
    private func settle(
        _ world: inout World,
        _ result: MediaResult,
        _ message: LogPosition,
        _ index: Int = 0
    ) -> [NewEvent] {
        let events = world.state.decide(result, message: message, index: index, seal: World.seal, world.context)
        world.apply(events)
        return events
    }

    private let success = MediaResult.fetched(bytes: 7, mimeType: "image/png", file: "f", digest: digest)
    private let failure = MediaResult.failed(code: "timed_out", isFinal: false)

    private func due(_ world: inout World) -> [LogPosition] {
        world.state.media.schedule.advance(to: world.now)
        return world.state.media.schedule.pick(limit: 100) { _ in 100 }
    }

    private func startable(_ world: inout World) -> [LogPosition] {
        world.state.deliveries.schedule.advance(to: world.now)
        return world.state.deliveries.schedule.pick(limit: 100) { _ in 100 }
    }

    // MARK: Waiting

    @Test func theDeliveryWaitsForEveryFile() throws {
        var (world, client) = world()
        let (message, event, _) = try receive(&world, image(client, id: "1", files: 2))
        #expect(due(&world) == [MediaBook.job(message, 0), MediaBook.job(message, 1)])
        #expect(startable(&world).isEmpty)
        #expect(world.state.media.isUnsettled(event: event, world.now))
        settle(&world, success, message, 0)
        #expect(startable(&world).isEmpty)
        settle(&world, success, message, 1)
        #expect(startable(&world) == [event])
        #expect(!world.state.media.isUnsettled(event: event, world.now))
    }

    @Test func oneFailureIsEnoughToGoOn() throws {
        var (world, client) = world()
        let (message, event, _) = try receive(&world, image(client, id: "1"))
        settle(&world, failure, message)
        #expect(startable(&world) == [event])
        #expect(world.state.media.rows[message]?.items[0].state == .pending)
    }

    @Test func nobodyWaitsForEver() throws {
        var (world, client) = world()
        let (message, event, _) = try receive(&world, image(client, id: "1"))
        world.pass(seconds: 9)
        #expect(startable(&world).isEmpty)
        world.pass(seconds: 2)
        #expect(startable(&world) == [event])
        settle(&world, success, message)
        #expect(world.state.media.rows[message]?.items[0].isEarly == false)
    }

    @Test func theConversationKeepsItsOrderAndOthersDoNotWait() throws {
        var (world, client) = world()
        let (message, event, _) = try receive(&world, image(client, id: "1"))
        let (_, next, _) = try receive(&world, image(client, id: "2", files: 0))
        var other = image(client, id: "3", files: 0)
        other.customer = World.hash("bob")
        let (_, elsewhere, _) = try receive(&world, other)
        #expect(startable(&world) == [elsewhere])
        settle(&world, success, message)
        #expect(startable(&world) == [event])
        world.startDelivery(event)
        world.finishDelivery(event, .succeeded)
        #expect(startable(&world) == [next])
    }

    @Test func aFileThatComesBehindAnotherMessageDoesNotPassItsTurn() throws {
        var (world, client) = world()
        let (first, event, _) = try receive(&world, image(client, id: "1"))
        let (second, _, _) = try receive(&world, image(client, id: "2"))
        settle(&world, success, second)
        #expect(startable(&world).isEmpty)
        settle(&world, success, first)
        #expect(startable(&world) == [event])
    }

    @Test func inPurgeModeTheOneDeliveryWaitsForWhatBecomesOfEach() throws {
        var (world, client) = world(purges: true)
        let (message, event, _) = try receive(&world, image(client, id: "1"))
        settle(&world, failure, message)
        #expect(startable(&world).isEmpty)
        for _ in 0..<3 { settle(&world, failure, message) }
        #expect(startable(&world).isEmpty)
        settle(&world, failure, message)
        #expect(world.state.media.rows[message]?.items[0].state == .failed)
        #expect(startable(&world) == [event])
    }

    // MARK: Trying again

    @Test func aFailureIsRepeatedAtItsTimeAndGivenUpInTheEnd() throws {
        var (world, client) = world()
        let (message, _, _) = try receive(&world, image(client, id: "1"))
        let job = MediaBook.job(message, 0)
        #expect(due(&world) == [job])
        var waits: [UInt64] = []
        while case .mediaFailed(let event)? = settle(&world, failure, message).first?.event {
            if event.nextAttemptAt.nanoseconds == 0 { break }
            #expect(due(&world).isEmpty)
            let before = world.now
            world.now = event.nextAttemptAt
            waits.append((world.now.nanoseconds - before.nanoseconds) / 1_000_000_000)
            #expect(due(&world) == [job])
        }
        #expect(waits.count == 12)
        #expect(waits.prefix(3) == [2, 10, 30])
        #expect(world.state.media.rows[message]?.items[0].state == .failed)
        world.pass(seconds: 1_000_000)
        #expect(due(&world).isEmpty)
    }

    @Test func whatIsFinalIsNotRepeated() throws {
        var (world, client) = world()
        let (message, _, _) = try receive(&world, image(client, id: "1"))
        settle(&world, .failed(code: "too_large", isFinal: true), message)
        world.pass(seconds: 1_000_000)
        #expect(due(&world).isEmpty)
        #expect(settle(&world, success, message).isEmpty)
    }

    @Test func aPurgeEndsIt() throws {
        var (world, client) = world()
        let (message, _, _) = try receive(&world, image(client, id: "1"))
        let purge = try world.state.decidePurge(
            message,
            client: client,
            reason: "client",
            ids: world.ids,
            world.context
        )
        world.apply(purge)
        #expect(due(&world).isEmpty)
        #expect(settle(&world, success, message).isEmpty)
        #expect(world.state.media.messages(of: .message(message)) == [message])
        var completed = PurgeCompleted()
        completed.messages.values = [message]
        world.apply(.purgeCompleted(completed))
        #expect(world.state.media.rows.isEmpty)
        #expect(world.state.media.messages(of: .message(message)).isEmpty)
    }

    @Test func anErasureFindsTheFilesOfAllItsMessages() throws {
        var (world, client) = world()
        let (first, _, _) = try receive(&world, image(client, id: "1"))
        let (second, _, _) = try receive(&world, image(client, id: "2"))
        let conversation = try #require(world.state.inbox.messages[first]?.conversation)
        world.apply(try world.state.decideErase(conversation, client: client, ids: world.ids, world.context))
        #expect(world.state.media.messages(of: .conversation(conversation)) == [first, second])
        #expect(due(&world).isEmpty)
    }

    @Test func aRestartGoesOnWithTheSame() throws {
        var (world, client) = world()
        let (message, _, _) = try receive(&world, image(client, id: "1", files: 3))
        settle(&world, success, message, 0)
        settle(&world, failure, message, 1)
        var rebuilt = try world.rebuilt()
        #expect(rebuilt.agrees(with: world.state))
        rebuilt.media.schedule.advance(to: world.now)
        #expect(rebuilt.media.schedule.pick(limit: 9) { _ in 9 } == [MediaBook.job(message, 2)])
    }

    // MARK: What is told

    private func filled(_ rendering: [UInt8], _ filling: MediaPlaces.Filling) throws -> [String: Any] {
        let bytes = MediaPlaces.fill(rendering) { _ in filling }
        let body = try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any]
        let message = (body?["data"] as? [String: Any])?["message"] as? [String: Any]
        return try #require((message?["media"] as? [[String: Any]])?.first)
    }

    @Test func theWebhookHasPlacesForWhatIsKnownLater() throws {
        var (world, client) = world()
        let (message, _, rendering) = try receive(&world, image(client, id: "1"))
        let known = try filled(rendering, .size(7, mimeType: ""))
        let id = try #require(known["id"] as? String)
        let part = try #require(world.ids.decodePart(.media, id))
        #expect(part == (message, 0))
        #expect(known["url"] as? String == "/v1/media/\(id)")
        #expect(known["size"] as? Int == 7)
        #expect(known["mime_type"] as? String == "image/png")
        let unknown = try filled(rendering, .unknown)
        #expect(unknown["size"] == nil)
        #expect(unknown["mime_type"] as? String == "image/png")
    }

    @Test func aTypeThatTheProviderDidNotSayIsFilledIn() throws {
        var (world, client) = world()
        let (_, _, rendering) = try receive(&world, image(client, id: "1", mimeType: ""))
        let known = try filled(rendering, .size(7, mimeType: "image/webp"))
        #expect(known["mime_type"] as? String == "image/webp")
        let unknown = try filled(rendering, .unknown)
        #expect(unknown["mime_type"] is NSNull)
    }

    @Test func inPurgeModeTheFileItselfGoesThere() throws {
        var (world, client) = world(purges: true)
        let (_, _, rendering) = try receive(&world, image(client, id: "1"))
        let inside = try filled(rendering, .content([UInt8]("QUJD".utf8), size: 3, mimeType: ""))
        #expect(inside["content"] as? String == "QUJD")
        #expect(inside["url"] == nil)
        let omitted = try filled(rendering, .omitted("too_large"))
        #expect(omitted["omitted"] as? String == "too_large")
    }

    @Test func nothingThatSomebodyWroteIsTakenForAPlace() throws {
        var (world, client) = world()
        var message = image(client, id: "1")
        message.content.media[0].caption = "\u{1A}\u{0}\u{1}\u{1A}"
        let (_, _, rendering) = try receive(&world, message)
        var places = 0
        _ = MediaPlaces.fill(rendering) { _ in
            places += 1
            return .unknown
        }
        #expect(places == 1)
        let told = try filled(rendering, .unknown)
        #expect(told["caption"] as? String == "\u{1A}\u{0}\u{1}\u{1A}")
    }

    @Test func moreFilesThanAreKeptAreToldWithoutAnID() throws {
        var (world, client) = world()
        let (message, _, rendering) = try receive(&world, image(client, id: "1", files: 40))
        #expect(world.state.media.rows[message]?.items.count == MediaBook.filesMax)
        let bytes = MediaPlaces.fill(rendering) { _ in .unknown }
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(text.components(separatedBy: "\"url\":\"/v1/media/").count == MediaBook.filesMax + 1)
        #expect(text.components(separatedBy: "\"type\":\"image\",\"mime_type\"").count == 41)
    }

    /// Whatever a damaged record holds.
    @Test func hostilePlacesDoNotTrap() {
        for text in [[0x1A], [0x1A, 1], [0x1A, 255, 255], [1, 0x1A, 2, 3, 0x1A, 0x1A, 0x1A, 0x1A, 9]] as [[UInt8]] {
            _ = MediaPlaces.fill(text) { _ in .omitted("unavailable") }
        }
    }
}
