/// Finds the segments of a log and checks that their headers form one sequence.
struct SegmentListing {
    let storage: any Storage
    let directory: String

    /// Every segment in order. Throws `corrupt` when a header is damaged, foreign or out of sequence.
    func load() throws(LogError) -> [SegmentCatalog.Entry] {
        // A segment that is there twice was just being sealed: until the original is gone, it is the segment.
        var isSealed: [UInt64: Bool] = [:]
        for file in try storage.list(directory).compactMap(LogPath.segmentNumber) {
            isSealed[file.number] = file.isSealed && isSealed[file.number] != false
        }
        var entries: [SegmentCatalog.Entry] = []
        for (number, isSealed) in isSealed.sorted(by: { $0.key < $1.key }) {
            let entry = try SegmentListing.load(number, isSealed, directory, storage)
            if let last = entries.last { try check(entry, follows: last) } else { try checkFirst(entry) }
            entries.append(entry)
        }
        if let newest = entries.last, newest.header.isSealed {
            throw LogError(
                .corrupt,
                "segments after \(newest.header.number) are missing, for only a segment that another one followed is sealed; "
                    + "restore them from a backup"
            )
        }
        return entries
    }

    /// The bytes of a segment, which a writer elsewhere may have sealed since it was listed; valid until `buffer` is used
    /// again.
    func read(
        _ entry: SegmentCatalog.Entry,
        into buffer: ReusedBuffer
    ) throws(LogError) -> (entry: SegmentCatalog.Entry, bytes: UnsafeRawBufferPointer) {
        do {
            return (entry, try storage.readAll(entry.path, into: buffer, limit: SegmentHeader.sizeMax))
        } catch {
            let sealed = try SegmentListing.load(entry.header.number, entry.header.isSealed, directory, storage)
            if sealed.path == entry.path { throw error }
            return (sealed, try storage.readAll(sealed.path, into: buffer, limit: SegmentHeader.sizeMax))
        }
    }

    /// The header of one segment. One that was there as written may meanwhile have been sealed by a writer elsewhere.
    static func load(
        _ number: UInt64,
        _ isSealed: Bool,
        _ directory: String,
        _ storage: any Storage
    ) throws(LogError) -> SegmentCatalog.Entry {
        let path = directory + "/" + LogPath.segment(number, sealed: isSealed)
        let file: any StorageFile
        do {
            file = try storage.open(path, .read)
        } catch {
            guard !isSealed, try storage.list(directory).contains(LogPath.segment(number, sealed: true)) else {
                throw error
            }
            return try load(number, true, directory, storage)
        }
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: Block.size, alignment: 8)
        defer { page.deallocate() }
        let count = try file.read(into: page, at: 0)
        guard count == Block.size, let header = SegmentHeader(UnsafeRawBufferPointer(page)), header.number == number,
            header.isSealed == isSealed
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
