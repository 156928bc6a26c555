/// Reads durable records through maps of the segment files. Many may read at once; none blocks the writer.
package struct LogReader: Sendable {
    private let catalog: SegmentCatalog
    private let endOfLog: @Sendable () -> LogPosition

    init(catalog: SegmentCatalog, end: @escaping @Sendable () -> LogPosition) {
        self.catalog = catalog
        endOfLog = end
    }

    /// The last position that can be read.
    package var end: LogPosition { endOfLog() }

    /// Calls `body` for each record from `first` through `last` (or the end), in order, without copying.
    ///
    /// - Throws: `corrupt` when a group does not match its checksum, and whatever `body` throws.
    package func scan(
        from first: LogPosition,
        through last: LogPosition? = nil,
        _ body: (RecordView) throws -> Void
    ) throws {
        let through = min(last ?? end, end)
        var position = max(first, LogPosition(1))
        while position <= through {
            guard let (segment, end) = try catalog.segment(holding: position),
                let offset = segment.blockOffset(of: position)
            else { throw damaged(position) }
            // What the next file took over may still stand here, if a crash kept this one from being cut.
            let last = end.map { min(through, LogPosition($0.rawValue - 1)) } ?? through
            position = try scanSegment(segment, at: offset, from: position, through: last, body)
        }
    }

    /// Reads on from a block until the segment ends; returns the next position to read.
    private func scanSegment(
        _ segment: OpenSegment,
        at start: Int,
        from first: LogPosition,
        through: LogPosition,
        _ body: (RecordView) throws -> Void
    ) throws -> LogPosition {
        var offset = start
        var position = first
        while position <= through, let (block, frame) = wholeBlock(segment, at: offset) {
            offset += block.alignedSize
            guard block.frameCount > 0 else { continue }
            guard let group = GroupHeader(frame),
                group.bodyChecksum == Checksum.crc32c(frame, GroupHeader.size..<frame.count),
                group.first <= position, group.last >= position
            else { throw damaged(position, segment, block.offset) }
            let whole = try SegmentWalk.forEachRecord(frame, group) { record in
                if record.position >= first, record.position <= through { try body(record) }
            }
            guard whole else { throw damaged(position, segment, block.offset) }
            position = group.last.next
        }
        // The next segment goes on; when it does not, `scan` finds no block there and says so.
        if position == first { throw damaged(position, segment, offset) }
        return position
    }

    /// One record, copied, its own digest checked.
    package func record(at position: LogPosition) throws(LogError) -> StoredRecord {
        guard position >= LogPosition(1), position <= end else {
            throw LogError(.notFound, "there is no record at position \(position)")
        }
        guard let (segment, _) = try catalog.segment(holding: position),
            let offset = segment.blockOffset(of: position),
            let (_, frame) = wholeBlock(segment, at: offset)
        else { throw damaged(position) }
        var cursor = GroupHeader.size
        while let record = RecordView(frame, at: cursor) {
            if record.position == position {
                guard record.computedDigest == record.storedDigest else { throw damaged(position, segment, offset) }
                return StoredRecord(record)
            }
            cursor += record.bytes.count
        }
        throw damaged(position, segment, offset)
    }

    /// The first position whose time is not before `time` (UTC nanoseconds); one past the end when all are older.
    package func position(atOrAfter time: UInt64) throws(LogError) -> LogPosition {
        var low: UInt64 = 1
        var high = end.rawValue + 1
        while low < high {
            let middle = low + (high - low) / 2
            let found = try record(at: LogPosition(middle)).withView { $0.time }
            if found < time { low = middle + 1 } else { high = middle }
        }
        return LogPosition(low)
    }

    /// Nil unless a block starts at `offset` and all of it lies in the file, which somebody may have cut.
    private func wholeBlock(_ segment: OpenSegment, at offset: Int) -> (Block, UnsafeRawBufferPointer)? {
        let bytes = segment.region.bytes
        guard let block = Block(bytes, at: offset, nonce: segment.header.nonce),
            block.alignedSize <= bytes.count - offset
        else { return nil }
        return (block, SegmentWalk.frame(bytes, block))
    }

    private func damaged(_ position: LogPosition, _ segment: OpenSegment? = nil, _ offset: Int? = nil) -> LogError {
        let place = segment.map { " in segment \($0.header.number) near offset \(offset ?? 0)" } ?? ""
        return LogError(.corrupt, "position \(position)\(place) is damaged; run waybill verify")
    }
}
