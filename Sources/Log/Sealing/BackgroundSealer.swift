import Synchronization

/// Seals whatever segment another one has followed, on a thread of its own, for as long as the log is open.
final class BackgroundSealer: Sendable {
    private let storage: any Storage
    private let directory: String
    private let catalog: SegmentCatalog
    private let bell = Doorbell()
    private let isEnding: @Sendable () -> Bool
    private let alarm: @Sendable (LogError) -> Void
    /// A disk that is full or fails now may do better later.
    private static let retryDelay = Duration.seconds(60)

    /// - Parameters:
    ///   - isEnding: asked often; true gives up what is half done.
    ///   - alarm: told once of each segment that cannot be sealed because it is damaged, and of every failed attempt.
    init(
        storage: any Storage,
        directory: String,
        catalog: SegmentCatalog,
        isEnding: @escaping @Sendable () -> Bool,
        alarm: @escaping @Sendable (LogError) -> Void
    ) {
        self.storage = storage
        self.directory = directory
        self.catalog = catalog
        self.isEnding = isEnding
        self.alarm = alarm
    }

    /// Call when there may be something to do, or `isEnding` has become true.
    func ring() { bell.ring() }

    /// Returns when `isEnding`.
    func run() {
        var damaged: Set<UInt64> = []
        while !isEnding() {
            guard let (entry, end) = catalog.firstUnsealed(except: damaged) else {
                _ = bell.wait()
                continue
            }
            do {
                try seal(entry, end)
            } catch {
                alarm(error)
                if error.code == .corrupt {
                    damaged.insert(entry.header.number)
                } else {
                    _ = bell.wait(timeout: BackgroundSealer.retryDelay)
                }
            }
        }
    }

    private func seal(_ entry: SegmentCatalog.Entry, _ end: LogPosition) throws(LogError) {
        let sealer = SegmentSealer(storage: storage, directory: directory, isCanceled: isEnding)
        guard let sealed = try sealer.seal(entry, end: end) else { return }
        catalog.replace(with: sealed)
        // Not synced: should a crash bring the original back, it is the segment again, and is sealed again.
        try storage.remove(entry.path)
    }
}
