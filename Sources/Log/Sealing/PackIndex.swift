/// Where the packs of a sealed segment lie: as its table says, or, where table or footer are damaged, as the packs themselves
/// say, each of which names its place and its positions.
struct PackIndex: Sendable {
    private enum Source: Sendable {
        case table(SealedFooter)
        /// What was found, and where the last pack ends.
        case packs([PackEntry], end: Int)
    }

    private let source: Source
    /// The last position.
    let last: LogPosition

    init(_ header: SegmentHeader, _ file: UnsafeRawBufferPointer) {
        if file.count == header.size, let footer = SealedFooter(file), footer.last.rawValue >= header.base.rawValue - 1
        {
            source = .table(footer)
            last = footer.last
            return
        }
        var entries: [PackEntry] = []
        var next = header.base
        var (offset, end) = (Block.size, Block.size)
        while file.count - offset >= PackHeader.size {
            guard file.integer(offset, as: UInt32.self) == PackHeader.magic,
                let pack = PackHeader(file, at: offset, before: file.count), pack.first >= next
            else {
                offset += 1
                continue
            }
            entries.append(PackEntry(pack))
            next = pack.last.next
            offset += pack.wholeCount
            end = offset
        }
        source = .packs(entries, end: end)
        last = LogPosition(next.rawValue - 1)
    }

    var count: Int {
        switch source {
        case .table(let footer): footer.packCount
        case .packs(let entries, _): entries.count
        }
    }

    func entry(_ number: Int, of file: UnsafeRawBufferPointer) -> PackEntry {
        switch source {
        case .table(let footer): footer.entry(number, of: file)
        case .packs(let entries, _): entries[number]
        }
    }

    /// The header of a pack; nil when it does not stand there.
    func pack(_ entry: PackEntry, of file: UnsafeRawBufferPointer) -> PackHeader? {
        PackHeader(file, at: entry.offset, before: end).flatMap { PackEntry($0) == entry ? $0 : nil }
    }

    private var end: Int {
        switch source {
        case .table(let footer): footer.tableOffset
        case .packs(_, let end): end
        }
    }

    /// From one pack to the next, clamped to the file.
    func bytes(of number: Int, in file: UnsafeRawBufferPointer) -> Range<Int> {
        let start = min(max(Block.size, entry(number, of: file).offset), end)
        let next = number + 1 < count ? entry(number + 1, of: file).offset : end
        return start..<min(max(start, next), end)
    }
}
