/// A log opened for reading beside a writer, or without one. Takes no lock and changes nothing.
package struct ReadOnlyLog: Sendable {
    package let reader: LogReader
    package let id: LogID?
    package let end: LogPosition
    /// Whether a writer holds the directory now.
    package let hasWriter: Bool

    /// - Parameters:
    ///   - isSalvage: take what can be read although segments are missing or their headers damaged.
    ///   - isLocked: the caller has the writer's lock, and is to write next: what a start would refuse is refused here, unless
    ///     it is to be salvaged, where others would see a log that ends before the damage.
    /// - Throws: `notFound` when there is no log, `corrupt` when segment headers are damaged.
    package init(
        directory: String,
        isSalvage: Bool = false,
        isLocked: Bool = false,
        storage: any Storage = PosixStorage()
    ) throws(LogError) {
        // The status page first: whatever it says is durable lies in a segment that exists by now.
        hasWriter = !isLocked && DirectoryLock.isHeld(path: directory + "/" + LogPath.lock)
        let published = hasWriter ? StatusPage.read(directory + "/" + LogPath.status) : nil
        let listing = SegmentListing(storage: storage, directory: directory)
        let entries = isSalvage ? try listing.loadReadable() : try listing.load()
        guard let newest = entries.last else {
            throw LogError(.notFound, "there is no log in \(directory); check --data")
        }
        if isLocked, !isSalvage {
            let configuration = LogConfiguration()
            _ = try Recovery(storage: storage, directory: directory, configuration: configuration).examine()
        }
        let catalog: SegmentCatalog
        let end: LogPosition
        if let published {
            end = published
            catalog = SegmentCatalog(entries, listing)
        } else if newest.header.isSealed {
            // Only where the header of a later one cannot be read.
            catalog = SegmentCatalog(entries, listing)
            end = try ReadOnlyLog.end(of: newest, storage: storage)
        } else {
            let loaded = try ReadOnlyLog.load(newest, isSalvage, storage)
            end = loaded.end
            catalog = SegmentCatalog(entries, listing, loaded: loaded.segment)
        }
        self.end = end
        id = newest.header.logID
        reader = LogReader(catalog: catalog, end: { end })
    }

    /// The parts of the tree, with what the log's writer has hashed already.
    package func tiles(in directory: String) -> TileStore {
        TileStore(reader, file: id.map { TileFile(directory: directory, id: $0, isReadOnly: true) })
    }

    private static func end(of sealed: SegmentCatalog.Entry, storage: any Storage) throws(LogError) -> LogPosition {
        let bytes = try storage.readAll(sealed.path, limit: SegmentHeader.sizeMax)
        // Without its end the file is of no use here, but the ones before it are.
        return bytes.withUnsafeBytes { SealedFooter($0)?.last } ?? LogPosition(sealed.header.base.rawValue - 1)
    }

    /// Without a writer the valid prefix is what there is; the next writer decides about the rest, and cuts the file. So
    /// the newest segment is read into memory. Salvage goes on behind damage to what was durable, as far as anything is found.
    private static func load(
        _ newest: SegmentCatalog.Entry,
        _ isSalvage: Bool,
        _ storage: any Storage
    ) throws(LogError) -> (segment: WrittenSegment, end: LogPosition) {
        let segment = WrittenSegment(
            header: newest.header,
            region: try storage.load(newest.path, limit: SegmentHeader.sizeMax)
        )
        let scan = TailScan(newest.header, segment.region.bytes)
        guard isSalvage, scan.facts.provenLost else { return (segment, scan.lastValid) }
        // A block that claims the impossible must not make positions overflow.
        return (segment, max(min(scan.provenThrough, LogPosition(.max - 1)), segment.lastFound))
    }
}
