/// What a verification knows while it goes from segment to segment, and what it checks of every record.
struct VerifierState {
    var report = LogVerifier.Report()
    private var frontier = MerkleFrontier()
    private var lastTime: UInt64 = 0
    private var past: PastRoots
    /// Whether records are missing, so that the tree says nothing until the next segment names it anew.
    private var isTreeBroken = false
    private let visit: (RecordView) -> Void
    private var foundIn: (segment: UInt64, count: Int) = (0, 0)
    /// Findings that are listed of one segment.
    private static let findingsMax = 1000

    init(_ checkpoints: [Checkpoint], _ visit: @escaping (RecordView) -> Void) {
        past = PastRoots(checkpoints)
        self.visit = visit
        past.check(frontier)
    }

    /// For the check of some segments only: takes the tree before the first of them from its header.
    init(from header: SegmentHeader) {
        self.init([]) { _ in }
        frontier = header.frontier
    }

    /// Checks the bytes of one segment.
    ///
    /// - Parameters:
    ///   - next: the header of the segment that follows, if one does.
    ///   - isNewest: whether it is the last one; else `next` is nil only because the next header is damaged.
    ///   - limit: check no further than this position, because a writer is at work beyond it.
    mutating func check(
        _ header: SegmentHeader,
        next: SegmentHeader?,
        isNewest: Bool,
        limit: LogPosition?,
        _ bytes: UnsafeRawBufferPointer
    ) {
        if header.isSealed {
            var check = SealedCheck(header, next: next)
            check.run(bytes, into: &self)
        } else {
            WrittenCheck(header, next: next, isNewest: isNewest, limit: limit).run(bytes, into: &self)
        }
        report.segments += 1
        report.bytes += bytes.count
    }

    /// Goes on with a segment, whose header must name the tree that came out of the ones before.
    mutating func begin(_ header: SegmentHeader) {
        guard frontier != header.frontier || isTreeBroken else { return }
        if !isTreeBroken {
            find(header, 0, nil, "the tree before this segment is not the one its header names")
        }
        isTreeBroken = false
        frontier = header.frontier
        past.jump(to: frontier)
    }

    mutating func check(_ record: RecordView, in group: GroupHeader, _ header: SegmentHeader, _ offset: Int) {
        if let problem = problem(of: record, in: group) {
            find(header, offset, record.position.rawValue...record.position.rawValue, problem)
        }
        lastTime = record.time
        if !isTreeBroken {
            frontier.append(entry: record.storedDigest)
            if frontier.size == past.nextSize { past.check(frontier) }
        }
        visit(record)
    }

    private func problem(of record: RecordView, in group: GroupHeader) -> String? {
        if record.computedDigest != record.storedDigest { return "the entry digest is wrong" }
        if record.time <= lastTime { return "time does not increase" }
        if !record.padding.isZero { return "padding is not zero" }
        if record.position == group.first, record.time != group.firstTime {
            return "the group names another time for it"
        }
        if !record.sealed.isEmpty, !SealedSection.isOne(record.sealed) { return "the sealed section is not one" }
        return nil
    }

    /// A segment whose header cannot be read.
    mutating func missHeader(_ found: SegmentListing.Found, _ error: LogError) {
        report.findings.append(
            LogVerifier.Finding(
                segment: found.number,
                file: found.file,
                offset: 0,
                positions: nil,
                problem: error.message
            )
        )
        isTreeBroken = true
    }

    /// Records that had been acknowledged are not there.
    mutating func miss(_ header: SegmentHeader, _ offset: Int, _ from: LogPosition, _ to: LogPosition, _ reason: String)
    {
        let range = from.rawValue...max(from.rawValue, to.rawValue)
        find(header, offset, range, "acknowledged records are missing: \(reason)")
        isTreeBroken = true
    }

    mutating func find(_ header: SegmentHeader, _ offset: Int, _ positions: ClosedRange<UInt64>?, _ problem: String) {
        // A file can have more wrong with it than memory should hold.
        if foundIn.segment != header.number { foundIn = (header.number, 0) }
        foundIn.count += 1
        if foundIn.count > VerifierState.findingsMax { return }
        let problem = foundIn.count == VerifierState.findingsMax ? "there is more, which is not listed" : problem
        report.findings.append(
            LogVerifier.Finding(
                segment: header.number,
                file: header.fileName,
                offset: offset,
                positions: positions,
                problem: problem
            )
        )
    }

    /// - Parameter newest: the header of the last segment.
    func finish(_ newest: SegmentHeader?) -> LogVerifier.Report {
        var report = self.report
        report.last = LogPosition(frontier.size)
        report.records = frontier.size
        report.root = frontier.root
        if let newest { report.findings += past.findings(in: newest, last: report.last) }
        return report
    }
}
