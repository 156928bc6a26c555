/// Finds the segments of a log and checks that their headers form one sequence.
struct SegmentListing {
    let storage: any Storage
    let directory: String

    /// Every segment in order. Throws `corrupt` when a header is damaged, foreign or out of sequence.
    func load() throws(LogError) -> [SegmentCatalog.Entry] {
        var entries: [SegmentCatalog.Entry] = []
        for found in try survey() {
            let entry = try found.header.get()
            if let problem = problem(with: entry, after: entries.last) { throw LogError(.corrupt, problem) }
            entries.append(entry)
        }
        if let newest = entries.last, let problem = try problem(withNewest: newest) {
            throw LogError(.corrupt, problem)
        }
        return entries
    }

    /// Every segment of which something can be read, whatever is wrong with the others. Only for readers that look at each
    /// record themselves: what a header that is damaged said is guessed from what follows it.
    func loadReadable() throws(LogError) -> [SegmentCatalog.Entry] {
        var entries: [SegmentCatalog.Entry] = []
        for found in try survey() {
            guard let entry = (try? found.header.get()) ?? guess(found) else { continue }
            // Positions ascend from segment to segment; readers look them up by that.
            if let last = entries.last, entry.header.base < last.header.base { continue }
            entries.append(entry)
        }
        return entries
    }

    /// What the first group or pack behind a damaged header says of the segment.
    private func guess(_ found: Found) -> SegmentCatalog.Entry? {
        let path = directory + "/" + found.file
        guard let region = try? storage.load(path, limit: SegmentHeader.sizeMax) else { return nil }
        defer { withExtendedLifetime(region) {} }
        let isSealed = found.file == LogPath.segment(found.number, sealed: true)
        return SegmentHeader(guessedFrom: region.bytes, number: found.number, isSealed: isSealed).map {
            SegmentCatalog.Entry(header: $0, path: path)
        }
    }

    struct Found {
        let number: UInt64
        /// The name of the file.
        let file: String
        let header: Result<SegmentCatalog.Entry, LogError>
    }

    /// The header of every segment, or why it cannot be read, in order.
    ///
    /// - Throws: `inputOutput` when the directory cannot be listed.
    func survey() throws(LogError) -> [Found] {
        // A segment that is there twice was just being sealed: until the original is gone, it is the segment.
        var isSealed: [UInt64: Bool] = [:]
        for file in try storage.list(directory).compactMap(LogPath.segmentNumber) {
            isSealed[file.number] = file.isSealed && isSealed[file.number] != false
        }
        // A listing that takes several calls can miss a file that is renamed meanwhile; asked by its name, it is there.
        for number in SegmentListing.gaps(in: isSealed.keys.sorted()) {
            let found = try? load(number, isSealed: false)
            if let found { isSealed[number] = found.header.isSealed }
        }
        return isSealed.sorted { $0.key < $1.key }.map { number, isSealed in
            let header = Result { () throws(LogError) -> SegmentCatalog.Entry in
                try load(number, isSealed: isSealed)
            }
            return Found(number: number, file: LogPath.segment(number, sealed: isSealed), header: header)
        }
    }

    /// The numbers missing between others, where they are few: a file with a number far off is not a sign of a rename.
    private static func gaps(in numbers: [UInt64]) -> [UInt64] {
        zip(numbers, numbers.dropFirst()).flatMap { before, after in
            after - before <= 16 ? Array((before + 1)..<after) : []
        }
    }

    /// The bytes of a segment, which a writer elsewhere may have sealed since it was listed; valid until `buffer` is used
    /// again.
    func read(
        _ entry: SegmentCatalog.Entry,
        into buffer: ReusedBuffer,
        _ mode: StorageMode = .read
    ) throws(LogError) -> (entry: SegmentCatalog.Entry, bytes: UnsafeRawBufferPointer) {
        try withPresentName(entry) { (entry) throws(LogError) in
            (entry, try storage.readAll(entry.path, into: buffer, limit: SegmentHeader.sizeMax, mode))
        }
    }

    /// Calls `body`, and when it fails and the segment has been sealed since it was listed, calls it with the sealed file.
    func withPresentName<T>(
        _ entry: SegmentCatalog.Entry,
        _ body: (SegmentCatalog.Entry) throws(LogError) -> T
    ) throws(LogError) -> T {
        do {
            return try body(entry)
        } catch {
            let present = try load(entry.header.number, isSealed: entry.header.isSealed)
            if present.path == entry.path { throw error }
            return try body(present)
        }
    }

    /// The header of one segment. One that was there as written may meanwhile have been sealed by a writer elsewhere.
    private func load(_ number: UInt64, isSealed: Bool) throws(LogError) -> SegmentCatalog.Entry {
        let path = directory + "/" + LogPath.segment(number, sealed: isSealed)
        let file: any StorageFile
        do {
            file = try storage.open(path, .read)
        } catch {
            guard !isSealed, try storage.list(directory).contains(LogPath.segment(number, sealed: true)) else {
                throw error
            }
            return try load(number, isSealed: true)
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

    /// What is wrong with a segment that comes after another one, or is the first.
    func problem(with entry: SegmentCatalog.Entry, after last: SegmentCatalog.Entry?) -> String? {
        guard let last else {
            if entry.header.number == 1, entry.header.base == LogPosition(1) { return nil }
            return
                "segments 1 to \(entry.header.number - 1) are missing, positions 1 to \(entry.header.base.rawValue - 1); "
                + "restore them from a backup"
        }
        if entry.header.number != last.header.number + 1 {
            return "segments \(last.header.number + 1) to \(entry.header.number - 1) are missing, positions from "
                + "\(last.header.base) on; restore them from a backup"
        }
        if entry.header.logID == last.header.logID, entry.header.base >= last.header.base { return nil }
        return "segment \(entry.header.number) does not continue segment \(last.header.number)"
    }

    /// What is wrong with a segment when no other one follows: that it was ever sealed proves that one did.
    func problem(withNewest entry: SegmentCatalog.Entry) throws(LogError) -> String? {
        let sealedName = LogPath.segment(entry.header.number, sealed: true)
        let names = try storage.list(directory)
        guard entry.header.isSealed || names.contains(sealedName) else { return nil }
        return
            "segments after \(entry.header.number) are missing, for only a segment that another one followed is sealed; "
            + "restore them from a backup"
    }
}
