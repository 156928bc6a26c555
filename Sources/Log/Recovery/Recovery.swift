/// Brings a data directory from whatever a crash left to a state the writer can go on from, or refuses.
///
/// Every open starts a new segment: what was valid but unproven in the newest one is written into it and synced before
/// it takes its name (Linux may have marked pages of a failed sync clean, so being readable proves nothing). Then the old
/// segment is cut to what it still owns.
struct Recovery {
    struct Result {
        let logID: LogID
        let report: RecoveryReport
        let catalog: SegmentCatalog
        let durable: LogPosition
        let lastTime: UInt64
        let writer: SegmentWriter
    }

    let storage: any Storage
    let directory: String
    let configuration: LogConfiguration

    /// What is on disk, and all that must be known to go on from it.
    enum Found {
        case nothing
        case log(Tail)
    }

    /// The newest segment, read and judged.
    struct Tail {
        let entries: [SegmentCatalog.Entry]
        let newest: SegmentCatalog.Entry
        /// The newest segment's bytes.
        let region: MappedRegion
        let scan: TailScan
        /// The tree up to what is proven durable, and up to the last valid record.
        let proven: MerkleFrontier
        let all: MerkleFrontier
        let lastTime: UInt64
    }

    /// Decides whether the log can be opened. Changes nothing, and after it nothing is refused any more.
    func examine() throws(LogError) -> Found {
        let entries = try SegmentListing(storage: storage, directory: directory).load()
        guard let newest = entries.last else { return .nothing }
        let region = try storage.load(newest.path, limit: SegmentHeader.sizeMax)
        let bytes = region.bytes
        // A segment is written full of zeros before it is named, and cut only once the next one has its name.
        guard bytes.count == newest.header.size else {
            throw LogError(
                .corrupt,
                "segment \(LogPath.segment(newest.header.number)) is cut off at offset \(bytes.count) of "
                    + "\(newest.header.size); nothing was changed. Restore it from a backup"
            )
        }
        let scan = TailScan(newest.header, bytes)
        if scan.facts.action == .refuse { throw refusal(newest, scan) }
        let (proven, all, lastTime) = replayDigests(newest.header, scan, bytes)
        try checkSplit(newest, scan, proven)
        return .log(
            Tail(
                entries: entries,
                newest: newest,
                region: region,
                scan: scan,
                proven: proven,
                all: all,
                lastTime: lastTime > 0 ? lastTime : try timeOfLast(entries, scan.lastValid)
            )
        )
    }

    /// Reads what was found, up to the last valid record.
    func reader(of found: Found, alarm: @escaping @Sendable (LogError) -> Void) -> LogReader {
        let listing = SegmentListing(storage: storage, directory: directory)
        guard case .log(let tail) = found else {
            return LogReader(catalog: SegmentCatalog([], listing), end: { .zero }, alarm: alarm)
        }
        // From memory, because recovery will cut the file.
        let newest = WrittenSegment(header: tail.newest.header, region: tail.region)
        let end = tail.scan.lastValid
        return LogReader(catalog: SegmentCatalog(tail.entries, listing, loaded: newest), end: { end }, alarm: alarm)
    }

    /// Makes the log what `examine` decided it is.
    func perform(_ found: Found) throws(LogError) -> Result {
        // Files that were never part of the log.
        try removeTemporaries()
        return switch found {
        case .nothing: try createLog()
        case .log(let tail): try continueLog(tail)
        }
    }

    private func removeTemporaries() throws(LogError) {
        for name in try storage.list(directory) where name.hasSuffix(LogPath.temporarySuffix) {
            try storage.remove(directory + "/" + name)
        }
    }

    private func createLog() throws(LogError) -> Result {
        let start = NewSegment(
            number: 1,
            logID: LogID.random(),
            link: .zero,
            base: LogPosition(1),
            frontier: MerkleFrontier(),
            grown: MerkleFrontier(),
            frames: []
        )
        let (entry, writer, catalog) = try begin(start, after: [])
        var report = RecoveryReport()
        report.created = true
        return Result(
            logID: entry.header.logID,
            report: report,
            catalog: catalog,
            durable: .zero,
            lastTime: 0,
            writer: writer
        )
    }

