import Log
import Projections
import TestSupport
import Testing

/// Payloads built from the written schema, byte by byte, without the encoder under test.
enum HandMadePayload {
    /// Values of each kind; one of them fits every field of that kind and differs from its default.
    private static func candidates(_ kind: FieldKind) -> [[UInt8]] {
        switch kind {
        case .integer, .position, .time: [[0xAC, 0x02]]
        case .boolean: [[1]]
        case .text: [[UInt8]("Zoë".utf8)]
        case .bytes: [[UInt8](1...16), [UInt8](1...32)]
        case .name: [[1], [2], [3], [4], [5]]
        case .list: [[1, 5, 1, 7]]
        }
    }

    static func field(_ number: Int, _ value: [UInt8]) -> [UInt8] { [UInt8(number), UInt8(value.count)] + value }

    /// One field that makes the event differ from its prototype.
    static func field(of type: EventType, _ number: Int, _ kind: FieldKind) -> [UInt8]? {
        candidates(kind).lazy.map { field(number, $0) }.first { bytes in
            guard let event = decode(type, bytes) else { return false }
            return event != type.prototype
        }
    }

    static func decode(_ type: EventType, _ bytes: [UInt8]) -> Event? {
        bytes.withUnsafeBytes { Event(type, payload: $0) }
    }

    /// Every field of the type, in the order of the schema.
    static func full(_ type: EventType) throws -> [[UInt8]] {
        try type.prototype.fields.map { try #require(field(of: type, $0.number, $0.kind), "\(type) \($0.name)") }
    }
}

@Suite struct FieldCodecTests {
    @Test(arguments: EventType.allCases)
    func everyFieldSurvives(_ type: EventType) throws {
        let bytes = try HandMadePayload.full(type).flatMap { $0 }
        let event = try #require(HandMadePayload.decode(type, bytes))
        #expect(event.encodedPayload == bytes)
        #expect(event.type == type)
        let described = String(decoding: event.describedPayload, as: UTF8.self)
        for field in type.prototype.fields { #expect(described.contains("\"\(field.name)\":")) }
    }

    @Test(arguments: EventType.allCases)
    func anEmptyPayloadIsThePrototype(_ type: EventType) {
        #expect(HandMadePayload.decode(type, []) == type.prototype)
        #expect(HandMadePayload.decode(type, type.prototype.encodedPayload) == type.prototype)
    }

    @Test(arguments: EventType.allCases)
    func fieldNumbersAreUniqueAndFitTheReader(_ type: EventType) {
        let numbers = type.prototype.fields.map(\.number)
        let names = type.prototype.fields.map(\.name)
        #expect(Set(numbers).count == numbers.count)
        #expect(Set(names).count == names.count)
        #expect(numbers.allSatisfy { (1..<32).contains($0) })
    }

    /// A newer version adds fields; an older one must still read the rest.
    @Test(arguments: EventType.allCases)
    func unknownFieldsAreSkipped(_ type: EventType) throws {
        let fields = try HandMadePayload.full(type)
        let event = try #require(HandMadePayload.decode(type, fields.flatMap { $0 }))
        let unknown: [[UInt8]] = [[31, 2, 9, 9], [32, 1, 0xFF], [0xC8, 0x01, 0], [0, 1, 1]]
        for stranger in unknown {
            let bytes = stranger + fields.flatMap { $0 + stranger }
            #expect(HandMadePayload.decode(type, bytes) == event)
        }
    }

    /// A payload cut between two fields is a shorter payload; cut anywhere else it is damage.
    @Test(arguments: EventType.allCases)
    func cutFieldsAreRefused(_ type: EventType) throws {
        let fields = try HandMadePayload.full(type)
        let bytes = fields.flatMap { $0 }
        let boundaries = fields.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1.count) }
        for count in 0..<bytes.count where !boundaries.contains(count) {
            #expect(HandMadePayload.decode(type, Array(bytes.prefix(count))) == nil, "cut at \(count)")
        }
    }

