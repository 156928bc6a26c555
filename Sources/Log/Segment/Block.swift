/// A block: what a segment file wraps around a group frame. Blocks start on 4 KiB boundaries, so that no write ever
/// touches a page that holds acknowledged bytes.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | magic "WBBK" |
/// | 4 | 4 | CRC-32C of bytes 8..<64 |
/// | 8 | 16 | nonce of the segment |
/// | 24 | 8 | durable_through: last position known durable when this block was written |
/// | 32 | 8 | offset of this block in its segment |
/// | 40 | 4 | length of the group frame, 0 for a durable mark |
/// | 44 | 20 | zero |
/// | 64 | … | group frame, then zeros to the next 4 KiB boundary |
package struct Block: Equatable, Sendable {
    /// The alignment of blocks, and the size of the smallest.
    static let size = 4096
    static let headerSize = 64
    static let magic: UInt32 = 0x4B42_4257

    var nonce: SegmentNonce
    var durableThrough: LogPosition
    var offset: Int
    var frameCount: Int

    /// Bytes the block takes in the file.
    package var alignedSize: Int { Block.alignedSize(frame: frameCount) }

    static func alignedSize(frame: Int) -> Int { roundUp(headerSize + frame) }

    /// The smallest multiple of the alignment that is not below `count`.
    static func roundUp(_ count: Int) -> Int { (count + size - 1) & ~(size - 1) }

    package func encode(into bytes: UnsafeMutableRawBufferPointer) {
        var writer = LittleEndianWriter(bytes)
        writer.write(Block.magic, at: 0)
        writer.write(nonce.high, at: 8)
        writer.write(nonce.low, at: 16)
        writer.write(durableThrough.rawValue, at: 24)
        writer.write(UInt64(offset), at: 32)
        writer.write(UInt32(frameCount), at: 40)
        writer.write(Checksum.crc32c(UnsafeRawBufferPointer(bytes), 8..<Block.headerSize), at: 4)
    }

    /// Nil unless a block header of this segment, written for this place, starts at `offset`.
    package init?(_ segment: UnsafeRawBufferPointer, at offset: Int, nonce: SegmentNonce) {
        guard offset >= 0, segment.count - offset >= Block.headerSize else { return nil }
        let header = UnsafeRawBufferPointer(rebasing: segment[offset..<(offset + Block.headerSize)])
        guard header.integer(0, as: UInt32.self) == Block.magic,
            header.integer(4, as: UInt32.self) == Checksum.crc32c(header, 8..<Block.headerSize)
        else { return nil }
        self.nonce = SegmentNonce(high: header.integer(8, as: UInt64.self), low: header.integer(16, as: UInt64.self))
        durableThrough = LogPosition(header.integer(24, as: UInt64.self))
        self.offset = Int(truncatingIfNeeded: header.integer(32, as: UInt64.self))
        frameCount = Int(header.integer(40, as: UInt32.self))
        guard self.nonce == nonce, self.offset == offset, frameCount == 0 || frameCount > GroupHeader.size,
            header.integer(44, as: UInt64.self) == 0, header.integer(52, as: UInt64.self) == 0
        else { return nil }
    }

    package init(nonce: SegmentNonce, durableThrough: LogPosition, offset: Int, frameCount: Int) {
        self.nonce = nonce
        self.durableThrough = durableThrough
        self.offset = offset
        self.frameCount = frameCount
    }
}

/// The random mark of one segment file: stale bytes of an earlier file on the same disk blocks do not carry it.
package struct SegmentNonce: Hashable, Sendable {
    let high: UInt64
    let low: UInt64

    package static func random() -> SegmentNonce {
        Crypto.randomBytes(16).withUnsafeBytes {
            SegmentNonce(high: $0.integer(0, as: UInt64.self), low: $0.integer(8, as: UInt64.self))
        }
    }
}
