import Log
import TestSupport
import Testing

@Suite struct BlockTests {
    private static let nonce = SegmentNonce.random()
    private static let block = Block(nonce: nonce, durableThrough: LogPosition(41), offset: 8192, frameCount: 200)

    @Test func aHeaderSurvivesEncodingAndDecoding() {
        let segment = Self.segment(Self.block)
        #expect(segment.withUnsafeBytes { Block($0, at: 8192, nonce: Self.nonce) } == Self.block)
        let mark = Block(nonce: Self.nonce, durableThrough: LogPosition(41), offset: 8192, frameCount: 0)
        #expect(Self.segment(mark).withUnsafeBytes { Block($0, at: 8192, nonce: Self.nonce) } == mark)
    }

    @Test func everyChangedBitIsNoticed() {
        let segment = Self.segment(Self.block)
        for bit in 0..<(64 * 8) {
            var changed = segment
            changed[8192 + bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(changed.withUnsafeBytes { Block($0, at: 8192, nonce: Self.nonce) == nil }, "bit \(bit)")
        }
    }

    @Test func anotherSegmentsBlockIsRefused() {
        #expect(Self.segment(Self.block).withUnsafeBytes { Block($0, at: 8192, nonce: .random()) == nil })
    }

    @Test func aBlockThatWasWrittenForAnotherPlaceIsRefused() {
        let moved = Self.segment(Block(nonce: Self.nonce, durableThrough: .zero, offset: 4096, frameCount: 200))
        #expect(moved.withUnsafeBytes { Block($0, at: 8192, nonce: Self.nonce) == nil })
    }

    @Test func aFrameThatHasNoRoomForARecordIsRefused() {
        for count in [1, 95, 96] {
            let block = Block(nonce: Self.nonce, durableThrough: .zero, offset: 8192, frameCount: count)
            #expect(Self.segment(block).withUnsafeBytes { Block($0, at: 8192, nonce: Self.nonce) == nil })
        }
    }

    @Test func placesOutsideTheSegmentAreRefused() {
        let segment = Self.segment(Self.block)
        segment.withUnsafeBytes { buffer in
            for offset in [-4096, segment.count - 63, segment.count, segment.count + 4096] {
                #expect(Block(buffer, at: offset, nonce: Self.nonce) == nil)
            }
        }
    }

    @Test(arguments: [(0, 4096), (1, 4096), (4032, 4096), (4033, 8192), (8128, 8192), (8129, 12288)])
    func blocksEndOnPageBoundaries(_ frame: Int, _ size: Int) {
        #expect(Block(nonce: Self.nonce, durableThrough: .zero, offset: 0, frameCount: frame).alignedSize == size)
    }

    private static func segment(_ block: Block) -> [UInt8] {
        var segment = [UInt8](repeating: 0, count: 16384)
        segment.withUnsafeMutableBytes { bytes in
            block.encode(into: UnsafeMutableRawBufferPointer(rebasing: bytes[8192..<(8192 + 64)]))
        }
        return segment
    }
}
