/// Checks every byte of a log: headers, checksums, order, links, digests, padding, and the tree from file to file.
///
/// Independent of recovery's decisions: it reports what it finds and changes nothing.
package struct LogVerifier {
    /// One thing that is not as it should be.
    package struct Finding: Sendable, Equatable {
        package let segment: UInt64
        package let offset: Int
        /// The positions that are affected, as far as they can be told.
        package let positions: ClosedRange<UInt64>?
        package let problem: String
    }

    package struct Report: Sendable {
        package var findings: [Finding] = []
        package var records: UInt64 = 0
        package var segments = 0
        package var bytes = 0
        package var last = LogPosition.zero
        package var root = Digest.zero
        /// Bytes after the last valid group of the newest segment that no writer has judged yet.
        package var unjudgedTailBytes = 0
    }

    /// The name of a segment's file, for findings.
    package static func fileName(_ segment: UInt64) -> String { LogPath.segment(segment) }

    private let storage: any Storage
    private let directory: String
    private let limit: LogPosition?
    private let checkpoints: [Checkpoint]

    /// - Parameters:
    ///   - limit: check no further than this position, because a writer is at work beyond it.
    ///   - checkpoints: what the log was at earlier times; it must still have had these roots at these sizes.
    package init(
        directory: String,
        limit: LogPosition? = nil,
        checkpoints: [Checkpoint] = [],
        storage: any Storage = PosixStorage()
    ) {
        self.directory = directory
        self.limit = limit
        self.checkpoints = checkpoints
        self.storage = storage
    }

    /// - Parameters:
    ///   - progress: told of each segment: its index, and how many there are.
    ///   - visit: given every record that can be read, so that nobody need read the log a second time.
    package func run(
        progress: (Int, Int) -> Void = { _, _ in },
        visit: (RecordView) -> Void = { _ in }
    ) throws(LogError) -> Report {
        var report = Report()
        var frontier = MerkleFrontier()
        var past = PastRoots(checkpoints)
        past.check(frontier)
        var lastTime: UInt64 = 0
        let entries = try SegmentListing(storage: storage, directory: directory).load()
        for (index, entry) in entries.enumerated() {
            progress(index, entries.count)
            let next = index + 1 < entries.count ? entries[index + 1].header : nil
            if let next, next.base == entry.header.base { continue }
            let bytes = try storage.readAll(entry.path)
            bytes.withUnsafeBytes { buffer in
                var check = SegmentCheck(
                    entry.header,
                    next: next,
                    limit: limit,
                    frontier: frontier,
                    lastTime: lastTime,
                    past: past
                )
                check.run(buffer, into: &report, visit)
                frontier = check.frontier
                lastTime = check.lastTime
                past = check.past
            }
            report.segments += 1
            report.bytes += bytes.count
        }
        report.last = LogPosition(frontier.size)
        report.records = frontier.size
        report.root = frontier.root
        report.findings += past.findings(in: entries.last?.header.number ?? 0, last: report.last)
        return report
    }
}

/// The check of one segment.
private struct SegmentCheck {
    let header: SegmentHeader
    let next: SegmentHeader?
    let limit: LogPosition?
    var frontier: MerkleFrontier
    var lastTime: UInt64
    var past: PastRoots

    init(
        _ header: SegmentHeader,
        next: SegmentHeader?,
        limit: LogPosition?,
        frontier: MerkleFrontier,
        lastTime: UInt64,
        past: PastRoots
    ) {
        self.header = header
        self.next = next
        self.limit = limit
        self.frontier = frontier
        self.lastTime = lastTime
        self.past = past
    }

    /// The last position this segment must hold, when something says so.
    private var owed: LogPosition? { next.map { LogPosition($0.base.rawValue - 1) } ?? limit }

    mutating func run(
        _ bytes: UnsafeRawBufferPointer,
        into report: inout LogVerifier.Report,
        _ visit: (RecordView) -> Void
    ) {
        if frontier != header.frontier {
            report.findings.append(finding(0, nil, "the tree before this segment is not the one its header names"))
            frontier = header.frontier
            past.jump(to: frontier)
        }
        if next == nil, bytes.count != header.size {
            report.findings.append(finding(bytes.count, nil, "the file is not \(header.size) bytes long"))
        }
        var walk = SegmentWalk(header)
        while owed.map({ walk.expected <= $0 }) ?? true {
            let offset = walk.offset
            switch walk.next(bytes) {
            case .group(let group, let block): check(group, block, bytes, &report, visit)
            case .mark(let block): checkPadding(bytes, from: block.offset + Block.headerSize, block, &report)
            case .end:
                if let owed { report.findings.append(missing(offset, walk.expected, owed, "the segment ends")) }
                return
            case .invalid(let reason):
                return stopped(bytes, walk, reason, &report)
            }
        }
        checkRest(bytes, walk, &report)
    }

