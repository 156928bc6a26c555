import Log
import TestSupport
import Testing

@Suite struct DigestTests {
    @Test func sha256MatchesTheStandard() {
        // FIPS 180-4 examples.
        #expect(hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    /// Padded by hand, at every length around the ends of blocks.
    @Test func messagesOfEveryLengthHaveTheSameDigest() {
        var generator = SeededGenerator(seed: 3)
        for count in 0...1300 {
            let message = generator.bytes(count)
            let expected = Crypto.sha256(message)
            #expect(message.withUnsafeBytes { SHA256Stream.hash($0) }.bytes == expected, "\(count) bytes")
            guard count <= SHA256Stream.shortMax else { continue }
            let short = SHA256Stream.short(count) { $0.copyBytes(from: message) }
            #expect(short.bytes == expected, "\(count) bytes")
        }
    }

    @Test func hmacMatchesTheStandards() {
        let message = [UInt8]("what do ya want for nothing?".utf8)
        // RFC 4231 test case 2 and RFC 2202 test case 2.
        #expect(
            Hex.encode(Crypto.hmacSHA256(key: [UInt8]("Jefe".utf8), message: message))
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        )
        #expect(
            Hex.encode(Crypto.hmacSHA1(key: [UInt8]("Jefe".utf8), message: message))
                == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        )
        #expect(
            Hex.encode(Crypto.hmacSHA256(key: [], message: []))
                == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"
        )
    }

    @Test func digestsKeepTheirBytes() throws {
        let bytes = (0..<32).map { UInt8($0) }
        let digest = try #require(Digest(bytes))
        #expect(digest.bytes == bytes)
        #expect(([9] + bytes).withUnsafeBytes { Digest($0, at: 1) } == digest)
        #expect(Digest.zero.bytes == [UInt8](repeating: 0, count: 32))
        #expect(Digest(Array(bytes.dropLast())) == nil)
        #expect(Digest(bytes + [0]) == nil)
    }

    @Test func everyBitOfADigestCounts() throws {
        let digest = try #require(Digest([UInt8](repeating: 0xA5, count: 32)))
        for bit in 0..<256 {
            var bytes = digest.bytes
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(Digest(bytes) != digest)
        }
    }

    @Test func comparesInConstantTime() {
        #expect(Crypto.equalConstantTime([], []))
        #expect(Crypto.equalConstantTime([1, 2, 3], [1, 2, 3]))
        #expect(!Crypto.equalConstantTime([1, 2, 3], [1, 2, 4]))
        #expect(!Crypto.equalConstantTime([1, 2, 3], [1, 2]))
    }

    @Test func erasesInPlace() {
        var secret = [UInt8](repeating: 0x5A, count: 40)
        Crypto.erase(&secret)
        #expect(secret == [UInt8](repeating: 0, count: 40))
    }

    @Test func idsArePermutedAsTheStandardSays() throws {
        // FIPS 197 appendix C.3.
        let permutation = BlockPermutation(key: (0..<32).map { UInt8($0) })
        let plain = try #require(Hex.decode("00112233445566778899aabbccddeeff"))
        #expect(Hex.encode(permutation.encrypt(plain)) == "8ea2b7ca516745bfeafc49904b496089")
        #expect(permutation.decrypt(permutation.encrypt(plain)) == plain)
    }

    private func hex(_ text: String) -> String { Hex.encode(Crypto.sha256([UInt8](text.utf8))) }
}
