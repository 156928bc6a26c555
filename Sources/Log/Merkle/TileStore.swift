import Synchronization

/// The Merkle tree of a log for whoever asks for parts of it: proofs in logarithmic time, and tiles.
///
/// It keeps the root of every 256 entries, 32 bytes each, in memory and in a file; everything below is read from the log,
/// everything above is hashed again when asked for. The file is a cache: what a crash or damage did to it is found by
/// comparing it with the tree that the newest segment's header names, and then it is made anew.
package final class TileStore: Sendable {
    /// Entries under one kept hash: a tile of level 0.
    package static let span: UInt64 = 256
    private static let spanHeight = 8

    private struct State: Sendable {
        var isLoaded = false
        /// Roots of the entries 0..<256, 256..<512, …
        var spans: [Digest] = []
        /// How many of them the file has.
        var stored = 0
    }

    private let reader: LogReader
    private let file: TileFile?
    private let state = Mutex(State())

    /// - Parameters:
    ///   - file: where hashes outlive the process; nil to keep them in memory only.
    package init(_ reader: LogReader, file: TileFile?) {
        self.reader = reader
        self.file = file
    }

    /// Hashes up to `steps` more spans of those that `size` entries fill. Returns whether all are done.
    package func advance(to size: UInt64, steps: Int = .max) throws -> Bool {
        try state.withLock { state in
            try load(&state)
            let wanted = Int(size / TileStore.span)
            let target = steps < wanted - state.spans.count ? state.spans.count + steps : wanted
            if state.spans.count < target { try extend(&state, to: target) }
            // A disk that takes no more costs time after the next start, nothing else.
            if (try? file?.store(state.spans, from: state.stored)) != nil { state.stored = state.spans.count }
            return state.spans.count >= wanted
        }
    }

    private func extend(_ state: inout State, to count: Int) throws {
        let first = UInt64(state.spans.count) * TileStore.span
        let last = UInt64(count) * TileStore.span
        var frontier = MerkleFrontier()
        try reader.scan(from: LogPosition(first + 1), through: LogPosition(last)) { record in
            frontier.append(entry: record.storedDigest)
            if frontier.size == TileStore.span {
                state.spans.append(frontier.root)
                frontier = MerkleFrontier()
            }
        }
    }

    /// Takes from the file what the log's own headers confirm.
    private func load(_ state: inout State) throws {
        if state.isLoaded { return }
        state.isLoaded = true
        let known = reader.treeBeforeNewest
        let spans = file?.load(most: Int(known.size / TileStore.span)) ?? []
        guard spans.count == Int(known.size / TileStore.span), !spans.isEmpty else { return }
        var frontier = MerkleFrontier()
        for span in spans { frontier.append(subtree: span, height: TileStore.spanHeight) }
        if frontier.size < known.size {
            try reader.scan(from: LogPosition(frontier.size + 1), through: LogPosition(known.size)) {
                frontier.append(entry: $0.storedDigest)
            }
        }
        guard frontier == known else { return }
        state.spans = spans
        state.stored = spans.count
    }

    /// The root over a range of entries that is a subtree of the whole tree, or its right edge.
    package func root(of range: Range<UInt64>) throws -> Digest {
        _ = try advance(to: range.upperBound)
        var frontier = MerkleFrontier()
        var next = range.lowerBound
        if next % TileStore.span == 0 {
            state.withLock { state in
                while range.upperBound - next >= TileStore.span, next / TileStore.span < UInt64(state.spans.count) {
                    frontier.append(subtree: state.spans[Int(next / TileStore.span)], height: TileStore.spanHeight)
                    next += TileStore.span
                }
            }
        }
        if next < range.upperBound {
            try reader.scan(from: LogPosition(next + 1), through: LogPosition(range.upperBound)) {
                frontier.append(entry: $0.storedDigest)
            }
        }
        return frontier.root
    }

    /// The bytes of a tile or bundle of a tree of `size` entries; nil where that tree has fewer hashes or entries there.
    package func tile(_ path: TilePath, size: UInt64) throws -> [UInt8]? {
        let level = path.level ?? 0
        // Entries under one hash of this level.
        let unit = (0..<level).reduce(UInt64(1)) { unit, _ in unit.multipliedReportingOverflow(by: 256).partialValue }
        guard unit > 0, case let (first, false) = path.index.multipliedReportingOverflow(by: 256),
            size / unit >= first, size / unit - first >= UInt64(path.width)
        else { return nil }
        guard path.level != nil else { return try entries(first, path.width) }
        if level == 0 { return try leaves(first, path.width) }
        return try (first..<(first + UInt64(path.width))).flatMap {
            try root(of: ($0 * unit)..<(($0 + 1) * unit)).bytes
        }
    }

    private func leaves(_ first: UInt64, _ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try reader.scan(from: LogPosition(first + 1), through: LogPosition(first + UInt64(count))) {
            bytes += MerkleFrontier.leaf($0.storedDigest).bytes
        }
        return bytes
    }

    /// Each entry with its length before it, 16 bits, big-endian.
    private func entries(_ first: UInt64, _ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try reader.scan(from: LogPosition(first + 1), through: LogPosition(first + UInt64(count))) {
            bytes += [0, UInt8(Digest.size)] + $0.storedDigest.bytes
        }
        return bytes
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
    func load(most count: Int) -> [Digest] {
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