    private mutating func check(
        _ group: GroupHeader,
        _ block: Block,
        _ bytes: UnsafeRawBufferPointer,
        _ report: inout LogVerifier.Report,
        _ visit: (RecordView) -> Void
    ) {
        let frame = SegmentWalk.frame(bytes, block)
        var problem: (LogPosition, String)?
        let whole = SegmentWalk.forEachRecord(frame, group) { record in
            if record.computedDigest != record.storedDigest { problem = (record.position, "the entry digest is wrong") }
            if record.time <= lastTime { problem = (record.position, "time does not increase") }
            if !record.padding.isZero { problem = (record.position, "padding is not zero") }
            if record.position == group.first, record.time != group.firstTime {
                problem = (record.position, "the group names another time for it")
            }
            if !record.sealed.isEmpty, SealedSection(record.sealed) == nil {
                problem = (record.position, "the sealed section is not one")
            }
            lastTime = record.time
            frontier.append(entry: record.storedDigest)
            if frontier.size == past.nextSize { past.check(frontier) }
            visit(record)

        }
        if let (position, text) = problem {
            report.findings.append(finding(block.offset, position.rawValue...position.rawValue, text))
        }
        if !whole {
            let range = group.first.rawValue...group.last.rawValue
            report.findings.append(finding(block.offset, range, "the group's body is not the records it claims"))
        }
        if block.durableThrough >= group.first {
            let range = group.first.rawValue...group.last.rawValue
            report.findings.append(finding(block.offset, range, "the block calls its own group durable"))
        }
        checkPadding(bytes, from: block.offset + Block.headerSize + block.frameCount, block, &report)
    }

    private func checkPadding(
        _ bytes: UnsafeRawBufferPointer,
        from start: Int,
        _ block: Block,
        _ report: inout LogVerifier.Report
    ) {
        let padding = bytes[start..<(block.offset + block.alignedSize)]
        if !UnsafeRawBufferPointer(rebasing: padding).isZero {
            report.findings.append(finding(start, nil, "bytes between blocks are not zero"))
        }
    }

    private func stopped(
        _ bytes: UnsafeRawBufferPointer,
        _ walk: SegmentWalk,
        _ reason: String,
        _ report: inout LogVerifier.Report
    ) {
        let scan = TailScan(header, bytes)
        let lost = max(owed ?? .zero, scan.provenThrough)
        if walk.expected <= lost {
            report.findings.append(missing(walk.offset, walk.expected, lost, reason))
        } else if scan.facts.rest == .bytes {
            report.unjudgedTailBytes = bytes.count - walk.offset
        }
    }

    /// What lies behind the last position this segment owns: zeros, durable marks, or blocks that the next file took over.
    private func checkRest(
        _ bytes: UnsafeRawBufferPointer,
        _ walk: SegmentWalk,
        _ report: inout LogVerifier.Report
    ) {
        guard next != nil else { return }
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
                    report.findings.append(finding(offset, nil, "bytes after the last block are not zero"))
                }
                return
            }
        }
    }

    private func missing(_ offset: Int, _ from: LogPosition, _ to: LogPosition, _ reason: String) -> LogVerifier.Finding
    {
        finding(offset, from.rawValue...max(from.rawValue, to.rawValue), "acknowledged records are missing: \(reason)")
    }

    private func finding(_ offset: Int, _ positions: ClosedRange<UInt64>?, _ problem: String) -> LogVerifier.Finding {
        LogVerifier.Finding(segment: header.number, offset: offset, positions: positions, problem: problem)
    }
}

/// Compares the tree with earlier checkpoints while it grows.
private struct PastRoots {
    private var waiting: [Checkpoint]
    private var broken: [Checkpoint] = []
    /// Their place was passed over because of damage, so that nothing can be said of them.
    private var skipped: [Checkpoint] = []

    init(_ checkpoints: [Checkpoint]) { waiting = checkpoints.sorted { $0.size > $1.size } }

    /// The size at which the tree is to be looked at next.
    var nextSize: UInt64? { waiting.last?.size }

    mutating func check(_ frontier: MerkleFrontier) {
        while let checkpoint = waiting.last, checkpoint.size == frontier.size {
            waiting.removeLast()
            if checkpoint.root != frontier.root { broken.append(checkpoint) }
        }
    }

    /// Goes on behind damage, from what the next segment says of the tree.
    mutating func jump(to frontier: MerkleFrontier) {
        while let checkpoint = waiting.last, checkpoint.size < frontier.size {
            skipped.append(checkpoint)
            waiting.removeLast()
        }
        check(frontier)
    }

    func findings(in segment: UInt64, last: LogPosition) -> [LogVerifier.Finding] {
        func finding(_ from: UInt64, _ checkpoint: Checkpoint, _ problem: String) -> LogVerifier.Finding {
            let first = max(1, from)
            return LogVerifier.Finding(
                segment: segment,
                offset: 0,
                positions: first...max(first, checkpoint.size),
                problem: problem
            )
        }
        let rewritten = broken.map {
            finding(1, $0, "the history is not the one of the checkpoint at \($0.size): it was rewritten")
        }
        let cut = waiting.map {
            let from = last.rawValue < $0.size ? last.rawValue + 1 : 1
            return finding(from, $0, "the log ends before the checkpoint at \($0.size): records are missing")
        }
        let unknown = skipped.map {
            finding(
                1,
                $0,
                "the history cannot be compared with the checkpoint at \($0.size), because of damage before it"
            )
        }
        return rewritten + cut + unknown
    }
}
