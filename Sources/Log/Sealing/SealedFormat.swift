/// The layout of a sealed segment: a segment that will not change any more, written anew in less space.
///
/// Header page (`SegmentHeader`, with the sealed magic and the size of this file), packs, table, zeros, footer in the last 64
/// bytes of the file, whose size is a multiple of 4096. Envelopes are compressed; ciphertext, which would not shrink, lies
/// behind them as it is, so that it can be read where it lies. `docs/log-format.md` is the reference.
enum SealedFormat {
    /// Envelopes of so many bytes close a pack: what one read by position has to unpack.
    static let packTarget = 64 << 10
    /// Sealed sections of so many bytes close it as well.
    static let packSealedTarget = 256 << 10
    /// The largest pack: more than a group of the largest configuration with one record over it.
    static let packMax = 1 << 30
}

/// A pack: whole groups, their envelopes compressed together, their sealed sections apart.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | magic "WBPK" |
/// | 4 | 4 | CRC-32C of bytes 8..<64 |
/// | 8 | 8 | offset of this pack in the file |
/// | 16 | 8 | first position |
/// | 24 | 8 | last position |
/// | 32 | 8 | time of the first record |
/// | 40 | 4 | length of the envelopes as stored |
/// | 44 | 4 | length of the envelopes; the same when they are stored as they are |
/// | 48 | 4 | length of the sealed sections |
/// | 52 | 4 | CRC-32C of the envelopes as stored |
/// | 56 | 4 | CRC-32C of the sealed sections |
/// | 60 | 4 | zero |
/// | 64 | … | envelopes, an LZ4 block: for each group its header, then header and payload of each of its records |
/// | … | … | sealed sections of those records, back to back |
struct PackHeader: Equatable, Sendable {
    static let size = 64
    static let magic: UInt32 = 0x4B50_4257

    var offset: Int
    var first: LogPosition
    var last: LogPosition
    var firstTime: UInt64
    var storedCount: Int
    var envelopeCount: Int
    var sealedCount: Int
    var storedChecksum: UInt32
    var sealedChecksum: UInt32

    /// Bytes of the whole pack.
    var wholeCount: Int { PackHeader.size + storedCount + sealedCount }
    var envelopes: Range<Int> { (offset + PackHeader.size)..<(offset + PackHeader.size + storedCount) }
    var sealed: Range<Int> { envelopes.upperBound..<(envelopes.upperBound + sealedCount) }

    func encode(into bytes: UnsafeMutableRawBufferPointer) {
        var writer = LittleEndianWriter(bytes)
        writer.write(PackHeader.magic, at: 0)
        writer.write(UInt64(offset), at: 8)
        writer.write(first.rawValue, at: 16)
        writer.write(last.rawValue, at: 24)
        writer.write(firstTime, at: 32)
        writer.write(UInt32(storedCount), at: 40)
        writer.write(UInt32(envelopeCount), at: 44)
        writer.write(UInt32(sealedCount), at: 48)
        writer.write(storedChecksum, at: 52)
        writer.write(sealedChecksum, at: 56)
        writer.write(UInt32(0), at: 60)
        writer.write(Checksum.crc32c(UnsafeRawBufferPointer(bytes), 8..<PackHeader.size), at: 4)
    }

}

extension PackHeader {
    /// Nil unless a pack written for this place starts at `offset` and ends before `end`.
    init?(_ file: UnsafeRawBufferPointer, at offset: Int, before end: Int) {
        guard offset >= Block.size, end <= file.count, end - offset >= PackHeader.size else { return nil }
        let header = UnsafeRawBufferPointer(rebasing: file[offset..<(offset + PackHeader.size)])
        guard header.integer(0, as: UInt32.self) == PackHeader.magic,
            header.integer(4, as: UInt32.self) == Checksum.crc32c(header, 8..<PackHeader.size),
            header.integer(8, as: UInt64.self) == UInt64(offset), header.integer(60, as: UInt32.self) == 0
        else { return nil }
        self.offset = offset
        first = LogPosition(header.integer(16, as: UInt64.self))
        last = LogPosition(header.integer(24, as: UInt64.self))
        firstTime = header.integer(32, as: UInt64.self)
        storedCount = Int(header.integer(40, as: UInt32.self))
        envelopeCount = Int(header.integer(44, as: UInt32.self))
        sealedCount = Int(header.integer(48, as: UInt32.self))
        storedChecksum = header.integer(52, as: UInt32.self)
        sealedChecksum = header.integer(56, as: UInt32.self)
        guard first.rawValue >= 1, last >= first, last.rawValue < .max, firstTime < RecordFormat.timeEnd,
            wholeCount <= end - offset,
            storedCount <= envelopeCount,
            envelopeCount <= SealedFormat.packMax, envelopeCount <= storedCount * LZ4.ratioMax
        else { return nil }
    }
}

