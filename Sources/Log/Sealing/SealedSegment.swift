/// A sealed segment, mapped: what is looked for by position or time is one pack away.
final class SealedSegment: Sendable {
    let header: SegmentHeader
    private let region: MappedRegion
    private let footer: SealedFooter

    /// - Throws: `corrupt` when the file has another size than it had, or its footer or table are damaged.
    init(_ header: SegmentHeader, _ region: MappedRegion) throws(LogError) {
        guard region.count == header.size, let footer = SealedFooter(region.bytes),
            footer.last.rawValue >= header.base.rawValue - 1
        else {
            throw LogError(
                .corrupt,
                "the end of segment \(LogPath.segment(header.number, sealed: true)) is damaged; run waybill verify"
            )
        }
        self.header = header
        self.region = region
        self.footer = footer
    }

    var packCount: Int { footer.packCount }

    private func entry(_ index: Int) -> PackEntry { footer.entry(index, of: region.bytes) }

    /// The pack that holds `position`, if the segment does.
    func pack(of position: LogPosition) -> Int? {
        guard position >= header.base, position <= footer.last else { return nil }
        return lastPack { $0.first <= position }
    }

    /// The last pack that begins before `time`: a record at or after that time lies in it or in a later one.
    func pack(before time: UInt64) -> Int? { lastPack { $0.firstTime < time } }

    /// The time of the first record.
    var firstTime: UInt64? { footer.packCount > 0 ? entry(0).firstTime : nil }

    /// The first position of a pack.
    func first(_ index: Int) -> LogPosition { entry(index).first }

    private func lastPack(where isBefore: (PackEntry) -> Bool) -> Int? {
        let after = partitionPoint(footer.packCount) { isBefore(entry($0)) }
        return after > 0 ? after - 1 : nil
    }

    /// Unpacks a pack. Its records are valid as long as the segment and the buffer are, and the buffer is not used again.
    func unpack(
        _ index: Int,
        into buffer: ReusedBuffer,
        checkSealed: Bool = true
    ) throws(LogError) -> UnpackedPack {
        let entry = entry(index)
        guard let header = footer.pack(entry, of: region.bytes) else {
            throw damaged(entry, "the header of a pack is damaged")
        }
        let (pack, reason) = UnpackedPack.unpack(header, of: region.bytes, into: buffer, checkSealed: checkSealed)
        guard let pack else { throw damaged(entry, reason) }
        return pack
    }

    private func damaged(_ entry: PackEntry, _ reason: String) -> LogError {
        LogError(
            .corrupt,
            "segment \(LogPath.segment(header.number, sealed: true)) is damaged near offset \(entry.offset), positions from "
                + "\(entry.first) on: \(reason); run waybill verify"
        )
    }
}
