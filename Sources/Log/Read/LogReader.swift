/// Reads durable records through maps of the segment files. Many may read at once; none blocks the writer.
package struct LogReader: Sendable {
    let catalog: SegmentCatalog
    private let endOfLog: @Sendable () -> LogPosition
    private let alarm: @Sendable (LogError) -> Void

    /// - Parameter alarm: told of damage that a read met, beside the error that its caller gets.
    init(
        catalog: SegmentCatalog,
        end: @escaping @Sendable () -> LogPosition,
        alarm: @escaping @Sendable (LogError) -> Void = { _ in }
    ) {
        self.catalog = catalog
        endOfLog = end
        self.alarm = alarm
    }

    /// How many unpacked packs of sealed segments are kept for the next read of a single record.
    package var packsInMemory: Int { catalog.packs.count }

    /// The last position that can be read.
    package var end: LogPosition { endOfLog() }

    /// The Merkle tree of everything before the newest segment, as that one's header names it.
    var treeBeforeNewest: MerkleFrontier { catalog.entries.last?.header.frontier ?? MerkleFrontier() }

    /// Calls `body` for each record from `first` through `last` (or the end), in order, without copying.
    ///
    /// - Throws: `corrupt` when a group does not match its checksum, and whatever `body` throws.
    package func scan(
        from first: LogPosition,
        through last: LogPosition? = nil,
        _ body: (RecordView) throws -> Void
    ) throws {
        do {
            try scanSegments(from: first, through: min(last ?? end, end), body)
        } catch let error as LogError {
            if error.code == .corrupt { alarm(error) }
            throw error
        }
    }

    private func scanSegments(
        from first: LogPosition,
        through: LogPosition,
        _ body: (RecordView) throws -> Void
    ) throws {
        var position = max(first, LogPosition(1))
        let buffer = ReusedBuffer()
        defer { withExtendedLifetime(buffer) {} }
        while position <= through {
            guard let (segment, end) = try catalog.segment(holding: position) else { throw damaged(position) }
            // What the next file took over may still stand here, if a crash kept this one from being cut.
            let last = end.map { min(through, LogPosition($0.rawValue - 1)) } ?? through
            // A sealer may let go of it meanwhile, and then this is all that keeps the map.
            defer { withExtendedLifetime(segment) {} }
            switch segment {
            case .written(let segment): position = try scan(segment, from: position, through: last, body)
            case .sealed(let segment): position = try scan(segment, from: position, through: last, buffer, body)
            }
        }
    }

    /// Reads on until the segment ends; returns the next position to read.
    private func scan(
        _ segment: WrittenSegment,
        from first: LogPosition,
        through: LogPosition,
        _ body: (RecordView) throws -> Void
    ) throws -> LogPosition {
        guard var offset = segment.blockOffset(of: first) else { throw damaged(first) }
        var position = first
        while position <= through, let (block, frame) = wholeBlock(segment, at: offset) {
            offset += block.alignedSize
            guard block.frameCount > 0 else { continue }
            guard let group = GroupHeader(frame),
                group.bodyChecksum == Checksum.crc32c(frame, GroupHeader.size..<frame.count),
                group.first <= position, group.last >= position
            else { throw damaged(position, segment.header, block.offset) }
            let whole = try SegmentWalk.forEachRecord(frame, group) { record in
                if record.position >= first, record.position <= through { try body(record) }
            }
            guard whole else { throw damaged(position, segment.header, block.offset) }
            position = group.last.next
        }
        // The next segment goes on; when it does not, `scan` finds no block there and says so.
        if position == first { throw damaged(position, segment.header, offset) }
        return position
    }

    /// The same for a sealed segment, one pack in memory at a time.
    private func scan(
        _ segment: SealedSegment,
        from first: LogPosition,
        through: LogPosition,
        _ buffer: ReusedBuffer,
        _ body: (RecordView) throws -> Void
    ) throws -> LogPosition {
        guard let start = segment.pack(of: first) else { throw damaged(first, segment.header) }
        var position = first
        for index in start..<segment.packCount where position <= through {
            let pack = try segment.unpack(index, into: buffer)
            guard pack.header.first <= position, pack.header.last >= position else {
                throw damaged(position, segment.header, pack.header.offset)
            }
            try forEachRecord(pack, segment) { record in
                if record.position >= first, record.position <= through { try body(record) }
            }
            position = pack.header.last.next
        }
        return position
    }

    private func forEachRecord(
        _ pack: UnpackedPack,
        _ segment: SealedSegment,
        _ body: (RecordView) throws -> Void
    ) throws {
        var walk = PackWalk(pack)
        while true {
            switch walk.next() {
            case .group: continue
            case .record(let record): try body(record)
            case .end: return
            case .invalid: throw damaged(pack.header.first, segment.header, pack.header.offset)
            }
        }
    }

    /// One record, copied, its own digest checked.
    package func record(at position: LogPosition) throws(LogError) -> StoredRecord {
        guard position >= LogPosition(1), position <= end else {
            throw LogError(.notFound, "there is no record at position \(position)")
        }
        do {
            return try find(position)
        } catch {
            guard error.code == .corrupt else { throw error }
            alarm(error)
            // What is damaged may be something else that lies there too.
            guard let record = rescued(position) else { throw error }
            return record
        }
    }

    private func find(_ position: LogPosition) throws(LogError) -> StoredRecord {
        guard let (segment, _) = try catalog.segment(holding: position) else { throw damaged(position) }
        let found =
            switch segment {
            case .written(let segment): find(position, in: segment)
            case .sealed(let segment): try find(position, in: segment)
            }
        guard let found else { throw damaged(position) }
        return found
    }

    private func find(_ position: LogPosition, in segment: WrittenSegment) -> StoredRecord? {
        guard let offset = segment.blockOffset(of: position), let (_, frame) = wholeBlock(segment, at: offset) else {
            return nil
        }
        var cursor = GroupHeader.size
        while let record = RecordView(frame, at: cursor) {
            if record.position == position { return checked(record) }
            cursor += record.length
        }
        return nil
    }

    private func find(_ position: LogPosition, in segment: SealedSegment) throws(LogError) -> StoredRecord? {
        guard let index = segment.pack(of: position) else { return nil }
        return try catalog.packs.pack(index, of: segment).withPack { pack in
            var walk = PackWalk(pack)
            while true {
                switch walk.next() {
                case .group: continue
                case .record(let record): if record.position == position { return checked(record) }
                case .end, .invalid: return nil
                }
            }
        }
    }

    private func checked(_ record: RecordView) -> StoredRecord? {
        record.computedDigest == record.storedDigest ? StoredRecord(record) : nil
    }

    /// The first position whose time is not before `time` (UTC nanoseconds); one past the end when all are older.
    package func position(atOrAfter time: UInt64) throws(LogError) -> LogPosition {
        let end = self.end
        let segments = catalog.entries.filter { $0.header.base <= end }
        // The last segment that begins before the time; what is wanted lies there or opens the next one.
        let after = try partitionPoint(segments.count) { (index) throws(LogError) in
            try timeOfFirst(segments[index]) < time
        }
        guard after > 0 else { return LogPosition(1) }
        let last = after < segments.count ? LogPosition(segments[after].header.base.rawValue - 1) : end
        return try search(time, in: try catalog.open(segments[after - 1]), through: last)
    }

    /// The time of the first record from a segment on; one that owns nothing is like the next one.
    private func timeOfFirst(_ entry: SegmentCatalog.Entry) throws(LogError) -> UInt64 {
        if case .sealed(let segment) = try catalog.open(entry), let time = segment.firstTime { return time }
        var found: UInt64?
        try firstWhole(from: entry.header.base, through: end) { record in
            found = record.time
            return true
        }
        guard let found else { throw damaged(entry.header.base) }
        return found
    }

    /// Reads on, around damage, until somebody has enough.
    private func firstWhole(
        from first: LogPosition,
        through last: LogPosition,
        _ isEnough: (RecordView) -> Bool
    ) throws(LogError) {
        struct Enough: Error {}
        do {
            try salvage(from: first, through: last) {
                if isEnough($0) { throw Enough() }
            } gap: { _, _ in
            }
        } catch let error as LogError {
            throw error
        } catch {
            // The reading was left on purpose.
        }
    }

    /// The first position at or after `time` in a segment that begins before it and ends with `last`.
    private func search(
        _ time: UInt64,
        in segment: ReadableSegment,
        through last: LogPosition
    ) throws(LogError) -> LogPosition {
        let first: LogPosition? =
            switch segment {
            case .written(let segment): segment.groupFirst(before: time, through: last)
            case .sealed(let segment): segment.pack(before: time).map { segment.first($0) }
            }
        var found: LogPosition?
        guard let first else { throw damaged(last) }
        try firstWhole(from: first, through: last) { record in
            guard record.time >= time else { return false }
            found = record.position
            return true
        }
        return found ?? last.next
    }

    /// Nil unless a block starts at `offset` and all of it lies in the file, which somebody may have cut.
    func wholeBlock(_ segment: WrittenSegment, at offset: Int) -> (Block, UnsafeRawBufferPointer)? {
        let bytes = segment.region.bytes
        guard let block = Block(bytes, at: offset, nonce: segment.header.nonce),
            block.alignedSize <= bytes.count - offset
        else { return nil }
        return (block, SegmentWalk.frame(bytes, block))
    }

    private func damaged(_ position: LogPosition, _ header: SegmentHeader? = nil, _ offset: Int = 0) -> LogError {
        let place = header.map { " in segment \($0.number) near offset \(offset)" } ?? ""
        return LogError(.corrupt, "position \(position)\(place) is damaged; run waybill verify")
    }
}
