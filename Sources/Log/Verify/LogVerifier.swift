/// Checks every byte of a log: headers, checksums, order, links, digests, padding, and the tree from file to file.
///
/// Independent of recovery's decisions: it reports what it finds and changes nothing.
package struct LogVerifier {
    /// One thing that is not as it should be.
    package struct Finding: Sendable, Equatable {
        package let segment: UInt64
        /// The name of the segment's file.
        package let file: String
        package let offset: Int
        /// The positions that are affected, as far as they can be told.
        package let positions: ClosedRange<UInt64>?
        package let problem: String
        /// The checkpoint that the log does not agree with, where the finding is about one.
        package var checkpoint: Checkpoint?
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
        visit: @escaping (RecordView) -> Void = { _ in }
    ) throws(LogError) -> Report {
        var state = VerifierState(checkpoints, visit)
        let listing = SegmentListing(storage: storage, directory: directory)
        var segments = try listing.survey()
        let buffer = ReusedBuffer()
        defer { withExtendedLifetime(buffer) {} }
        var last: SegmentCatalog.Entry?
        var index = 0
        while index < segments.count {
            progress(index, segments.count)
            switch segments[index].header {
            case .failure(let error): state.missHeader(segments[index], error)
            case .success(let entry):
                let (read, bytes) = try listing.read(entry, into: buffer)
                let isNewest = index + 1 == segments.count
                if isNewest, read.header.isSealed, !entry.header.isSealed {
                    // A writer went on to another segment and sealed this one meanwhile: look again for what follows.
                    segments = try listing.survey()
                    continue
                }
                // Behind a header that cannot be read nobody knows what ought to come.
                let isBehindDamage = index > 0 && last?.header.number != segments[index - 1].number
                let problem = isBehindDamage ? nil : listing.problem(with: read, after: last)
                if let problem { state.find(read.header, 0, nil, problem) }
                if isNewest, let problem = try listing.problem(withNewest: read) {
                    state.find(read.header, 0, nil, problem)
                }
                let next = isNewest ? nil : try? segments[index + 1].header.get().header
                let follows = next?.number == read.header.number + 1
                check(read, bytes, next: follows ? next : nil, isNewest: isNewest, &state)
                last = read
            }
            index += 1
        }
        return state.finish(last?.header)
    }

    private func check(
        _ entry: SegmentCatalog.Entry,
        _ bytes: UnsafeRawBufferPointer,
        next: SegmentHeader?,
        isNewest: Bool,
        _ state: inout VerifierState
    ) {
        if let next, next.base == entry.header.base, !entry.header.isSealed {
            // It owns nothing, but somebody may have gone on with it.
            let rest = WrittenCheck(entry.header, next: next, isNewest: false, limit: nil)
            return rest.checkSecondHistory(bytes, from: Block.size, &state)
        }
        state.begin(entry.header)
        state.check(entry.header, next: next, isNewest: isNewest, limit: isNewest ? limit : nil, bytes)
    }
}
