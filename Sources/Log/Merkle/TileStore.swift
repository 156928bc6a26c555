import Synchronization

/// The Merkle tree of a log for whoever asks for parts of it: proofs in logarithmic time, and tiles.
///
/// It keeps the root of every 256 entries (a *span*, 32 bytes each), of every 256 spans, and so on, in memory, and the
/// spans in a file. Single entries are read from the log. The file is a cache: before anything of it is used, the tree it
/// leads to is compared with the one that the newest segment's header names.
///
/// Hashing happens outside the lock, so that nobody who asks waits for a long history to be hashed.
package final class TileStore: Sendable {
    /// Entries under one span.
    package static let span: UInt64 = 256
    /// So many missing spans are hashed for whoever asks; with more, the answer is to come again.
    private static let missingMax = 256

    private struct State: Sendable {
        var isLoaded = false
        var tree = SpanTree()
        /// How many spans the file has.
        var stored = 0
        /// What the spans must lead to before anyone is told of them; nil once they have.
        var expected: MerkleFrontier?
    }

    private let reader: LogReader
    private let file: TileFile?
    private let state = Mutex(State())

    /// - Parameter file: where spans outlive the process; nil to keep them in memory only.
    package init(_ reader: LogReader, file: TileFile?) {
        self.reader = reader
        self.file = file
    }

    // MARK: Hashing

    /// Hashes up to `steps` more spans of those that `size` entries fill. Returns whether all are there.
    package func advance(to size: UInt64, steps: Int = .max) throws -> Bool {
        let wanted = Int(size / TileStore.span)
        let count = state.withLock { state in
            load(&state)
            return state.tree.count
        }
        let target = count + min(steps, max(0, wanted - count))
        let fresh = try hash(count..<target)
        let toCheck = state.withLock { state -> (SpanTree, MerkleFrontier)? in
            // Somebody else may have been faster.
            if state.tree.count == count {
                for span in fresh { state.tree.append(span) }
            }
            guard let expected = state.expected, UInt64(state.tree.count) >= expected.size / TileStore.span else {
                return nil
            }
            return (state.tree, expected)
        }
        if let (tree, expected) = toCheck { try confirm(tree, expected) }
        store()
        return state.withLock { $0.expected == nil && $0.tree.count >= wanted }
    }

    /// The roots of the spans with these numbers.
    private func hash(_ numbers: Range<Int>) throws -> [Digest] {
        if numbers.isEmpty { return [] }
        var roots: [Digest] = []
        var frontier = MerkleFrontier()
        let first = LogPosition(UInt64(numbers.lowerBound) * TileStore.span + 1)
        try reader.scan(from: first, through: LogPosition(UInt64(numbers.upperBound) * TileStore.span)) { record in
            frontier.append(entry: record.storedDigest)
            if frontier.size == TileStore.span {
                roots.append(frontier.root)
                frontier = MerkleFrontier()
            }
        }
        return roots
    }

    private func load(_ state: inout State) {
        if state.isLoaded { return }
        state.isLoaded = true
        let known = reader.treeBeforeNewest
        let spans = file?.load(most: Int(known.size / TileStore.span)) ?? []
        if spans.isEmpty { return }
        state.expected = known
        state.stored = spans.count
        for span in spans { state.tree.append(span) }
    }

    /// Takes what came from the file when it leads to the tree that the log names; else forgets all.
    private func confirm(_ tree: SpanTree, _ expected: MerkleFrontier) throws {
        let isRight = try frontier(of: 0..<expected.size, in: tree) == expected
        state.withLock { state in
            guard state.expected != nil else { return }
            state.expected = nil
            if isRight { return }
            state.tree = SpanTree()
            state.stored = 0
        }
    }

    /// A disk that takes no more costs time after the next start, nothing else.
    private func store() {
        guard let file else { return }
        let (tree, stored) = state.withLock { state in (state.expected == nil ? state.tree : SpanTree(), state.stored) }
        guard tree.count > stored, (try? file.store(tree.spans, from: stored)) != nil else { return }
        state.withLock { $0.stored = max($0.stored, tree.count) }
    }

    // MARK: Asking

    /// The tree as far as `size` entries need it.
    ///
    /// - Throws: `overloaded` while more is missing than can be hashed for one who asks.
    private func tree(for size: UInt64) throws -> SpanTree {
        let wanted = Int(size / TileStore.span)
        let (tree, isConfirmed) = state.withLock { state in
            load(&state)
            return (state.tree, state.expected == nil)
        }
        if isConfirmed, tree.count >= wanted { return tree }
        guard isConfirmed, wanted - tree.count <= TileStore.missingMax, try advance(to: size) else {
            throw LogError(.overloaded, "the tree of earlier records is still being hashed; try again")
        }
        return state.withLock { $0.tree }
    }

    /// The root over a range of entries that is a subtree of the whole tree, or its right edge.
    package func root(of range: Range<UInt64>) throws -> Digest {
        try frontier(of: range, in: try tree(for: range.upperBound)).root
    }

    private func frontier(of range: Range<UInt64>, in tree: SpanTree) throws -> MerkleFrontier {
        var frontier = MerkleFrontier()
        var next = range.lowerBound
        while let (root, height) = tree.largest(at: next, within: range) {
            frontier.append(subtree: root, height: height)
            next += 1 << UInt64(height)
        }
        if next < range.upperBound {
            try reader.scan(from: LogPosition(next + 1), through: LogPosition(range.upperBound)) {
                frontier.append(entry: $0.storedDigest)
            }
        }
        return frontier
    }

    /// The bytes of a tile or bundle of a tree of `size` entries; nil where that tree has fewer hashes or entries there.
    ///
    /// - Throws: as `root`.
    package func tile(_ path: TilePath, size: UInt64) throws -> [UInt8]? {
        let level = path.level ?? 0
        // Entries under one hash of this level; 2^64 and more has no log.
        let hashes = level * 8 < 64 ? size >> UInt64(level * 8) : 0
        guard case let (first, false) = path.index.multipliedReportingOverflow(by: 256), hashes >= first,
            hashes - first >= UInt64(path.width)
        else { return nil }
        let numbers = first..<(first + UInt64(path.width))
        switch path.level {
        case nil: return try entries(numbers)
        case 0: return try leaves(numbers)
        default: return try tree(for: size).roots(level: level, numbers).flatMap(\.bytes)
        }
    }

    private func leaves(_ numbers: Range<UInt64>) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try reader.scan(from: LogPosition(numbers.lowerBound + 1), through: LogPosition(numbers.upperBound)) {
            bytes += MerkleFrontier.leaf($0.storedDigest).bytes
        }
        return bytes
    }

    /// Each entry with its length before it, 16 bits, big-endian.
    private func entries(_ numbers: Range<UInt64>) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try reader.scan(from: LogPosition(numbers.lowerBound + 1), through: LogPosition(numbers.upperBound)) {
            bytes += [0, UInt8(Digest.size)] + $0.storedDigest.bytes
        }
        return bytes
    }
}