/// A line of the table: where a pack lies, with what to look for it by.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | first position |
/// | 8 | 8 | time of the first record |
/// | 16 | 8 | offset of the pack |
struct PackEntry: Equatable, Sendable {
    static let size = 24

    var first: LogPosition
    var firstTime: UInt64
    var offset: Int

    init(_ header: PackHeader) {
        first = header.first
        firstTime = header.firstTime
        offset = header.offset
    }

    /// The caller has checked that the table holds it.
    init(_ table: UnsafeRawBufferPointer, _ index: Int) {
        first = LogPosition(table.integer(index * PackEntry.size, as: UInt64.self))
        firstTime = table.integer(index * PackEntry.size + 8, as: UInt64.self)
        offset = Int(truncatingIfNeeded: table.integer(index * PackEntry.size + 16, as: UInt64.self))
    }

    func encode(into bytes: UnsafeMutableRawBufferPointer) {
        var writer = LittleEndianWriter(bytes)
        writer.write(first.rawValue, at: 0)
        writer.write(firstTime, at: 8)
        writer.write(UInt64(offset), at: 16)
    }
}

/// The last 64 bytes of a sealed segment.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | magic "WAYBEND1" |
/// | 8 | 4 | CRC-32C of bytes 12..<64 |
/// | 12 | 4 | number of packs |
/// | 16 | 8 | offset of the table |
/// | 24 | 8 | last position; base − 1 when the segment holds none |
/// | 32 | 8 | time of the last record, 0 for none |
/// | 40 | 4 | CRC-32C of the table |
/// | 44 | 20 | zero |
struct SealedFooter: Equatable, Sendable {
    static let size = 64
    static let magic: UInt64 = 0x3144_4E45_4259_4157

    var packCount: Int
    var tableOffset: Int
    var last: LogPosition
    var lastTime: UInt64
    var tableChecksum: UInt32

    var table: Range<Int> { tableOffset..<(tableOffset + packCount * PackEntry.size) }

    /// The time of the record at `position`, if that is the last one.
    func timeOf(_ position: LogPosition) -> UInt64? { position == last ? lastTime : nil }

    func encode(into bytes: UnsafeMutableRawBufferPointer) {
        var writer = LittleEndianWriter(bytes)
        writer.write(SealedFooter.magic, at: 0)
        writer.write(UInt32(packCount), at: 12)
        writer.write(UInt64(tableOffset), at: 16)
        writer.write(last.rawValue, at: 24)
        writer.write(lastTime, at: 32)
        writer.write(tableChecksum, at: 40)
        writer.write(Checksum.crc32c(UnsafeRawBufferPointer(bytes), 12..<SealedFooter.size), at: 8)
    }

    /// A line of the table.
    func entry(_ index: Int, of file: UnsafeRawBufferPointer) -> PackEntry {
        PackEntry(UnsafeRawBufferPointer(rebasing: file[table]), index)
    }

    /// The header of the pack that a line of the table names; nil when it does not stand there.
    func pack(_ entry: PackEntry, of file: UnsafeRawBufferPointer) -> PackHeader? {
        PackHeader(file, at: entry.offset, before: tableOffset).flatMap { PackEntry($0) == entry ? $0 : nil }
    }

    /// The zeros between the table and the footer.
    func padding(of file: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: file[table.upperBound..<(file.count - SealedFooter.size)])
    }
}

extension SealedFooter {
    /// Nil unless the file ends in a footer whose table lies in the file and matches its checksum.
    init?(_ file: UnsafeRawBufferPointer) {
        guard file.count >= 2 * Block.size else { return nil }
        let end = file.count - SealedFooter.size
        let footer = UnsafeRawBufferPointer(rebasing: file[end...])
        guard footer.integer(0, as: UInt64.self) == SealedFooter.magic,
            footer.integer(8, as: UInt32.self) == Checksum.crc32c(footer, 12..<SealedFooter.size),
            UnsafeRawBufferPointer(rebasing: footer[44...]).isZero
        else { return nil }
        packCount = Int(footer.integer(12, as: UInt32.self))
        tableOffset = Int(truncatingIfNeeded: footer.integer(16, as: UInt64.self))
        last = LogPosition(footer.integer(24, as: UInt64.self))
        lastTime = footer.integer(32, as: UInt64.self)
        tableChecksum = footer.integer(40, as: UInt32.self)
        guard last.rawValue < .max, lastTime < RecordFormat.timeEnd, tableOffset >= Block.size, tableOffset <= end,
            packCount * PackEntry.size <= end - tableOffset,
            Checksum.crc32c(file, table) == tableChecksum
        else { return nil }
    }
}
