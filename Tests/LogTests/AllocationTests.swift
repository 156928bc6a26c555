import CTestSupport
import Log
import TestSupport
import Testing

/// Projections are rebuilt from every record of a log, so reading one must not ask for memory.
@Suite(.enabled(if: test_counts_allocations() != 0), .timeLimit(.minutes(30))) struct AllocationTests {
    private static let records = 40_000
    private static let perGroup = 200

    private func makeLog(_ directory: LogDirectory, sealing: Bool) async throws -> EventLog {
        var configuration = LogConfiguration.small()
        configuration.sealing = sealing
        let log = try directory.open(configuration)
        for number in 0..<(Self.records / Self.perGroup) {
            let drafts = (0..<Self.perGroup).map { RecordDraft.plain(number * Self.perGroup + $0) }
            try await log.appendDurably(drafts)
        }
        return log
    }

    @Test func theCounterCounts() {
        let before = test_allocations()
        var arrays: [[Int]] = []
        for number in 0..<100 { arrays.append([Int](repeating: number, count: number + 1)) }
        #expect(test_allocations() - before >= 100, "\(arrays.count)")
    }

    @Test(arguments: [false, true]) func scanningAsksForNoMemoryPerRecord(_ isSealed: Bool) async throws {
        let directory = LogDirectory()
        let log = try await makeLog(directory, sealing: isSealed)
        defer { log.close() }
        while isSealed, try PosixStorage().segments(in: directory.path).count > 1 {
            try await Task.sleep(for: .milliseconds(5))
        }
        let segments = try directory.verify().segments
        #expect(segments >= 4)
        // The first time maps the segments and finds where their groups lie.
        _ = try scan(log.reader)
        let (seen, allocations) = try scan(log.reader)
        #expect(seen == Self.records)
        // A few for each call, segment and pack; far fewer than groups, let alone records.
        #expect(allocations <= UInt64(10 * segments), "\(allocations) in \(segments) segments")
    }

    private func scan(_ reader: LogReader) throws -> (seen: Int, allocations: UInt64) {
        let before = test_allocations()
        var seen = 0
        var sum: UInt64 = 0
        try reader.scan(from: LogPosition(1)) { record in
            seen += 1
            sum &+= record.time &+ record.subject.rawValue &+ UInt64(record.payload.count)
        }
        let allocations = test_allocations() - before
        #expect(sum > 0)
        return (seen, allocations)
    }
}
