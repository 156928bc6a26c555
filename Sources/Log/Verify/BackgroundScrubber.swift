/// Reads the whole log from the medium once per interval, on a thread of its own, so that damage is found while a backup that
/// is whole still exists, and not on the day the record is needed.
final class BackgroundScrubber: Sendable {
    private let listing: SegmentListing
    private let catalog: SegmentCatalog
    private let interval: Duration
    private let durable: @Sendable () -> LogPosition
    private let isEnding: @Sendable () -> Bool
    private let alarm: @Sendable (LogError) -> Void
    private let bell = Doorbell()

    /// - Parameters:
    ///   - interval: how long a pass over all segments takes.
    ///   - isEnding: asked before each segment.
    ///   - alarm: told of every finding.
    init(
        listing: SegmentListing,
        catalog: SegmentCatalog,
        interval: Duration,
        durable: @escaping @Sendable () -> LogPosition,
        isEnding: @escaping @Sendable () -> Bool,
        alarm: @escaping @Sendable (LogError) -> Void
    ) {
        self.listing = listing
        self.catalog = catalog
        self.interval = interval
        self.durable = durable
        self.isEnding = isEnding
        self.alarm = alarm
    }

    /// Call when `isEnding` has become true.
    func ring() { bell.ring() }

    /// Returns when `isEnding`.
    func run() {
        // Somewhere in the log, so that a process that restarts often does not read its beginning again and again.
        var index = Int.random(in: 0..<max(1, catalog.entries.count))
        while !isEnding() {
            let entries = catalog.entries
            _ = bell.wait(timeout: interval / max(1, entries.count))
            if isEnding() { return }
            index = index < entries.count ? index : 0
            scrub(entries[index], next: index + 1 < entries.count ? entries[index + 1] : nil)
            index += 1
        }
    }

    private func scrub(_ entry: SegmentCatalog.Entry, next: SegmentCatalog.Entry?) {
        // A newest segment grows while it is read; what is durable before that does not change.
        let limit = next == nil ? durable() : nil
        do {
            for finding in try findings(entry, next, limit) { alarm(BackgroundScrubber.error(finding)) }
        } catch {
            alarm(error)
        }
    }

    private func findings(
        _ entry: SegmentCatalog.Entry,
        _ next: SegmentCatalog.Entry?,
        _ limit: LogPosition?
    ) throws(LogError) -> [LogVerifier.Finding] {
        // What the medium holds is of interest, not what the cache remembers.
        try? listing.storage.open(entry.path, .read).releaseCache()
        let buffer = ReusedBuffer()
        defer { withExtendedLifetime(buffer) {} }
        let (read, bytes) = try listing.read(entry, into: buffer)
        var state = VerifierState(from: read.header)
        if SegmentHeader(bytes) != read.header { state.find(read.header, 0, nil, "the header is damaged") }
        state.check(read.header, next: next?.header, limit: limit, bytes)
        if let next { state.begin(next.header) }
        return state.report.findings
    }

    private static func error(_ finding: LogVerifier.Finding) -> LogError {
        let positions = finding.positions.map { ", positions \($0.lowerBound) to \($0.upperBound)" } ?? ""
        return LogError(
            .corrupt,
            "segment \(finding.file) is damaged near offset \(finding.offset)\(positions): \(finding.problem); "
                + "run waybill verify, and restore it from a backup"
        )
    }
}
