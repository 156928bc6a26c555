/// Compares the tree with earlier checkpoints while it grows.
struct PastRoots {
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

    func findings(in newest: SegmentHeader, last: LogPosition) -> [LogVerifier.Finding] {
        func finding(
            _ from: UInt64,
            _ checkpoint: Checkpoint,
            _ problem: String,
            isCompared: Bool = true
        ) -> LogVerifier.Finding {
            let first = max(1, from)
            return LogVerifier.Finding(
                segment: newest.number,
                file: newest.fileName,
                offset: 0,
                positions: first...max(first, checkpoint.size),
                problem: problem,
                checkpoint: isCompared ? checkpoint : nil
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
                "the history cannot be compared with the checkpoint at \($0.size), because of damage before it",
                isCompared: false
            )
        }
        return rewritten + cut + unknown
    }
}
