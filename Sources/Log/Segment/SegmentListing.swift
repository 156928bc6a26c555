/// Finds the segments of a log and checks that their headers form one sequence.
struct SegmentListing {
    let storage: any Storage
    let directory: String

    /// Every segment in order. Throws `corrupt` when a header is damaged, foreign or out of sequence.
    func load() throws(LogError) -> [SegmentCatalog.Entry] {
        let numbers = try storage.list(directory).compactMap(LogPath.segmentNumber).sorted()
        var entries: [SegmentCatalog.Entry] = []
        for number in numbers {
            let entry = try load(number)
            if let last = entries.last { try check(entry, follows: last) } else { try checkFirst(entry) }
            entries.append(entry)
        }
        return entries
    }

    private func load(_ number: UInt64) throws(LogError) -> SegmentCatalog.Entry {
        let path = directory + "/" + LogPath.segment(number)
        let file = try storage.open(path, .read)
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: Block.size, alignment: 8)
        defer { page.deallocate() }
        let count = try file.read(into: page, at: 0)
        guard count == Block.size, let header = SegmentHeader(UnsafeRawBufferPointer(page)), header.number == number
        else {
            throw LogError(
                .corrupt,
                "the header of segment \(number) (offset 0 of \(path)) is damaged; restore it from a backup"
            )
        }
        return SegmentCatalog.Entry(header: header, path: path)
    }

    private func checkFirst(_ entry: SegmentCatalog.Entry) throws(LogError) {
        guard entry.header.number == 1, entry.header.base == LogPosition(1) else {
            throw LogError(
                .corrupt,
                "segments 1 to \(entry.header.number - 1) are missing, positions 1 to \(entry.header.base.rawValue - 1); "
                    + "restore them from a backup"
            )
        }
    }

    private func check(_ entry: SegmentCatalog.Entry, follows last: SegmentCatalog.Entry) throws(LogError) {
        guard entry.header.number == last.header.number + 1 else {
            throw LogError(
                .corrupt,
                "segments \(last.header.number + 1) to \(entry.header.number - 1) are missing, positions from "
                    + "\(last.header.base) on; restore them from a backup"
            )
        }
        guard entry.header.logID == last.header.logID, entry.header.base >= last.header.base else {
            throw LogError(.corrupt, "segment \(entry.header.number) does not continue segment \(last.header.number)")
        }
    }
}
