import CWaybill
import Log
import TestSupport
import Testing

@Suite struct ChecksumTests {
    @Test func matchesThePublishedCheckValue() {
        // RFC 3720 B.4 and every catalogue of checksums name this one.
        #expect(checksum([UInt8]("123456789".utf8)) == 0xE306_9283)
        #expect(checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(checksum([]) == 0)
    }

    @Test func hardwareAndTableFormAgreeWithTheDefinition() {
        var generator = SeededGenerator(seed: 1)
        for length in Array(0...70) + (0..<40).map({ _ in Int.random(in: 70..<9000, using: &generator) }) {
            let bytes = generator.bytes(length)
            let expected = bitByBit(bytes)
            #expect(checksum(bytes) == expected, "length \(length)")
            #expect(waybill_crc32c_portable(0, bytes, length) == expected, "length \(length)")
        }
    }

    @Test func continuesFromAnEarlierPart() {
        var generator = SeededGenerator(seed: 2)
        let bytes = generator.bytes(1000)
        for cut in [0, 1, 7, 8, 9, 500, 999, 1000] {
            let head = waybill_crc32c(0, bytes, cut)
            let rest = Array(bytes[cut...])
            #expect(waybill_crc32c(head, rest, rest.count) == checksum(bytes))
            #expect(waybill_crc32c_portable(head, rest, rest.count) == checksum(bytes))
        }
    }

    @Test func coversExactlyTheRangeItIsGiven() {
        let bytes: [UInt8] = [9, 9] + [UInt8]("123456789".utf8) + [9]
        #expect(bytes.withUnsafeBytes { Checksum.crc32c($0, 2..<11) } == 0xE306_9283)
    }

    private func checksum(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { Checksum.crc32c($0, 0..<bytes.count) }
    }

    /// The polynomial division as the definition has it.
    private func bitByBit(_ bytes: [UInt8]) -> UInt32 {
        var remainder: UInt32 = 0xFFFF_FFFF
        for byte in bytes {
            remainder ^= UInt32(byte)
            for _ in 0..<8 { remainder = remainder & 1 == 1 ? remainder >> 1 ^ 0x82F6_3B78 : remainder >> 1 }
        }
        return ~remainder
    }
}
