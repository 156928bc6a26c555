extension LogReader {
    /// As `scan`, but goes on behind damage, with the next group, pack or segment that can be found.
    ///
    /// - Parameter gap: told of every run of positions that cannot be read, and why, in order.
    package func salvage(
        from first: LogPosition,
        through last: LogPosition,
        _ body: (RecordView) throws -> Void,
        gap: (ClosedRange<UInt64>, LogError) -> Void
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
                gap(next.rawValue...(position.rawValue - 1), error)
            }
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
