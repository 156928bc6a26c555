import Log
import TestSupport
import Testing

@Suite struct SegmentHeaderTests {
    @Test(arguments: [1, 2, 3, 64, 1000, UInt64(1) << 40, UInt64.max])
    func aHeaderSurvivesEncodingAndDecoding(_ base: UInt64) throws {
        let header = try Self.header(base: base)
        let page = header.encode()
        #expect(page.count == 4096)
        #expect(Array(page.prefix(8)) == [UInt8]("WAYBSEG1".utf8))
        #expect(page.withUnsafeBytes { SegmentHeader($0) } == header)
    }

    @Test func everyChangedByteIsNoticed() throws {
        let page = try Self.header(base: 1000).encode()
        let survivors = page.indices.filter { index in
            [UInt8(0x01), 0x80, 0xFF].contains { mask in
                var changed = page
                changed[index] ^= mask
                return changed.withUnsafeBytes { SegmentHeader($0) != nil }
            }
        }
        #expect(survivors.isEmpty)
    }

    @Test func cutOffHeadersAreRefused() throws {
        let page = try Self.header(base: 1000).encode()
        for count in [0, 8, 128, 4095] {
            #expect(Array(page.prefix(count)).withUnsafeBytes { SegmentHeader($0) == nil })
        }
    }

    /// Contradictions that a right checksum does not excuse.
    @Test(arguments: [
        (12, UInt64(2)), (16, 0), (24, 0), (24, 1001), (48, 0), (48, 4097), (112, 1000), (120, 65), (120, 7),
    ])
    func contradictionsAreRefused(_ offset: Int, _ value: UInt64) throws {
        var page = try Self.header(base: 1000).encode()
        page.withUnsafeMutableBytes { bytes in
            if offset == 12 || offset == 120 {
                bytes.storeBytes(of: UInt32(value).littleEndian, toByteOffset: offset, as: UInt32.self)
            } else {
                bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
            }
            let checksum = Checksum.crc32c(UnsafeRawBufferPointer(bytes), 12..<4096)
            bytes.storeBytes(of: checksum.littleEndian, toByteOffset: 8, as: UInt32.self)
        }
        #expect(page.withUnsafeBytes { SegmentHeader($0) == nil })
    }

    private static func header(base: UInt64) throws -> SegmentHeader {
        var generator = SeededGenerator(seed: base)
        let subtrees = (0..<(base - 1).nonzeroBitCount).map { _ in Digest(generator.bytes(32)) ?? .zero }
        return SegmentHeader(
            number: 9,
            base: LogPosition(base),
            nonce: .random(),
            size: 1 << 20,
            durableThrough: LogPosition(base - 1),
            logID: .random(),
            link: Digest(generator.bytes(32)) ?? .zero,
            frontier: try #require(MerkleFrontier(size: base - 1, subtrees: subtrees))
        )
    }
}
