import Log
import TestSupport
import Testing

/// What is appended together is kept together: a message without the event that tells of it would never be told of.
@Suite struct BatchTests {
    /// Three records that are more than a group should be, behind what fills `before` bytes of the segment.
    private func crash(at call: Int, before: Int, record: Int, seed: UInt64) async throws -> LogPosition {
        let storage = SimulatedStorage(directory: "/log")
        let log = try EventLog.open(directory: "/log", configuration: .small(), storage: storage)
        var filled = 0
        while filled < before {
            let size = min(before - filled, 60_000)
            try await log.appendDurably([RecordDraft(type: 1, payload: [UInt8](repeating: 1, count: size))])
            filled += size
        }
        let earlier = log.durable
        let point = CrashPoint(after: call, seed: seed)
        storage.setHook(point.hook)
        let batch = (0..<3).map { _ in RecordDraft(type: 2, payload: [UInt8](repeating: 2, count: record)) }
        try await log.appendDurably(batch)
        // A batch that takes fewer calls crashes right behind its acknowledgement.
        var generator = SeededGenerator(seed: seed)
        let image = point.image ?? storage.crash(using: &generator)
        storage.setHook(nil)
        log.close()
        let reopened = try EventLog.open(directory: "/log", configuration: .small(), storage: image)
        defer { reopened.close() }
        return LogPosition(reopened.durable.rawValue - earlier.rawValue)
    }

    @Test(arguments: [(0, 120_000), (0, 250_000), (900_000, 30_000), (1_000_000, 9000), (1_036_000, 2000)])
    func aBatchIsKeptAsAWholeOrNotAtAll(_ before: Int, _ record: Int) async throws {
        var kept: Set<UInt64> = []
        for call in 0..<14 {
            for seed in UInt64(0)..<4 {
                kept.insert(try await crash(at: call, before: before, record: record, seed: seed).rawValue)
            }
        }
        #expect(kept == [0, 3])
    }
}
