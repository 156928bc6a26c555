import Log
import TestSupport
import Testing

@Suite struct AEADTests {
    private let key = [UInt8](repeating: 7, count: 32)
    private let context = [UInt8]("position 12".utf8)

    /// Test cases 13, 14 and 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", which NIST adopted.
    @Test(arguments: [
        (
            key: String(repeating: "0", count: 64), nonce: String(repeating: "0", count: 24), context: "",
            plaintext: "", box: "530f8afbc74536b9a963b4f1c4cb738b"
        ),
        (
            key: String(repeating: "0", count: 64), nonce: String(repeating: "0", count: 24), context: "",
            plaintext: String(repeating: "0", count: 32),
            box: "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
        ),
        (
            key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            nonce: "cafebabefacedbaddecaf888", context: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            plaintext:
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
                + "b16aedf5aa0de657ba637b39",
            box: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
                + "c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
        ),
    ])
    func opensWhatOthersSealed(
        _ row: (key: String, nonce: String, context: String, plaintext: String, box: String)
    ) throws {
        let key = try #require(Hex.decode(row.key))
        let box = try #require(Hex.decode(row.nonce + row.box))
        let opened = AEAD.open(box, key: key, authenticated: try #require(Hex.decode(row.context)))
        #expect(opened == Hex.decode(row.plaintext))
    }

    @Test(arguments: [0, 1, 15, 16, 17, 1000, 100_000])
    func opensWhatItSealed(_ count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let plaintext = generator.bytes(count)
        let box = AEAD.seal(plaintext, key: key, authenticated: context)
        #expect(box.count == count + AEAD.overhead)
        #expect(AEAD.open(box, key: key, authenticated: context) == plaintext)
        let bare = AEAD.seal(plaintext, key: key, authenticated: [])
        #expect(AEAD.open(bare, key: key, authenticated: []) == plaintext)
    }

    @Test func refusesEveryChangedByte() {
        let box = AEAD.seal([UInt8]("a body".utf8), key: key, authenticated: context)
        for index in box.indices {
            var changed = box
            changed[index] ^= 1
            #expect(AEAD.open(changed, key: key, authenticated: context) == nil, "byte \(index)")
        }
        for index in context.indices {
            var changed = context
            changed[index] ^= 1
            #expect(AEAD.open(box, key: key, authenticated: changed) == nil)
        }
    }

    @Test func refusesAnotherKeyAndAnotherLength() {
        let box = AEAD.seal([UInt8]("a body".utf8), key: key, authenticated: context)
        var other = key
        other[31] ^= 0x80
        #expect(AEAD.open(box, key: other, authenticated: context) == nil)
        #expect(AEAD.open(box, key: [], authenticated: context) == nil)
        #expect(AEAD.open(box, key: key + [0], authenticated: context) == nil)
        #expect(AEAD.open(box, key: key, authenticated: []) == nil)
        #expect(AEAD.open(box + [0], key: key, authenticated: context) == nil)
        for count in 0..<box.count {
            #expect(AEAD.open(Array(box.prefix(count)), key: key, authenticated: context) == nil)
        }
    }

    @Test func noTwoBoxesShareANonce() {
        let boxes = (0..<1000).map { _ in AEAD.seal([1], key: key, authenticated: []) }
        #expect(Set(boxes.map { Array($0.prefix(AEAD.nonceSize)) }).count == boxes.count)
    }
}
