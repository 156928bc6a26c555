import Gateway
import Log
import Logging
import Synchronization
import Testing

/// What becomes of lines when there are more than anybody reads.
@Suite struct LogLineTests {
    private static let kind = LineLimits.Kind(level: "error", text: "request failed", code: "internal_error")
    private static let start = BootTime(nanoseconds: 1_000_000_000_000)

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    // MARK: The queue

    @Test func whatFitsIsKeptInOrder() {
        var queue = LineQueue(bytesMax: 8)
        #expect(queue.isEmpty && queue.take().isEmpty)
        queue.add("one\n")
        queue.add("two\n")
        #expect(!queue.isEmpty)
        #expect(text(queue.take()) == "one\ntwo\n")
        #expect(queue.isEmpty)
    }

    @Test func whatDoesNotFitIsCountedInOnePlace() {
        var queue = LineQueue(bytesMax: 8)
        // The last would fit; behind a gap it would stand in the wrong place.
        for line in ["first\n", "second\n", "a\n"] { queue.add(line) }
        #expect(text(queue.take()) == "first\nwaybill: 2 lines were dropped, because nobody read this output\n")
        queue.add("again\n")
        #expect(text(queue.take()) == "again\n")
    }

    @Test func aLineLargerThanAllIsDropped() {
        var queue = LineQueue(bytesMax: 8)
        queue.add("far too long\n")
        #expect(!queue.isEmpty)
        #expect(text(queue.take()) == "waybill: 1 line was dropped, because nobody read this output\n")
        #expect(queue.isEmpty)
    }

    // MARK: The rate

    private func written(_ limits: inout LineLimits, _ count: Int, at now: BootTime) -> Int {
        (0..<count).filter { _ in limits.admit(Self.kind, at: now).isWritten }.count
    }

    @Test func aFloodIsAFewLinesAndACount() {
        var limits = LineLimits()
        #expect(written(&limits, 1000, at: Self.start) == LineLimits.burst)
        let later = Self.start.advanced(by: LineLimits.pause)
        let (isWritten, before) = limits.admit(Self.kind, at: later)
        #expect(isWritten)
        #expect(before == LineLimits.Withheld(kind: Self.kind, count: 1000 - LineLimits.burst))
        #expect(written(&limits, 5, at: later) == 0)
        // One for each pause, however long it goes on, and all at once after a rest.
        let rested = later.advanced(by: LineLimits.pause * 100)
        #expect(written(&limits, 1000, at: rested) == LineLimits.burst)
    }

    @Test func whatIsWithheldIsToldAlthoughNoMoreComes() {
        var limits = LineLimits()
        _ = written(&limits, LineLimits.burst + 3, at: Self.start)
        #expect(limits.due(at: Self.start.advanced(by: LineLimits.pause - .milliseconds(1))).isEmpty)
        let told = [LineLimits.Withheld(kind: Self.kind, count: 3)]
        #expect(limits.due(at: Self.start.advanced(by: LineLimits.pause)) == told)
        #expect(limits.due(at: Self.start.advanced(by: LineLimits.pause * 2)).isEmpty)
        _ = written(&limits, 100, at: Self.start)
        #expect(limits.due(at: Self.start, all: true).count == 1)
    }

    @Test func kindsDoNotTakeEachOthersPlace() {
        var limits = LineLimits()
        _ = written(&limits, 100, at: Self.start)
        let other = LineLimits.Kind(level: "error", text: "request failed", code: "disk_full")
        #expect(limits.admit(other, at: Self.start).isWritten)
    }

    @Test func endlessKindsAreOne() {
        var limits = LineLimits()
        let kinds = (0..<10_000).map { LineLimits.Kind(level: "error", text: "said \($0)") }
        let written = kinds.filter { limits.admit($0, at: Self.start).isWritten }
        #expect(written.count == LineLimits.kindsMax + LineLimits.burst)
        // Kinds that have rested make room.
        let later = Self.start.advanced(by: LineLimits.pause * 2)
        #expect(limits.admit(LineLimits.Kind(level: "error", text: "new"), at: later).isWritten)
    }

    // MARK: The handler

    @Test func theLogIsLimitedButForWhatIsCritical() {
        let lines = Lines()
        let log = LimitedLog(Collector(lines: lines))
        var logger = Logger(label: "test", factory: { _ in log })
        logger[metadataKey: "request"] = "one"
        for _ in 0..<50 { logger.error("request failed", metadata: ["code": "internal_error"]) }
        for _ in 0..<50 { logger.critical("the log needs attention") }
        log.tellWithheld(all: true)
        let written = lines.texts.withLock { $0 }
        #expect(written.filter { $0 == "request failed" }.count == LineLimits.burst)
        #expect(written.filter { $0 == "the log needs attention" }.count == 50)
        #expect(written.last == "request failed: and \(50 - LineLimits.burst) more like it")
    }
}

private final class Lines: Sendable {
    let texts = Mutex<[String]>([])
}

private struct Collector: LogHandler {
    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { lines.texts.withLock { $0.append("\(event.message)") } }
}
