import CWaybill

/// The group frame: the unit of durability and of replication, byte for byte the same in every backend.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | magic "WBG1" |
/// | 4 | 4 | CRC-32C of header bytes 8..<96 |
/// | 8 | 2 | format version, 1 |
/// | 10 | 2 | flags, 0 |
/// | 12 | 4 | body length |
/// | 16 | 8 | first position |
/// | 24 | 8 | last position |
/// | 32 | 4 | CRC-32C of the body |
/// | 36 | 4 | zero |
/// | 40 | 8 | time of the first record |
/// | 48 | 32 | link: SHA-256 of the header of the group before, zeros for the first |
/// | 80 | 16 | log id |
/// | 96 | … | body: the records, back to back |
package struct GroupHeader: Equatable, Sendable {
    package static let size = 96
    static let magic: UInt32 = 0x3147_4257
    static let version: UInt16 = 1

    var bodyCount: Int
    var first: LogPosition
    var last: LogPosition
    var bodyChecksum: UInt32
    var firstTime: UInt64
    var link: Digest
    var logID: LogID

    /// Writes the header, its checksum included, into the first 96 bytes of `frame`.
    package func encode(into frame: UnsafeMutableRawBufferPointer) {
        var writer = LittleEndianWriter(frame)
        writer.write(GroupHeader.magic, at: 0)
        writer.write(GroupHeader.version, at: 8)
        writer.write(UInt16(0), at: 10)
        writer.write(UInt32(bodyCount), at: 12)
        writer.write(first.rawValue, at: 16)
        writer.write(last.rawValue, at: 24)
        writer.write(bodyChecksum, at: 32)
        writer.write(UInt32(0), at: 36)
        writer.write(firstTime, at: 40)
        writer.write(link, at: 48)
        writer.write(logID, at: 80)
        writer.write(Checksum.crc32c(UnsafeRawBufferPointer(frame), 8..<GroupHeader.size), at: 4)
    }

    /// Nil when magic, checksum, version or the order of positions is wrong.
    package init?(_ frame: UnsafeRawBufferPointer) {
        guard frame.count >= GroupHeader.size, frame.integer(0, as: UInt32.self) == GroupHeader.magic,
            frame.integer(4, as: UInt32.self) == Checksum.crc32c(frame, 8..<GroupHeader.size),
            frame.integer(8, as: UInt16.self) == GroupHeader.version, frame.integer(10, as: UInt16.self) == 0,
            frame.integer(36, as: UInt32.self) == 0
        else { return nil }
        bodyCount = Int(frame.integer(12, as: UInt32.self))
        first = LogPosition(frame.integer(16, as: UInt64.self))
        last = LogPosition(frame.integer(24, as: UInt64.self))
        bodyChecksum = frame.integer(32, as: UInt32.self)
        firstTime = frame.integer(40, as: UInt64.self)
        link = Digest(frame, at: 48)
        logID = LogID(frame, at: 80)
        guard first.rawValue >= 1, last >= first, last.rawValue < .max,
            last.rawValue - first.rawValue < UInt64(bodyCount)
        else { return nil }
    }

    package init(
        bodyCount: Int,
        first: LogPosition,
        last: LogPosition,
        bodyChecksum: UInt32,
        firstTime: UInt64,
        link: Digest,
        logID: LogID
    ) {
        self.bodyCount = bodyCount
        self.first = first
        self.last = last
        self.bodyChecksum = bodyChecksum
        self.firstTime = firstTime
        self.link = link
        self.logID = logID
    }

    /// What the next group's `link` must be.
    package static func linkValue(of frame: UnsafeRawBufferPointer) -> Digest {
        SHA256Stream.hash(UnsafeRawBufferPointer(rebasing: frame[0..<size]))
    }
}

/// The random name of a log, in every group and segment, so that files of two logs cannot be mixed up.
public struct LogID: Hashable, Sendable, CustomStringConvertible {
    let high: UInt64
    let low: UInt64

    package static func random() -> LogID {
        Crypto.randomBytes(16).withUnsafeBytes { LogID($0, at: 0) }
    }

    init(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        high = bytes.integer(offset, as: UInt64.self)
        low = bytes.integer(offset + 8, as: UInt64.self)
    }

    package var bytes: [UInt8] {
        withUnsafeBytes(of: (high.littleEndian, low.littleEndian)) { [UInt8]($0) }
    }

    public var description: String { Hex.encode(bytes) }
}

package enum Checksum {
    package static func crc32c(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> UInt32 {
        extend(0, UnsafeRawBufferPointer(rebasing: bytes[range]))
    }

    /// The checksum of what `checksum` covers followed by `bytes`.
    static func extend(_ checksum: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
        waybill_crc32c(checksum, bytes.baseAddress, bytes.count)
    }
}

/// Stores fields at fixed offsets, with the bounds checked also in release builds.
struct LittleEndianWriter {
    private let bytes: UnsafeMutableRawBufferPointer

    init(_ bytes: UnsafeMutableRawBufferPointer) { self.bytes = bytes }

    mutating func write<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        precondition(offset >= 0 && offset + MemoryLayout<T>.size <= bytes.count)
        bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }

    mutating func write(_ digest: Digest, at offset: Int) {
        withUnsafeBytes(of: digest) {
            UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<(offset + Digest.size)]).copyMemory(from: $0)
        }
    }

    mutating func write(_ id: LogID, at offset: Int) {
        write(id.high, at: offset)
        write(id.low, at: offset + 8)
    }
}

extension UnsafeRawBufferPointer {
    /// A little-endian integer, with the bounds checked also in release builds.
    func integer<T: FixedWidthInteger>(_ offset: Int, as type: T.Type) -> T {
        precondition(offset >= 0 && offset + MemoryLayout<T>.size <= count)
        return T(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }

    var isZero: Bool {
        var rest = self[...]
        while rest.count >= 8 {
            if UnsafeRawBufferPointer(rebasing: rest).loadUnaligned(as: UInt64.self) != 0 { return false }
            rest = rest.dropFirst(8)
        }
        return rest.allSatisfy { $0 == 0 }
    }
}