    private func continueLog(_ tail: Tail) throws(LogError) -> Result {
        let (newest, scan, bytes) = (tail.newest, tail.scan, tail.region.bytes)
        defer { withExtendedLifetime(tail.region) {} }
        var report = RecoveryReport()
        report.recoveredThrough = scan.lastValid
        if scan.facts.action == .quarantineAndRewrite { try Quarantine(self).keep(newest, scan, bytes) }
        report.discarded = try Quarantine(self).pending()

        let unproven = scan.unproven
        report.rewritten = unproven.reduce(0) { $0 + Int($1.header.last.rawValue - $1.header.first.rawValue) + 1 }
        let start = NewSegment(
            number: newest.header.number + 1,
            logID: newest.header.logID,
            link: unproven.first?.header.link ?? scan.walk.link,
            base: LogPosition(tail.proven.size + 1),
            frontier: tail.proven,
            grown: tail.all,
            frames: unproven.map { SegmentWalk.frame(bytes, $0.block) }
        )
        let (_, writer, catalog) = try begin(start, after: tail.entries)
        try retire(newest, scan, keeping: LogPosition(tail.proven.size))
        return Result(
            logID: newest.header.logID,
            report: report,
            catalog: catalog,
            durable: scan.lastValid,
            lastTime: tail.lastTime,
            writer: writer
        )
    }

    private func timeOf(_ last: LogPosition, _ header: SegmentHeader, _ bytes: UnsafeRawBufferPointer) -> UInt64? {
        var time: UInt64?
        for group in TailScan(header, bytes).groups where group.header.last >= last {
            _ = SegmentWalk.forEachRecord(SegmentWalk.frame(bytes, group.block), group.header) { record in
                if record.position == last { time = record.time }
            }
        }
        return time
    }

    /// What is proven durable ends where a group ends: a log is written so, and is divided there.
    private func checkSplit(
        _ newest: SegmentCatalog.Entry,
        _ scan: TailScan,
        _ proven: MerkleFrontier
    ) throws(LogError) {
        let claimed = max(scan.provenThrough.rawValue, newest.header.base.rawValue - 1)
        guard proven.size == claimed else {
            throw LogError(
                .corrupt,
                "segment \(LogPath.segment(newest.header.number)) says that positions up to \(claimed) are durable, where no "
                    + "group ends; nothing was changed. Restore it from a backup"
            )
        }
    }

    /// The newest file may hold no record yet; time must not run backwards for that.
    private func timeOfLast(_ entries: [SegmentCatalog.Entry], _ last: LogPosition) throws(LogError) -> UInt64 {
        if last == .zero { return 0 }
        for entry in entries.dropLast().reversed() where entry.header.base <= last {
            let time = try storage.readAll(entry.path, limit: SegmentHeader.sizeMax).withUnsafeBytes {
                entry.header.isSealed ? SealedFooter($0)?.timeOf(last) : timeOf(last, entry.header, $0)
            }
            guard let time else { break }
            return time
        }
        throw LogError(.corrupt, "the record at position \(last) is damaged; run waybill verify")
    }

    private func refusal(_ newest: SegmentCatalog.Entry, _ scan: TailScan) -> LogError {
        LogError(
            .corrupt,
            "segment \(LogPath.segment(newest.header.number)) is damaged at offset \(scan.walk.offset): \(scan.reason ?? "cut off"); "
                + "positions \(scan.walk.expected) to \(scan.provenThrough) were acknowledged and are missing. "
                + "Nothing was changed. waybill verify and replay still work; to go on, restore from a backup, or run waybill salvage"
        )
    }

