import Synchronization

/// The segments of a log, in order, for whoever reads. The writer adds one before any of its positions becomes durable.
final class SegmentCatalog: Sendable {
    struct Entry: Sendable {
        let header: SegmentHeader
        let path: String
    }

    private struct State: Sendable {
        var entries: [Entry]
        var open: [UInt64: OpenSegment] = [:]
    }

    private let storage: any Storage
    private let state: Mutex<State>

    /// - Parameter loaded: a segment that is read from memory, because its file may be cut at any time.
    init(_ entries: [Entry], storage: any Storage, loaded: OpenSegment? = nil) {
        self.storage = storage
        var state = State(entries: entries)
        if let loaded { state.open[loaded.header.number] = loaded }
        self.state = Mutex(state)
    }

    var entries: [Entry] { state.withLock { $0.entries } }

    func add(_ entry: Entry) { state.withLock { $0.entries.append(entry) } }

    /// Maps the segment that holds `position`, or the last one at or before it.
    func segment(holding position: LogPosition) throws(LogError) -> (segment: OpenSegment, end: LogPosition?)? {
        let found = state.withLock { state -> (Entry, LogPosition?)? in
            // Entries are ordered by base: the last whose base is not beyond the position.
            var low = 0
            var high = state.entries.count
            while low < high {
                let middle = (low + high) / 2
                if state.entries[middle].header.base <= position { low = middle + 1 } else { high = middle }
            }
            guard low > 0 else { return nil }
            let end = low < state.entries.count ? state.entries[low].header.base : nil
            return (state.entries[low - 1], end)
        }
        guard let (entry, end) = found else { return nil }
        return (try open(entry), end)
    }

    private func open(_ entry: Entry) throws(LogError) -> OpenSegment {
        if let segment = state.withLock({ $0.open[entry.header.number] }) { return segment }
        let file = try storage.open(entry.path, .read)
        let size = try file.size
        guard size <= entry.header.size else {
            throw LogError(
                .corrupt,
                "segment \(LogPath.segment(entry.header.number)) has \(size) bytes instead of \(entry.header.size)"
            )
        }
        let region = try file.map(length: size)
        let segment = OpenSegment(header: entry.header, region: region)
        return state.withLock { state in
            // Two readers may have mapped it at once; one map is kept.
            if let first = state.open[entry.header.number] { return first }
            state.open[entry.header.number] = segment
            return segment
        }
    }
}

/// A mapped segment with an index of where its groups start, grown as far as somebody asked.
final class OpenSegment: Sendable {
    private struct Index: Sendable {
        var walk: SegmentWalk
        var firsts: [LogPosition] = []
        var offsets: [UInt32] = []
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
            var low = 0
            var high = index.firsts.count
            while low < high {
                let middle = (low + high) / 2
                if index.firsts[middle] <= position { low = middle + 1 } else { high = middle }
            }
            return low > 0 ? Int(index.offsets[low - 1]) : nil
        }
    }

    /// Bodies are not checked here: whoever reads a group checks what it reads.
    private func extend(_ index: inout Index, to position: LogPosition) {
        while index.walk.expected <= position {
            switch index.walk.next(region.bytes, checkBody: false) {
            case .group(let group, let block):
                index.firsts.append(group.first)
                index.offsets.append(UInt32(block.offset))
            case .mark: continue
            case .end, .invalid: return
            }
        }
    }
}