    struct Malformed: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let type: EventType
        let bytes: [UInt8]

        init(_ description: String, _ type: EventType, _ bytes: [UInt8]) {
            testDescription = description
            self.type = type
            self.bytes = bytes
        }
    }

    static let malformed = [
        Malformed("length beyond the end", .deliveryReplayed, [1, 2, 5]),
        Malformed("length of all ones", .deliveryReplayed, [1] + [UInt8](repeating: 0xFF, count: 9) + [1, 0]),
        Malformed("field number without an end", .deliveryReplayed, [UInt8](repeating: 0x80, count: 10)),
        Malformed("number without a length", .deliveryReplayed, [1]),
        Malformed("position followed by a byte", .deliveryReplayed, [1, 2, 5, 5]),
        Malformed("integer of eleven bytes", .clockJumped, [3, 11] + [UInt8](repeating: 0x80, count: 10) + [0]),
        Malformed("truth that is 2", .processStarted, [3, 1, 2]),
        Malformed("truth of two bytes", .processStarted, [3, 2, 1, 1]),
        Malformed("text that is not UTF-8", .processStopped, [1, 2, 0xC3, 0x28]),
        Malformed("a platform that is 0", .channelPaused, [1, 1, 0]),
        Malformed("a platform that is 5", .channelPaused, [1, 1, 5]),
        Malformed("a hash of 15 bytes", .messageUnsent, [1, 15] + [UInt8](repeating: 1, count: 15)),
        Malformed("a digest of 31 bytes", .apiKeyCreated, [1, 31] + [UInt8](repeating: 1, count: 31)),
        Malformed("a list whose element is cut", .sendStarted, [1, 2, 4, 1]),
        Malformed("a list with a wrong element", .sendStarted, [1, 3, 2, 1, 1]),
    ]

    @Test(arguments: malformed)
    func malformedPayloadsAreRefused(_ row: Malformed) {
        #expect(HandMadePayload.decode(row.type, row.bytes) == nil)
    }

    @Test func theLargestIntegerSurvives() throws {
        var event = ClockJumped()
        event.bootNanoseconds = .max
        let bytes = event.encoded
        #expect(bytes == [3, 10] + [UInt8](repeating: 0xFF, count: 9) + [1])
        #expect(HandMadePayload.decode(.clockJumped, bytes) == .clockJumped(event))
    }

    /// These bytes are on disks: they may never be read as anything else.
    @Test func bytesStayReadable() {
        var replayed = DeliveryReplayed()
        replayed.replaces = LogPosition(300)
        #expect(replayed.encoded == [1, 2, 0xAC, 0x02])
        var paused = ChannelPaused()
        paused.platform = .whatsapp
        paused.providerCode = "190"
        #expect(paused.encoded == [1, 1, 4, 2, 3, 0x31, 0x39, 0x30])
        var started = SendStarted()
        started.messages = ListField([LogPosition(1), LogPosition(300)])
        #expect(started.encoded == [1, 5, 1, 1, 2, 0xAC, 0x02])
    }

    /// No bytes make the decoder trap, and what it accepts it writes and reads again as the same.
    @Test func hostileBytesNeverTrap() throws {
        var random = SeededGenerator(seed: 20_261_101)
        let types = EventType.allCases
        let templates = try types.map { try HandMadePayload.full($0).flatMap { $0 } }
        for round in 0..<100_000 {
            let index = Int.random(in: 0..<types.count, using: &random)
            var bytes = round % 2 == 0 ? random.bytes(Int.random(in: 0...48, using: &random)) : templates[index]
            for _ in 0..<Int.random(in: 0...3, using: &random) where !bytes.isEmpty {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            guard let event = HandMadePayload.decode(types[index], bytes) else { continue }
            if HandMadePayload.decode(types[index], event.encodedPayload) != event {
                Issue.record("round \(round): \(types[index]) reads \(bytes) otherwise the second time")
            }
        }
    }
}