    /// The tree before and after the unproven groups, and the time of the last record.
    private func replayDigests(
        _ header: SegmentHeader,
        _ scan: TailScan,
        _ bytes: UnsafeRawBufferPointer
    )
        -> (proven: MerkleFrontier, all: MerkleFrontier, lastTime: UInt64)
    {
        var frontier = header.frontier
        var proven = frontier
        var lastTime: UInt64 = 0
        for group in scan.groups {
            _ = SegmentWalk.forEachRecord(SegmentWalk.frame(bytes, group.block), group.header) { record in
                frontier.append(entry: record.storedDigest)
                lastTime = record.time
            }
            if group.header.last <= scan.provenThrough { proven = frontier }
        }
        return (proven, frontier, lastTime)
    }

    // MARK: Segments

    private struct NewSegment {
        let number: UInt64
        let logID: LogID
        let link: Digest
        let base: LogPosition
        let frontier: MerkleFrontier
        /// The tree with the frames.
        let grown: MerkleFrontier
        let frames: [UnsafeRawBufferPointer]
    }

    /// Cuts the old newest segment to what it still owns, once the new one has its name. One that owns nothing keeps its
    /// header: a gap in the numbers would look like a lost file.
    private func retire(_ newest: SegmentCatalog.Entry, _ scan: TailScan, keeping: LogPosition) throws(LogError) {
        let owned = scan.groups.last { $0.header.last <= keeping }
        let file = try storage.open(newest.path, .readWrite)
        try file.truncate(to: owned.map { $0.block.offset + $0.block.alignedSize } ?? Block.size)
        try file.sync()
    }

    /// Makes the new segment, with the surviving frames in it, and gives it its name.
    private func begin(
        _ start: NewSegment,
        after entries: [SegmentCatalog.Entry]
    ) throws(LogError) -> (SegmentCatalog.Entry, SegmentWriter, SegmentCatalog) {
        let copied = start.frames.reduce(0) { $0 + Block.alignedSize(frame: $1.count) }
        let size = max(configuration.segmentBytes, copied + 4 * Block.size)
        let folder = try storage.openDirectory(directory)
        let segment = try SegmentPreparer(storage: storage, directory: directory, size: size).prepare()
        let last = start.frames.last.flatMap { GroupHeader($0)?.last } ?? LogPosition(start.base.rawValue - 1)
        var header = SegmentHeader(
            number: start.number,
            base: start.base,
            nonce: segment.nonce,
            size: size,
            durableThrough: last,
            logID: start.logID,
            link: start.link,
            frontier: start.frontier
        )
        header.isBegunByOpening = true
        var offset = Block.size
        var link = start.link
        for frame in start.frames {
            offset = try copy(frame, into: segment, at: offset, durableThrough: LogPosition(start.base.rawValue - 1))
            link = GroupHeader.linkValue(of: frame)
        }
        let path = try SegmentWriter.name(segment, header, storage: storage, directory: directory, folder: folder)
        let entry = SegmentCatalog.Entry(header: header, path: path)
        let catalog = SegmentCatalog(entries + [entry], SegmentListing(storage: storage, directory: directory))
        let writer = SegmentWriter(
            segment: segment,
            number: start.number,
            offset: offset,
            link: link,
            markedThrough: last,
            frontier: start.grown,
            storage: storage,
            directory: directory,
            folder: folder,
            logID: start.logID,
            catalog: catalog
        )
        return (entry, writer, catalog)
    }

    private func copy(
        _ frame: UnsafeRawBufferPointer,
        into segment: PreparedSegment,
        at offset: Int,
        durableThrough: LogPosition
    ) throws(LogError) -> Int {
        let block = Block(
            nonce: segment.nonce,
            durableThrough: durableThrough,
            offset: offset,
            frameCount: frame.count
        )
        var bytes = [UInt8](repeating: 0, count: block.alignedSize)
        bytes.withUnsafeMutableBytes { output in
            block.encode(into: output)
            let room = Block.headerSize..<(Block.headerSize + frame.count)
            UnsafeMutableRawBufferPointer(rebasing: output[room]).copyMemory(from: frame)
        }
        try segment.file.writeAll(bytes, at: offset)
        return offset + bytes.count
    }
}
