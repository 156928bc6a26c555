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
        // Segments that could not be sealed, and when to try again; nil for never.
        var failed: [UInt64: BootTime?] = [:]
        var buffers = SealingBuffers()
        while !isEnding() {
            let now = BootTime.now
            let excluded = failed.filter { $0.value.map { $0 > now } ?? true }
            guard let (entry, end) = catalog.firstUnsealed(except: Set(excluded.keys)) else {
                let next = excluded.values.compactMap { $0 }.min()
                // Idle, it has no memory; behind a burst, it goes on with what it has.
                buffers = SealingBuffers()
                _ = bell.wait(timeout: next.map { $0.since(now) })
                continue
            }
            do {
                try seal(entry, end, buffers)
            } catch {
                alarm(error)
                let later = BootTime.now.advanced(by: BackgroundSealer.retryDelay)
                failed[entry.header.number] = .some(error.code == .corrupt ? nil : later)
            }
        }
    }

    private func seal(
        _ entry: SegmentCatalog.Entry,
        _ end: LogPosition,
        _ buffers: SealingBuffers
    ) throws(LogError) {
        let sealer = SegmentSealer(storage: storage, directory: directory, isCanceled: isEnding, buffers: buffers)
        guard let sealed = try sealer.seal(entry, end: end) else { return }
        catalog.replace(with: sealed)
        // Not synced: should a crash bring the original back, it is the segment again, and is sealed again.
        try storage.remove(entry.path)
    }
}
