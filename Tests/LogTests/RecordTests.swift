import Log
import TestSupport
import Testing

@Suite struct RecordTests {
    @Test(arguments: [0, 1, 7, 8, 9, 1000], [0, 1, 55, 56, 57, 300])
    func whatIsEncodedIsRead(_ payload: Int, _ sealed: Int) throws {
        let draft = Self.draft(payload: payload, sealed: sealed)
        let (bytes, digest) = Self.encode(draft)
        #expect(bytes.count % 8 == 0)
        #expect(bytes.count - (96 + payload + sealed) < 8)
        try bytes.withUnsafeBytes { buffer in
            let view = try #require(RecordView(buffer, at: 0))
            #expect(view.type == 0x1234)
            #expect(view.schemaVersion == 3)
            #expect(view.position == LogPosition(77))
            #expect(view.time == 1_700_000_000_000_000_001)
            #expect(view.client == LogPosition(11))
            #expect(view.conversation == LogPosition(12))
            #expect(view.message == LogPosition(13))
            #expect(view.subject == LogPosition(14))
            #expect([UInt8](view.payload) == draft.payload)
            #expect([UInt8](view.sealed) == draft.sealed)
            #expect(view.storedDigest == digest)
            #expect(view.computedDigest == digest)
        }
    }

    /// The digest as `docs` define it, computed here a second time.
    @Test func theEntryDigestIsWhatTheFormatSays() {
        let more = (0..<70).map { ($0, 56 + $0) }
        let longest = [(951, 0), (952, 0), (863, 56), (864, 56), (865, 300), (3000, 3000)]
        for (payload, sealed) in [(0, 0), (20, 0), (20, 40), (20, 56), (20, 200)] + more + longest {
            let draft = Self.draft(payload: payload, sealed: sealed)
            let (bytes, digest) = Self.encode(draft)
            #expect(digest == ExpectedRecord.digest(header: Array(bytes.prefix(64)), draft))
        }
    }

    @Test func everyByteThatMeansSomethingIsUnderTheDigest() throws {
        let (bytes, digest) = Self.encode(Self.draft(payload: 21, sealed: 90))
        for index in 0..<(96 + 21 + 90) {
            var changed = bytes
            changed[index] ^= 0x41
            let survives = changed.withUnsafeBytes { buffer -> Bool in
                guard let view = RecordView(buffer, at: 0), view.length == bytes.count else { return false }
                return view.computedDigest == digest && view.storedDigest == digest
            }
            #expect(!survives, "byte \(index)")
        }
    }

    @Test(arguments: [
        (0, UInt32(0)), (0, 95), (0, 96), (0, 0xFFFF_FFFF), (0, 0x8000_0000), (0, 216), (0, 200), (56, 0), (56, 13),
        (56, 29), (56, 0xFFFF_FFFF), (60, 0), (60, 82), (60, 99), (60, 0xFFFF_FFFF), (60, 0x7FFF_FFFF),
    ])
    func hostileLengthsAreRefused(_ offset: Int, _ value: UInt32) {
        var (bytes, _) = Self.encode(Self.draft(payload: 21, sealed: 90))
        #expect(bytes.count == 208)
        bytes.withUnsafeMutableBytes { $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self) }
        // A whole page follows, so that a length that is believed would find bytes to read.
        bytes += [UInt8](repeating: 0, count: 4096)
        #expect(bytes.withUnsafeBytes { RecordView($0, at: 0) == nil })
    }

    @Test func cutOffAndMisplacedRecordsAreRefused() {
        let (bytes, _) = Self.encode(Self.draft(payload: 21, sealed: 90))
        for count in 0..<bytes.count {
            #expect(Array(bytes.prefix(count)).withUnsafeBytes { RecordView($0, at: 0) == nil })
        }
        bytes.withUnsafeBytes { buffer in
            for offset in [-1, 1, 8, bytes.count - 1, bytes.count, bytes.count + 1, .max] {
                #expect(RecordView(buffer, at: offset) == nil)
            }
        }
    }

    @Test func theSealedFlagMustMatchTheSealedLength() {
        for sealed in [0, 90] {
            var (bytes, _) = Self.encode(Self.draft(payload: 21, sealed: sealed))
            bytes[7] ^= 1
            #expect(bytes.withUnsafeBytes { RecordView($0, at: 0) == nil })
        }
    }

    @Test func recordsBeyondTheLimitAreRefused() {
        let largest = RecordDraft(type: 1, payload: [UInt8](repeating: 1, count: LogConfiguration.recordBytesMax - 96))
        let (bytes, _) = Self.encode(largest)
        #expect(bytes.withUnsafeBytes { RecordView($0, at: 0) != nil })
        let larger = RecordDraft(type: 1, payload: [UInt8](repeating: 1, count: LogConfiguration.recordBytesMax - 95))
        let (tooMany, _) = Self.encode(larger)
        #expect(tooMany.withUnsafeBytes { RecordView($0, at: 0) == nil })
    }

    private static func draft(payload: Int, sealed: Int) -> RecordDraft {
        var generator = SeededGenerator(seed: 5)
        return RecordDraft(
            type: 0x1234,
            schemaVersion: 3,
            client: LogPosition(11),
            conversation: LogPosition(12),
            message: LogPosition(13),
            subject: LogPosition(14),
            payload: generator.bytes(payload),
            section: .sealed(generator.bytes(sealed))
        )
    }

    private static func encode(_ draft: RecordDraft) -> (bytes: [UInt8], digest: Digest) {
        // What lay there before must not show.
        var bytes = [UInt8](repeating: 0xEE, count: draft.encodedSize)
        let digest = bytes.withUnsafeMutableBytes {
            draft.encode(position: LogPosition(77), time: 1_700_000_000_000_000_001, sealer: BoxSealer(), into: $0)
        }
        return (bytes, digest)
    }
}
