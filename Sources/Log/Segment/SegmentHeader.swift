/// The first 4 KiB of a segment file.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | magic "WAYBSEG1", of a sealed segment "WAYBSLD1" |
/// | 8 | 4 | CRC-32C of bytes 12..<4096 |
/// | 12 | 4 | format version, 1 |
/// | 16 | 8 | segment number, from 1 |
/// | 24 | 8 | base: the first position that lies in this segment |
/// | 32 | 16 | nonce |
/// | 48 | 8 | size of the file in bytes |
/// | 56 | 8 | durable_through when the file took its name |
/// | 64 | 16 | log id |
/// | 80 | 32 | link that the segment's first group carries |
/// | 112 | 8 | size of the Merkle tree before this segment: base − 1 |
/// | 120 | 4 | number of subtree roots |
/// | 124 | 4 | flags: bit 0, begun by opening the log, so that what the file before holds from this base on is void |
/// | 128 | 32 each | roots of the tree's complete subtrees, largest first |
///
/// A file takes its `.wal` name only after this page is durable, so a named segment with a bad header is corruption.
package struct SegmentHeader: Equatable, Sendable {
    static let magic: UInt64 = 0x3147_4553_4259_4157
    static let sealedMagic: UInt64 = 0x3144_4C53_4259_4157
    static let version: UInt32 = 1
    /// The largest segment of the configuration, and room for a tail that recovery copies.
    static let sizeMax = 3 << 30

    var number: UInt64
    var base: LogPosition
    var nonce: SegmentNonce
    var size: Int
    var durableThrough: LogPosition
    var logID: LogID
    var link: Digest
    var frontier: MerkleFrontier
    /// Whether an opening began this file. Then the file before may still end in bytes that were discarded or taken over,
    /// if a crash kept it from being cut.
    var isBegunByOpening = false
    /// Whether the file is a sealed one (`SealedFormat`).
    var isSealed = false

    var fileName: String { LogPath.segment(number, sealed: isSealed) }

    package func encode() -> [UInt8] {
        var page = [UInt8](repeating: 0, count: Block.size)
        page.withUnsafeMutableBytes { bytes in
            var writer = LittleEndianWriter(bytes)
            writer.write(isSealed ? SegmentHeader.sealedMagic : SegmentHeader.magic, at: 0)
            writer.write(SegmentHeader.version, at: 12)
            writer.write(number, at: 16)
            writer.write(base.rawValue, at: 24)
            writer.write(nonce.high, at: 32)
            writer.write(nonce.low, at: 40)
            writer.write(UInt64(size), at: 48)
            writer.write(durableThrough.rawValue, at: 56)
            writer.write(logID, at: 64)
            writer.write(link, at: 80)
            writer.write(frontier.size, at: 112)
            writer.write(UInt32(frontier.subtrees.count), at: 120)
            writer.write(UInt32(isBegunByOpening ? 1 : 0), at: 124)
            for (index, subtree) in frontier.subtrees.enumerated() {
                writer.write(subtree, at: 128 + index * Digest.size)
            }
            writer.write(Checksum.crc32c(UnsafeRawBufferPointer(bytes), 12..<Block.size), at: 8)
        }
        return page
    }

    /// Nil when anything in the page contradicts itself.
    package init?(_ page: UnsafeRawBufferPointer) {
        guard page.count >= Block.size else { return nil }
        let magic = page.integer(0, as: UInt64.self)
        isSealed = magic == SegmentHeader.sealedMagic
        guard isSealed || magic == SegmentHeader.magic,
            page.integer(8, as: UInt32.self) == Checksum.crc32c(page, 12..<Block.size),
            page.integer(12, as: UInt32.self) == SegmentHeader.version
        else { return nil }
        number = page.integer(16, as: UInt64.self)
        base = LogPosition(page.integer(24, as: UInt64.self))
        nonce = SegmentNonce(high: page.integer(32, as: UInt64.self), low: page.integer(40, as: UInt64.self))
        size = Int(truncatingIfNeeded: page.integer(48, as: UInt64.self))
        durableThrough = LogPosition(page.integer(56, as: UInt64.self))
        logID = LogID(page, at: 64)
        link = Digest(page, at: 80)
        let count = Int(page.integer(120, as: UInt32.self))
        guard number >= 1, base.rawValue >= 1, size >= Block.size, size <= SegmentHeader.sizeMax,
            size % Block.size == 0, count <= 64
        else {
            return nil
        }
        let subtrees = (0..<count).map { Digest(page, at: 128 + $0 * Digest.size) }
        let flags = page.integer(124, as: UInt32.self)
        guard flags <= 1 else { return nil }
        isBegunByOpening = flags == 1
        let treeSize = page.integer(112, as: UInt64.self)
        guard treeSize == base.rawValue - 1, let frontier = MerkleFrontier(size: treeSize, subtrees: subtrees)
        else { return nil }
        let rest = UnsafeRawBufferPointer(rebasing: page[(128 + count * Digest.size)..<Block.size])
        guard rest.isZero, durableThrough.rawValue >= treeSize else { return nil }
        self.frontier = frontier
    }

    package init(
        number: UInt64,
        base: LogPosition,
        nonce: SegmentNonce,
        size: Int,
        durableThrough: LogPosition,
        logID: LogID,
        link: Digest,
        frontier: MerkleFrontier
    ) {
        self.number = number
        self.base = base
        self.nonce = nonce
        self.size = size
        self.durableThrough = durableThrough
        self.logID = logID
        self.link = link
        self.frontier = frontier
    }
}

/// File names in a data directory.
enum LogPath {
    private static let writtenSuffix = ".wal"
    private static let sealedSuffix = ".sealed"

    static func segment(_ number: UInt64, sealed: Bool = false) -> String {
        let digits = String(number)
        return String(repeating: "0", count: 20 - digits.count) + digits + (sealed ? sealedSuffix : writtenSuffix)
    }

    /// Nil unless the name is a segment's.
    static func segmentNumber(_ name: String) -> (number: UInt64, isSealed: Bool)? {
        for suffix in [writtenSuffix, sealedSuffix] where name.hasSuffix(suffix) && name.count == 20 + suffix.count {
            return UInt64(name.dropLast(suffix.count)).map { ($0, suffix == sealedSuffix) }
        }
        return nil
    }

    static let lock = "lock"
    static let status = "status"
    static let quarantine = "quarantine"
    /// Files under construction; removed at open.
    static let temporarySuffix = ".tmp"
    /// Begins the name of a segment under construction.
    static let preparedPrefix = "segment-"
}
