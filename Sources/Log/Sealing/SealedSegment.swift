/// A sealed segment, mapped: what is looked for by position or time is one pack away.
final class SealedSegment: Sendable {
    let header: SegmentHeader
    private let region: MappedRegion
    private let table: PackIndex

    init(_ header: SegmentHeader, _ region: MappedRegion) {
        self.header = header
        self.region = region
        table = PackIndex(header, region.bytes)
    }

    var packCount: Int { table.count }

    private func entry(_ number: Int) -> PackEntry { table.entry(number, of: region.bytes) }

    /// The pack that holds `position`, if the segment does.
    func pack(of position: LogPosition) -> Int? {
        guard position >= header.base, position <= table.last else { return nil }
        return lastPack { $0.first <= position }
    }

    /// The last pack that begins before `time`: a record at or after that time lies in it or in a later one.
    func pack(before time: UInt64) -> Int? { lastPack { $0.firstTime < time } }

    /// The time of the first record.
    var firstTime: UInt64? { table.count > 0 ? entry(0).firstTime : nil }

    /// Bytes of the file, valid as long as the segment is.
    func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: region.bytes[range])
    }

    /// The first position of a pack.
    func first(_ index: Int) -> LogPosition { entry(index).first }

    private func lastPack(where isBefore: (PackEntry) -> Bool) -> Int? {
        let after = partitionPoint(table.count) { isBefore(entry($0)) }
        return after > 0 ? after - 1 : nil
    }

    /// Unpacks a pack. Its records are valid as long as the segment and the buffer are, and the buffer is not used again.
    func unpack(
        _ index: Int,
        into buffer: ReusedBuffer,
        checkSealed: Bool = true
    ) throws(LogError) -> UnpackedPack {
        let entry = entry(index)
        guard let header = table.pack(entry, of: region.bytes) else {
            throw damaged(entry, "the header of a pack is damaged")
        }
        let (pack, reason) = UnpackedPack.unpack(header, of: region.bytes, into: buffer, checkSealed: checkSealed)
        guard let pack else { throw damaged(entry, reason) }
        return pack
    }

    /// What there is of the pack that holds a position, whatever its checksums say; nil where that cannot be told.
    func parts(of position: LogPosition, into buffer: ReusedBuffer) -> DamagedPack? {
        pack(of: position).flatMap { DamagedPack(region.bytes, table.bytes(of: $0, in: region.bytes), into: buffer) }
    }

    private func damaged(_ entry: PackEntry, _ reason: String) -> LogError {
        LogError(
            .corrupt,
            "segment \(LogPath.segment(header.number, sealed: true)) is damaged near offset \(entry.offset), positions from "
                + "\(entry.first) on: \(reason); run waybill verify"
        )
    }
}