/// The roots of all complete subtrees of 256, 256², … entries, in order.
struct SpanTree: Sendable {
    /// By level: `levels[0]` are the spans.
    private var levels: [[Digest]] = [[]]

    var spans: [Digest] { levels[0] }
    var count: Int { levels[0].count }

    mutating func append(_ span: Digest) {
        var level = 0
        levels[0].append(span)
        while levels[level].count % 256 == 0 {
            var frontier = MerkleFrontier()
            for root in levels[level].suffix(256) { frontier.append(subtree: root, height: 8 * (level + 1)) }
            level += 1
            if level == levels.count { levels.append([]) }
            levels[level].append(frontier.root)
        }
    }

    /// The largest kept subtree that begins with entry `start` and lies in `range`; the place within the range must allow
    /// it too, as it does in the ranges of RFC 6962.
    func largest(at start: UInt64, within range: Range<UInt64>) -> (root: Digest, height: Int)? {
        for level in levels.indices.reversed() {
            let height = 8 * (level + 1)
            let index = start >> UInt64(height)
            guard index << UInt64(height) == start, index < UInt64(levels[level].count),
                range.upperBound - start >= 1 << UInt64(height),
                (start - range.lowerBound) & ((1 << UInt64(height)) - 1) == 0
            else { continue }
            return (levels[level][Int(index)], height)
        }
        return nil
    }

    /// Hashes of a tile of level 1 and up.
    func roots(level: Int, _ numbers: Range<UInt64>) -> ArraySlice<Digest> {
        levels[level - 1][Int(numbers.lowerBound)..<Int(numbers.upperBound)]
    }
}

/// The file of a `TileStore`: magic "WBTREE01", log id (16), zeros (8), then hashes of 32 bytes. Never synced: what is
/// wrong in it is noticed and made anew.
package struct TileFile: Sendable {
    package static let name = "tree"
    private static let magic = [UInt8]("WBTREE01".utf8)
    private static let headerSize = 32
    private let storage: any Storage
    private let directory: String
    private let id: LogID
    private let isReadOnly: Bool

    /// - Parameter isReadOnly: for readers beside a writer, who may profit from the file but must not touch it.
    package init(directory: String, id: LogID, isReadOnly: Bool, storage: any Storage = PosixStorage()) {
        self.directory = directory
        self.id = id
        self.isReadOnly = isReadOnly
        self.storage = storage
    }

    private var path: String { directory + "/" + TileFile.name }

    private var header: [UInt8] { TileFile.magic + id.bytes + [UInt8](repeating: 0, count: 8) }

    /// The first hashes of the file, at most `most`; none when the file is not one of this log.
    package func load(most count: Int) -> [Digest] {
        guard let file = try? storage.open(path, .read), let size = try? file.size else { return [] }
        let wanted = min(size, TileFile.headerSize + count * Digest.size)
        var bytes = [UInt8](repeating: 0, count: max(0, wanted))
        let read = bytes.withUnsafeMutableBytes { try? file.read(into: $0, at: 0) }
        guard read == bytes.count, bytes.starts(with: header) else { return [] }
        return bytes.withUnsafeBytes { bytes in
            stride(from: TileFile.headerSize, through: bytes.count - Digest.size, by: Digest.size).map {
                Digest(bytes, at: $0)
            }
        }
    }

    /// Writes the hashes from number `start` on; from 0 on it begins the file anew.
    func store(_ hashes: [Digest], from start: Int) throws(LogError) {
        guard !isReadOnly, start < hashes.count else { return }
        let exists = try storage.list(directory).contains(TileFile.name)
        let file = try storage.open(path, exists ? .readWrite : .create)
        if start == 0 {
            try file.truncate(to: 0)
            try file.writeAll(header, at: 0)
        }
        let bytes = hashes[start...].flatMap(\.bytes)
        try file.writeAll(bytes, at: TileFile.headerSize + start * Digest.size)
    }
}
