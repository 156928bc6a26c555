import Synchronization

/// A segment as it can be read.
enum ReadableSegment: Sendable {
    case written(WrittenSegment)
    case sealed(SealedSegment)
}

/// The segments of a log, in order, for whoever reads. The writer adds one before any of its positions becomes durable.
final class SegmentCatalog: Sendable {
    struct Entry: Sendable {
        let header: SegmentHeader
        let path: String
    }

    private struct State: Sendable {
        var entries: [Entry]
        var open: [UInt64: ReadableSegment] = [:]
    }

    let packs = PackCache()
    private let listing: SegmentListing
    private let state: Mutex<State>

    /// - Parameter loaded: a segment that is read from memory, because its file may be cut at any time.
    init(_ entries: [Entry], _ listing: SegmentListing, loaded: WrittenSegment? = nil) {
        self.listing = listing
        var state = State(entries: entries)
        if let loaded { state.open[loaded.header.number] = .written(loaded) }
        self.state = Mutex(state)
    }

    var entries: [Entry] { state.withLock { $0.entries } }

    func add(_ entry: Entry) { state.withLock { $0.entries.append(entry) } }

    /// Readers that come from now on read the sealed file. Who has mapped the original keeps it until done.
    func replace(with sealed: Entry) {
        state.withLock { state in
            guard let index = state.entries.firstIndex(where: { $0.header.number == sealed.header.number }) else {
                return
            }
            state.entries[index] = sealed
            state.open[sealed.header.number] = nil
        }
    }

    /// The first written segment that another one follows, and where that one begins.
    func firstUnsealed(except excluded: Set<UInt64>) -> (entry: Entry, end: LogPosition)? {
        state.withLock { state in
            for (entry, next) in zip(state.entries, state.entries.dropFirst())
            where !entry.header.isSealed && !excluded.contains(entry.header.number) {
                return (entry, next.header.base)
            }
            return nil
        }
    }

    /// Maps the segment that holds `position`, or the last one at or before it.
    func segment(holding position: LogPosition) throws(LogError) -> (segment: ReadableSegment, end: LogPosition?)? {
        let found = state.withLock { state -> (Entry, LogPosition?)? in
            // Entries are ordered by base: the last whose base is not beyond the position.
            let after = state.entries.partitionPoint { $0.header.base <= position }
            guard after > 0 else { return nil }
            let end = after < state.entries.count ? state.entries[after].header.base : nil
            return (state.entries[after - 1], end)
        }
        guard let (entry, end) = found else { return nil }
        return (try open(entry), end)
    }

    func open(_ entry: Entry) throws(LogError) -> ReadableSegment {
        if let segment = state.withLock({ $0.open[entry.header.number] }) { return segment }
        let segment = try listing.withPresentName(entry, load)
        return state.withLock { state in
            // Two readers may have mapped it at once; one map is kept.
            if let first = state.open[entry.header.number] { return first }
            // Sealed since: this map must not keep the space of a file that is gone.
            let present = state.entries.first { $0.header.number == entry.header.number }
            if present?.path == entry.path { state.open[entry.header.number] = segment }
            return segment
        }
    }

    private func load(_ entry: Entry) throws(LogError) -> ReadableSegment {
        let file = try listing.storage.open(entry.path, .read)
        let size = try file.size
        guard size <= entry.header.size else {
            throw LogError(.corrupt, "\(entry.path) has \(size) bytes instead of \(entry.header.size)")
        }
        let region = try file.map(length: size)
        return entry.header.isSealed
            ? .sealed(SealedSegment(entry.header, region))
            : .written(WrittenSegment(header: entry.header, region: region))
    }
}

/// A mapped segment with an index of where its groups start, grown as far as somebody asked.
final class WrittenSegment: Sendable {
    private struct Index: Sendable {
        var walk: SegmentWalk
        var firsts: [LogPosition] = []
        var offsets: [UInt32] = []
        var times: [UInt64] = []
    }

    let header: SegmentHeader
    let region: MappedRegion
    private let index: Mutex<Index>

    init(header: SegmentHeader, region: MappedRegion) {
        self.header = header
        self.region = region
        index = Mutex(Index(walk: SegmentWalk(header)))
    }

    /// The offset of the block whose group holds `position`, which the caller knows to be durable.
    func blockOffset(of position: LogPosition) -> Int? {
        index.withLock { index in
            extend(&index, to: position)
            let after = index.firsts.partitionPoint { $0 <= position }
            return after > 0 ? Int(index.offsets[after - 1]) : nil
        }
    }

    /// The first position of the last group that begins before `time`, among those up to `last`, which is durable.
    func groupFirst(before time: UInt64, through last: LogPosition) -> LogPosition? {
        index.withLock { index in
            extend(&index, to: last)
            let after = index.times.partitionPoint { $0 < time }
            return after > 0 ? index.firsts[after - 1] : nil
        }
    }

    /// Where the next group behind the one of `position` begins, as far as headers tell, whatever is damaged between.
    func groupFirst(after position: LogPosition) -> LogPosition? {
        index.withLock { index in
            extend(&index, to: position)
            let after = index.firsts.partitionPoint { $0 <= position }
            if after < index.firsts.count { return index.firsts[after] }
            return index.walk.expected > position ? index.walk.expected : nil
        }
    }

    /// The bytes from the last group before some positions, or the one that holds the first of them, to the first group
    /// behind them, as far as headers tell.
    func bytes(around positions: ClosedRange<UInt64>) -> UnsafeRawBufferPointer {
        index.withLock { index in
            extend(&index, to: LogPosition(min(positions.upperBound, .max - 2) + 1))
            let before = index.firsts.partitionPoint { $0.rawValue <= positions.lowerBound }
            let behind = index.firsts.partitionPoint { $0.rawValue <= positions.upperBound }
            let start = before > 0 ? Int(index.offsets[before - 1]) : min(Block.size, region.count)
            let end = behind < index.offsets.count ? Int(index.offsets[behind]) : region.count
            return UnsafeRawBufferPointer(rebasing: region.bytes[start..<max(start, end)])
        }
    }

    /// The last position of the last group that can be found.
    var lastFound: LogPosition {
        index.withLock { index in
            extend(&index, to: LogPosition(.max - 1))
            return LogPosition(index.walk.expected.rawValue - 1)
        }
    }

    /// Bodies are not checked here: whoever reads a group checks what it reads. Nor is there an end to the index where the
    /// header of a group is damaged: what is asked for is durable, so what is whole behind the damage can be read.
    private func extend(_ index: inout Index, to position: LogPosition) {
        while index.walk.expected <= position {
            switch index.walk.next(region.bytes, checkBody: false) {
            case .group(let group, let block):
                index.firsts.append(group.first)
                index.offsets.append(UInt32(block.offset))
                index.times.append(group.firstTime)
            case .mark: continue
            case .invalid: guard index.walk.resume(region.bytes) else { return }
            case .end: return
            }
        }
    }
}
