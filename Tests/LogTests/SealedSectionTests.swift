import Log
import TestSupport
import Testing

@Suite struct SealedSectionTests {
    private static let position = LogPosition(1_000_001)
    private static let leaf = LeafKey(Digest([UInt8](repeating: 5, count: 32)) ?? .zero)
    private static let reference = KeyReference(client: 3, leaf: 9, epoch: 2, keyClass: .message)
    private static let parts = [
        SealedPart(.content, [UInt8]("{\"text\":\"hello\"}".utf8)), SealedPart(.providerBytes, []),
        SealedPart(.rendering, [UInt8](repeating: 0x42, count: 3000)),
    ]

    private static func seal() -> [UInt8] {
        let section = UnsealedSection(parts, reference: reference, leaf: leaf)
        var bytes = [UInt8](repeating: 0xEE, count: section.sealedCount)
        bytes.withUnsafeMutableBytes { section.seal(at: position, BoxSealer(), into: $0) }
        return bytes
    }

    private static func parse(_ bytes: [UInt8]) -> SealedSection? { bytes.withUnsafeBytes { SealedSection($0) } }

    /// What can be read of changed bytes by somebody who holds the right leaf.
    private static func open(_ bytes: [UInt8], leaf: LeafKey = leaf, at position: LogPosition = position) -> [[UInt8]?]
    {
        let section = parse(bytes)
        return parts.map { section?.open($0.purpose, leaf: leaf, position: position) }
    }

    @Test func everyPartOpensInItsPlace() throws {
        let bytes = Self.seal()
        let section = try #require(Self.parse(bytes))
        #expect(section.reference == Self.reference)
        #expect(section.commitment == Self.leaf.commitment)
        #expect(section.boxes.map(\.purpose) == Self.parts.map(\.purpose))
        #expect(Self.open(bytes) == Self.parts.map(\.plaintext))
        #expect(section.open(.identifiers, leaf: Self.leaf, position: Self.position) == nil)
    }

    @Test func theLayoutIsThePublishedOne() {
        let bytes = Self.seal()
        #expect(bytes[0..<24] == [3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0])
        #expect(Array(bytes[24..<56]) == Self.leaf.commitment.bytes)
        #expect(bytes[56..<64] == [1, 0, 0, 0, 44, 0, 0, 0])
        #expect(bytes.count == 56 + 3 * (8 + AEAD.overhead) + 16 + 0 + 3000)
    }

    @Test func nothingOpensAtAnotherPosition() {
        let bytes = Self.seal()
        for position in [LogPosition.zero, LogPosition(1_000_000), LogPosition(1_000_002)] {
            #expect(Self.open(bytes, at: position) == [nil, nil, nil])
        }
    }

    @Test func nothingOpensUnderAnotherLeaf() throws {
        let other = LeafKey(try #require(Digest([UInt8](repeating: 6, count: 32))))
        #expect(Self.open(Self.seal(), leaf: other) == [nil, nil, nil])
    }

    @Test func aBoxDoesNotOpenForAnotherPurpose() throws {
        var bytes = Self.seal()
        bytes[56] = SealedPurpose.identifiers.rawValue
        let section = try #require(Self.parse(bytes))
        #expect(section.open(.identifiers, leaf: Self.leaf, position: Self.position) == nil)
        #expect(section.open(.content, leaf: Self.leaf, position: Self.position) == nil)
    }

    @Test func aBoxDoesNotOpenUnderAnotherReference() throws {
        let other = KeyReference(client: 3, leaf: 10, epoch: 2, keyClass: .message)
        #expect(Self.open(other.bytes + Self.seal().dropFirst(24)) == [nil, nil, nil])
    }

    @Test func aWrongCommitmentKeepsEverythingShut() {
        var bytes = Self.seal()
        bytes[40] ^= 1
        #expect(Self.open(bytes) == [nil, nil, nil])
    }

    /// A byte may belong to one part only, but at least that part must not open.
    @Test func everyChangedByteIsNoticed() {
        let bytes = Self.seal()
        let plaintexts: [[UInt8]?] = Self.parts.map(\.plaintext)
        let unnoticed = bytes.indices.filter { index in
            var changed = bytes
            changed[index] ^= 0x10
            return Self.open(changed) == plaintexts
        }
        #expect(unnoticed.isEmpty, "bytes that nothing checks: \(unnoticed)")
    }

    @Test func cutOffSectionsAreRefusedOrOpenLess() {
        let bytes = Self.seal()
        for count in 0..<bytes.count {
            #expect(Self.open(Array(bytes.prefix(count))) != Self.parts.map(\.plaintext))
        }
    }

    @Test func purposesThatNobodyKnowsAreRefused() {
        var bytes = Self.seal()
        bytes[56] = 200
        #expect(Self.parse(bytes) == nil)
        bytes[56] = SealedPurpose.media.rawValue
        #expect(Self.parse(bytes) == nil, "media files are no part of a record")
        var wrongClass = Self.seal()
        wrongClass[20] = 99
        #expect(Self.parse(wrongClass) == nil)
    }

    @Test func boxLengthsBeyondTheSectionAreRefused() {
        for length in [UInt32(20_000), .max, 0x7FFF_FFFF] {
            var bytes = Self.seal()
            bytes.withUnsafeMutableBytes {
                $0.storeBytes(of: length.littleEndian, toByteOffset: 60, as: UInt32.self)
            }
            #expect(Self.parse(bytes) == nil)
        }
    }
}
