/// The one thread that writes and syncs: takes what waits, lays it into segments, syncs once, tells who waited.
///
/// While one fdatasync runs, the next group fills; there is no timer. Only this thread touches the fields below.
struct SegmentWriter: Sendable {
    private(set) var segment: PreparedSegment
    private(set) var number: UInt64
    private(set) var offset: Int
    private(set) var link: Digest
    private(set) var markedThrough: LogPosition
    /// The tree of everything written.
    private(set) var frontier: MerkleFrontier
    private let storage: any Storage
    private let directory: String
    /// Open for as long as the log is, so that a roll needs no descriptor that might not be there.
    private let folder: any StorageDirectory
    private let logID: LogID
    private let catalog: SegmentCatalog

    init(
        segment: PreparedSegment,
        number: UInt64,
        offset: Int,
        link: Digest,
        markedThrough: LogPosition,
        frontier: MerkleFrontier,
        storage: any Storage,
        directory: String,
        folder: any StorageDirectory,
        logID: LogID,
        catalog: SegmentCatalog
    ) {
        self.segment = segment
        self.number = number
        self.offset = offset
        self.link = link
        self.markedThrough = markedThrough
        self.frontier = frontier
        self.storage = storage
        self.directory = directory
        self.folder = folder
        self.logID = logID
        self.catalog = catalog
    }

    /// Writes the groups and makes them durable.
    ///
    /// - Parameter wait: told why a segment cannot have its name now; true to try again.
    mutating func write(
        _ groups: [GroupBuffer],
        durable: LogPosition,
        wait: (LogError) -> Bool
    ) throws(LogError) {
        var durable = durable
        var unsynced = false
        for group in groups {
            group.waitUntilFilled()
            if let next = group.opens {
                // The header claims that everything before the file is durable, so it must be.
                if unsynced { try segment.file.sync() }
                durable = LogPosition(group.first.rawValue - 1)
                try roll(to: next, base: group.first, durable: durable, wait: wait)
            }
            try write(group, durable: durable)
            unsynced = true
        }
        try segment.file.sync()
    }

    private mutating func write(_ group: GroupBuffer, durable: LogPosition) throws(LogError) {
        let (block, nextLink) = group.finish(
            nonce: segment.nonce,
            offset: offset,
            durableThrough: durable,
            link: link,
            logID: logID
        )
        precondition(offset + block.count <= segment.size, "the plan put a group beyond its segment")
        try segment.file.write(block, at: offset)
        offset += block.count
        link = nextLink
        group.forEachDigest { frontier.append(entry: $0) }
    }

    /// Writes a durable mark: from here on, losing what lies before it is recognised as corruption.
    mutating func writeMark(_ durable: LogPosition) throws(LogError) {
        guard offset + Block.size <= segment.size else { return }
        var page = [UInt8](repeating: 0, count: Block.size)
        page.withUnsafeMutableBytes { bytes in
            Block(nonce: segment.nonce, durableThrough: durable, offset: offset, frameCount: 0).encode(into: bytes)
        }
        try segment.file.writeAll(page, at: offset)
        try segment.file.sync()
        offset += Block.size
        markedThrough = durable
    }

    /// What the kernel sees: write header, fdatasync, rename, fsync of the directory.
    private mutating func roll(
        to next: PreparedSegment,
        base: LogPosition,
        durable: LogPosition,
        wait: (LogError) -> Bool
    ) throws(LogError) {
        let header = SegmentHeader(
            number: number + 1,
            base: base,
            nonce: next.nonce,
            size: next.size,
            durableThrough: durable,
            logID: logID,
            link: link,
            frontier: frontier
        )
        let path = try SegmentWriter.name(
            next,
            header,
            storage: storage,
            directory: directory,
            folder: folder,
            wait: wait
        )
        catalog.add(SegmentCatalog.Entry(header: header, path: path))
        segment = next
        number += 1
        offset = Block.size
    }

    /// Gives a prepared file its header and its name, durably.
    static func name(
        _ segment: PreparedSegment,
        _ header: SegmentHeader,
        storage: any Storage,
        directory: String,
        folder: any StorageDirectory,
        wait: (LogError) -> Bool = { _ in false }
    ) throws(LogError) -> String {
        try segment.file.writeAll(header.encode(), at: 0)
        try segment.file.sync()
        let path = directory + "/" + LogPath.segment(header.number)
        while true {
            do throws(LogError) {
                try storage.renameNew(segment.path, to: path)
                break
            } catch {
                // Until the file has its name nothing has happened that anybody could see.
                guard error.isTransient, wait(error) else { throw error }
            }
        }
        try folder.sync()
        return path
    }
}
