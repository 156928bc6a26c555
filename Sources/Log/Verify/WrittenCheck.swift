/// The check of a written segment.
struct WrittenCheck {
    private let header: SegmentHeader
    private let next: SegmentHeader?
    private let isNewest: Bool
    private let limit: LogPosition?

    init(_ header: SegmentHeader, next: SegmentHeader?, isNewest: Bool, limit: LogPosition?) {
        self.header = header
        self.next = next
        self.isNewest = isNewest
        self.limit = limit
    }

    /// The last position this segment must hold, when something says so.
    private var owed: LogPosition? { next.map { LogPosition($0.base.rawValue - 1) } ?? limit }

    func run(_ bytes: UnsafeRawBufferPointer, into state: inout VerifierState) {
        // An older one may have been cut, but nothing makes a file longer.
        if bytes.count > header.size || (isNewest && bytes.count != header.size) {
            state.find(header, bytes.count, nil, "the file is not \(header.size) bytes long")
        }
        var walk = SegmentWalk(header)
        while owed.map({ walk.expected <= $0 }) ?? true {
            let offset = walk.offset
            switch walk.next(bytes) {
            case .group(let group, let block): check(group, block, bytes, &state)
            case .mark(let block): checkPadding(bytes, from: block.offset + Block.headerSize, block, &state)
            case .end:
                if let owed { state.miss(header, offset, walk.expected, owed, "the segment ends") }
                return
            case .invalid(let reason):
                return stopped(bytes, walk, reason, &state)
            }
        }
        if let next, next.link != walk.link {
            state.find(header, walk.offset, nil, "segment \(next.number) does not link to the last group of this one")
        }
        checkRest(bytes, walk, &state)
    }

    private func check(
        _ group: GroupHeader,
        _ block: Block,
        _ bytes: UnsafeRawBufferPointer,
        _ state: inout VerifierState
    ) {
        let whole = SegmentWalk.forEachRecord(SegmentWalk.frame(bytes, block), group) { record in
            state.check(record, in: group, header, block.offset)
        }
        let range = group.first.rawValue...group.last.rawValue
        if !whole { state.find(header, block.offset, range, "the group's body is not the records it claims") }
        if block.durableThrough >= group.first {
            state.find(header, block.offset, range, "the block calls its own group durable")
        }
        checkPadding(bytes, from: block.offset + Block.headerSize + block.frameCount, block, &state)
    }

    private func checkPadding(
        _ bytes: UnsafeRawBufferPointer,
        from start: Int,
        _ block: Block,
        _ state: inout VerifierState
    ) {
        let padding = bytes[start..<(block.offset + block.alignedSize)]
        if !UnsafeRawBufferPointer(rebasing: padding).isZero {
            state.find(header, start, nil, "bytes between blocks are not zero")
        }
    }

    private func stopped(
        _ bytes: UnsafeRawBufferPointer,
        _ walk: SegmentWalk,
        _ reason: String,
        _ state: inout VerifierState
    ) {
        let scan = TailScan(header, bytes)
        let lost = max(owed ?? .zero, scan.provenThrough)
        if walk.expected <= lost {
            state.miss(header, walk.offset, walk.expected, lost, reason)
        } else if scan.facts.rest == .bytes {
            state.report.unjudgedTailBytes = bytes.count - walk.offset
        }
    }

    /// What lies behind the last position this segment owns: zeros, durable marks, or blocks that the next file took over.
    private func checkRest(
        _ bytes: UnsafeRawBufferPointer,
        _ walk: SegmentWalk,
        _ state: inout VerifierState
    ) {
        guard next != nil else { return }
        checkSecondHistory(bytes, from: walk.offset, &state)
        var walk = walk
        while true {
            let offset = walk.offset
            switch walk.next(bytes) {
            case .group, .mark: continue
            case .end: return
            case .invalid:
                let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
                let superseded = next?.isBegunByOpening ?? false
                if !rest.isZero && !superseded {
                    state.find(header, offset, nil, "bytes after the last block are not zero")
                }
                return
            }
        }
    }

    /// Whether somebody went on writing to this file after the next one had begun.
    func checkSecondHistory(_ bytes: UnsafeRawBufferPointer, from start: Int, _ state: inout VerifierState) {
        guard let next, let trace = SecondHistory.trace(in: bytes, of: header, end: next.base, from: start) else {
            return
        }
        state.find(
            header,
            trace.offset,
            next.base.rawValue...trace.through.rawValue,
            "two histories: a second process wrote segment \(next.number) while this file was still written to, and what was "
                + "confirmed from here on is not part of the log. Keep a copy of the directory before anything else, for the "
                + "records are only in this file"
        )
    }
}
