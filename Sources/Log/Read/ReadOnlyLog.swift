/// A log opened for reading beside a writer, or without one. Takes no lock and changes nothing.
package struct ReadOnlyLog: Sendable {
    package let reader: LogReader
    package let id: LogID?
    package let end: LogPosition
    /// Whether a writer holds the directory now.
    package let hasWriter: Bool

    /// - Throws: `notFound` when there is no log, `corrupt` when segment headers are damaged.
    package init(directory: String, storage: any Storage = PosixStorage()) throws(LogError) {
        // The status page first: whatever it says is durable lies in a segment that exists by now.
        hasWriter = DirectoryLock.isHeld(path: directory + "/" + LogPath.lock)
        let published = hasWriter ? StatusPage.read(directory + "/" + LogPath.status) : nil
        let entries = try SegmentListing(storage: storage, directory: directory).load()
        guard let newest = entries.last else {
            throw LogError(.notFound, "there is no log in \(directory); check --data")
        }
        let catalog = SegmentCatalog(entries, storage: storage)
        let end: LogPosition
        if let published { end = published } else { end = try ReadOnlyLog.validEnd(newest, storage: storage) }
        self.end = end
        id = newest.header.logID
        reader = LogReader(catalog: catalog, end: { end })
    }

    /// Without a writer the valid prefix is what there is; the next writer decides about the rest.
    private static func validEnd(
        _ newest: SegmentCatalog.Entry,
        storage: any Storage
    ) throws(LogError) -> LogPosition {
        let bytes = try storage.readAll(newest.path)
        return bytes.withUnsafeBytes { TailScan(newest.header, $0).lastValid }
    }
}
