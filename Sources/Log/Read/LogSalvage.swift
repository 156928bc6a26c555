extension LogReader {
    /// As `scan`, but goes on behind damage: where a group, pack or segment does not match its checksum, it gives what
    /// is whole in it.
    ///
    /// - Parameter gap: told of every run of positions that cannot be read, and why, in order.
    package func salvage(
        from first: LogPosition,
        through last: LogPosition,
        _ body: (RecordView) throws -> Void,
        gap: (ClosedRange<UInt64>, LogError) throws -> Void
    ) throws {
        let last = min(last, end)
        var position = max(first, LogPosition(1))
        while position <= last {
            var next = position
            do {
                return try scan(from: position, through: last) { record in
                    try body(record)
                    next = record.position.next
                }
            } catch let error as LogError where error.code == .corrupt {
                // Whatever a damaged file says comes next, it must be further on.
                position = min(max(readable(after: next), next.next), last.next)
                try rescue(next.rawValue...(position.rawValue - 1), body) { try gap($0, error) }
            }
        }
    }

    /// Gives what is whole among damaged positions of one segment, and names the others.
    private func rescue(
        _ positions: ClosedRange<UInt64>,
        _ body: (RecordView) throws -> Void,
        gap: (ClosedRange<UInt64>) throws -> Void
    ) throws {
        var next = positions.lowerBound
        try forEachWhole(in: positions) { record in
            let found = record.position.rawValue
            if found > next { try gap(next...(found - 1)) }
            try body(record)
            next = found + 1
        }
        if next <= positions.upperBound { try gap(next...positions.upperBound) }
    }

    /// One record of a place where something is damaged, if it is whole itself.
    func rescued(_ position: LogPosition) -> StoredRecord? {
        var found: StoredRecord?
        forEachWhole(in: position.rawValue...position.rawValue) { found = StoredRecord($0) }
        return found
    }

    private func forEachWhole(
        in positions: ClosedRange<UInt64>,
        _ body: (RecordView) throws -> Void
    ) rethrows {
        let first = LogPosition(positions.lowerBound)
        guard let (segment, end) = try? catalog.segment(holding: first) else { return }
        // What the next file took over, or discarded, may still stand in this one.
        let last = min(positions.upperBound, end.map { $0.rawValue - 1 } ?? positions.upperBound)
        guard last >= positions.lowerBound else { return }
        defer { withExtendedLifetime(segment) {} }
        let owned = positions.lowerBound...last
        switch segment {
        case .written(let segment):
            try WholeRecords.forEach(in: segment.bytes(around: owned), owned, body)
        case .sealed(let segment):
            let buffer = ReusedBuffer()
            defer { withExtendedLifetime(buffer) {} }
            guard let parts = segment.parts(of: first, into: buffer) else { return }
            try WholeRecords.forEach(envelopes: parts.envelopes, sealed: parts.sealed, owned, body)
        }
    }

    /// Where the file or the next one says that the group, pack or segment of a damaged position ends.
    private func readable(after position: LogPosition) -> LogPosition {
        let segment = try? catalog.segment(holding: position)?.segment
        switch segment {
        case .written(let segment):
            if let first = segment.groupFirst(after: position) { return first }
        case .sealed(let segment):
            if let pack = segment.pack(of: position), pack + 1 < segment.packCount { return segment.first(pack + 1) }
        case nil: break
        }
        let later = catalog.entries.first { $0.header.base > position }
        return later?.header.base ?? max(end, position).next
    }
}
