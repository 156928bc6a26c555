/// A log opened for reading beside a writer, or without one. Takes no lock and changes nothing.
package struct ReadOnlyLog: Sendable {
    package let reader: LogReader
    package let id: LogID?
    package let end: LogPosition
    /// Whether a writer holds the directory now.
    package let hasWriter: Bool

    /// - Parameter isSalvage: take what can be read although segments are missing or their headers damaged.
    /// - Throws: `notFound` when there is no log, `corrupt` when segment headers are damaged.
    package init(
        directory: String,
        isSalvage: Bool = false,
        storage: any Storage = PosixStorage()
    ) throws(LogError) {
        // The status page first: whatever it says is durable lies in a segment that exists by now.
        hasWriter = DirectoryLock.isHeld(path: directory + "/" + LogPath.lock)
        let published = hasWriter ? StatusPage.read(directory + "/" + LogPath.status) : nil
        let listing = SegmentListing(storage: storage, directory: directory)
        let entries = isSalvage ? try listing.loadReadable() : try listing.load()
        guard let newest = entries.last else {
            throw LogError(.notFound, "there is no log in \(directory); check --data")
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
            let loaded = try ReadOnlyLog.load(newest, storage: storage)
            end = loaded.end
            catalog = SegmentCatalog(entries, listing, loaded: loaded.segment)
        }
        self.end = end
        id = newest.header.logID
        reader = LogReader(catalog: catalog, end: { end })
    }

    private static func end(of sealed: SegmentCatalog.Entry, storage: any Storage) throws(LogError) -> LogPosition {
        let bytes = try storage.readAll(sealed.path, limit: SegmentHeader.sizeMax)
        // Without its end the file is of no use here, but the ones before it are.
        return bytes.withUnsafeBytes { SealedFooter($0)?.last } ?? LogPosition(sealed.header.base.rawValue - 1)
    }

    /// Without a writer the valid prefix is what there is; the next writer decides about the rest, and cuts the file. So
    /// the newest segment is read into memory.
    private static func load(
        _ newest: SegmentCatalog.Entry,
        storage: any Storage
    ) throws(LogError) -> (segment: WrittenSegment, end: LogPosition) {
        let bytes = try storage.readAll(newest.path)
        return bytes.withUnsafeBytes { buffer in
            let segment = WrittenSegment(header: newest.header, region: MappedRegion(copying: buffer))
            return (segment, TailScan(newest.header, buffer).lastValid)
        }
    }
}
