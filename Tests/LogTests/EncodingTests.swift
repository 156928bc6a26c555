import Log
import TestSupport
import Testing

@Suite struct EncodingTests {
    /// RFC 4648 section 10.
    @Test(arguments: [
        ("", "", ""), ("f", "Zg==", "66"), ("fo", "Zm8=", "666f"), ("foo", "Zm9v", "666f6f"),
        ("foob", "Zm9vYg==", "666f6f62"), ("fooba", "Zm9vYmE=", "666f6f6261"), ("foobar", "Zm9vYmFy", "666f6f626172"),
    ])
    func matchesTheStandard(_ text: String, _ base64: String, _ hex: String) {
        let bytes = [UInt8](text.utf8)
        #expect(Base64.encode(bytes) == base64)
        #expect(Hex.encode(bytes) == hex)
    }

    @Test func everyLengthSurvivesEncodingAndDecoding() {
        var generator = SeededGenerator(seed: 3)
        for count in 0...130 {
            let bytes = generator.bytes(count)
            #expect(Base64.decode(Base64.encode(bytes)) == bytes)
            #expect(Hex.decode(Hex.encode(bytes)) == bytes)
            #expect(Base32.decode(Base32.encode(bytes), count: count) == bytes)
        }
    }

    @Test func everyByteSurvives() {
        let bytes = (0...255).map { UInt8($0) }
        #expect(Base64.decode(Base64.encode(bytes)) == bytes)
        #expect(Hex.decode(Hex.encode(bytes)) == bytes)
        #expect(Base32.decode(Base32.encode(bytes), count: 256) == bytes)
    }

    @Test(arguments: [
        "Z", "Zg", "Zg=", "Zg===", "====", "=", "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "Zm9-", "Zm9_", "Z=g=", "Zm9v=",
        "Zm9é",
    ])
    func base64RefusesWhatItWouldNotWrite(_ text: String) {
        #expect(Base64.decode(text) == nil)
    }

    @Test(arguments: ["0", "0g", "0A", " 00", "0x00", "é0"])
    func hexRefusesWhatItWouldNotWrite(_ text: String) {
        #expect(Hex.decode(text) == nil)
    }

    @Test func base32RefusesWhatItWouldNotWrite() {
        // One byte is two symbols of which the second carries three bits; the other bits must be zero.
        #expect(Base32.encode([0xFF]) == "zw")
        #expect(Base32.decode("zw", count: 1) == [0xFF])
        for text in ["z", "zx", "zw0", "ZW", "zi", "zu", "z-", ""] { #expect(Base32.decode(text, count: 1) == nil) }
        #expect(Base32.decode("zw", count: 2) == nil)
    }

    @Test func base32HasNoLetterThatReadsLikeADigit() {
        let used = Set(Base32.encode((0...255).map { UInt8($0) }))
        #expect(used.isDisjoint(with: "ilouILOU"))
        #expect(used.count == 32)
    }
}
