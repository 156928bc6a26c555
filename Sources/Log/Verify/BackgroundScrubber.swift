/// Reads the whole log from the medium once per interval, on a thread of its own, so that damage is found while a backup that
/// is whole still exists, and not on the day the record is needed. A restart goes on where the process before stopped, also in
/// time: one that runs for a day and then starts anew would otherwise read the same segments again and again, or none.
final class BackgroundScrubber: Sendable {
    private let listing: SegmentListing
    private let catalog: SegmentCatalog
    private let interval: Duration
    private let now: @Sendable () -> UInt64
    private let durable: @Sendable () -> LogPosition
    private let isEnding: @Sendable () -> Bool
    private let alarm: @Sendable (LogError) -> Void
    private let bell = Doorbell()

    /// - Parameters:
    ///   - interval: how long a pass over all segments takes.
    ///   - now: UTC nanoseconds.
    ///   - isEnding: asked before each segment.
    ///   - alarm: told of every finding.
    init(
        listing: SegmentListing,
        catalog: SegmentCatalog,
        interval: Duration,
        now: @escaping @Sendable () -> UInt64,
        durable: @escaping @Sendable () -> LogPosition,
        isEnding: @escaping @Sendable () -> Bool,
        alarm: @escaping @Sendable (LogError) -> Void
    ) {
        self.listing = listing
        self.catalog = catalog
        self.interval = interval
        self.now = now
        self.durable = durable
        self.isEnding = isEnding
        self.alarm = alarm
    }

    /// Call when `isEnding` has become true.
    func ring() { bell.ring() }

    /// Returns when `isEnding`.
    func run() {
        let place = ScrubPlace.load(listing.directory, listing.storage)
        var number = place?.segment ?? 1
        var wait = firstWait(place)
        while !isEnding() {
            _ = bell.wait(timeout: wait)
            if isEnding() { return }
            // In this order: what is durable now lies in the segments that are listed after it.
            let durable = durable()
            let entries = catalog.entries
            let index = entries.firstIndex { $0.header.number == number } ?? 0
            scrub(entries[index], next: index + 1 < entries.count ? entries[index + 1] : nil, durable)
            number = entries[(index + 1) % entries.count].header.number
            // Without its place the next process reads some segments once more; that is no reason for an alarm.
            try? ScrubPlace(segment: number, time: now()).store(listing.directory, listing.storage)
            wait = pace
        }
    }

    /// The time there is for each segment.
    private var pace: Duration { interval / max(1, catalog.entries.count) }

    /// What is left of the wait that the process before had begun.
    private func firstWait(_ place: ScrubPlace?) -> Duration {
        guard let place else { return .zero }
        let time = now()
        // Where the clock was set back, nobody knows how much time has gone by.
        guard time >= place.time else { return pace }
        let passed = Duration.nanoseconds(Int64(clamping: time - place.time))
        return max(.zero, pace - passed)
    }

    /// One alarm tells of a segment, however much is wrong with it; `verify` names the rest.
    private func scrub(_ entry: SegmentCatalog.Entry, next: SegmentCatalog.Entry?, _ durable: LogPosition) {
        do {
            // A newest segment grows while it is read; what is durable before that does not change.
            let findings = try findings(entry, next, next == nil ? durable : nil)
            if let first = findings.first { alarm(BackgroundScrubber.error(first)) }
        } catch {
            alarm(error)
        }
    }

    private func findings(
        _ entry: SegmentCatalog.Entry,
        _ next: SegmentCatalog.Entry?,
        _ limit: LogPosition?
    ) throws(LogError) -> [LogVerifier.Finding] {
        let buffer = ReusedBuffer()
        defer { withExtendedLifetime(buffer) {} }
        // What the medium holds is of interest, not what the cache remembers.
        let (read, bytes) = try listing.read(entry, into: buffer, .readUncached)
        // Sealed since it was listed as the newest; its time comes when the one behind it is listed too.
        if next == nil, read.header.isSealed { return [] }
        var state = VerifierState(from: read.header)
        if SegmentHeader(bytes) != read.header { state.find(read.header, 0, nil, "the header is damaged") }
        state.check(read.header, next: next?.header, isNewest: next == nil, limit: limit, bytes)
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
