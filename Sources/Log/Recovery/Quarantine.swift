/// Keeps what recovery discards. A kept tail is `pending` until an event on the log names it, so that a crash between
/// discarding and recording does not lose the fact.
struct Quarantine {
    private static let pendingSuffix = ".pending"
    private static let recordedSuffix = ".tail"
    private let storage: any Storage
    private let root: String
    private let directory: String

    init(_ recovery: Recovery) { self.init(storage: recovery.storage, root: recovery.directory) }

    init(storage: any Storage, root: String) {
        self.storage = storage
        self.root = root
        directory = root + "/" + LogPath.quarantine
    }

    /// Copies what lies beyond the last valid block. The name says segment and offset, so keeping it twice is harmless.
    func keep(_ entry: SegmentCatalog.Entry, _ scan: TailScan, _ bytes: UnsafeRawBufferPointer) throws(LogError) {
        var rest = bytes[scan.walk.offset...]
        while let last = rest.last, last == 0 { rest = rest.dropLast() }
        let name = "\(entry.header.number)-\(scan.walk.offset)-\(rest.count)"
        try storage.makeDurableDirectory(directory)
        try storage.replaceFile(directory + "/" + name + Quarantine.pendingSuffix, with: [UInt8](rest))
    }

    func pending() throws(LogError) -> [RecoveryReport.DiscardedTail] {
        guard try storage.list(root).contains(LogPath.quarantine) else { return [] }
        return try storage.list(directory).sorted().compactMap { file in
            guard file.hasSuffix(Quarantine.pendingSuffix) else { return nil }
            let name = String(file.dropLast(Quarantine.pendingSuffix.count))
            let numbers = name.split(separator: "-").compactMap { Int($0) }
            guard numbers.count == 3 else { return nil }
            return RecoveryReport.DiscardedTail(
                name: name,
                segment: UInt64(numbers[0]),
                offset: numbers[1],
                bytes: numbers[2]
            )
        }
    }

    func markRecorded(_ tail: RecoveryReport.DiscardedTail) throws(LogError) {
        try storage.rename(
            directory + "/" + tail.name + Quarantine.pendingSuffix,
            to: directory + "/" + tail.name + Quarantine.recordedSuffix
        )
        try storage.syncDirectory(directory)
    }
}
