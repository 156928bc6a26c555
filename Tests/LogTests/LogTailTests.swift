import Log
import TestSupport
import Testing

/// Followers see every record once and in order, however slow they are and however many.
@Suite(.timeLimit(.minutes(30))) struct LogTailTests {
    private let directory = LogDirectory()

    @Test func manyFollowersAtTheirOwnPace() async throws {
        let log = try directory.open()
        let count = 600
        try await withThrowingTaskGroup(of: [UInt64].self) { group in
            for follower in 0..<6 {
                group.addTask {
                    var seen: [UInt64] = []
                    for try await records in LogTail(
                        log,
                        from: LogPosition(UInt64(follower) * 10),
                        batchMax: 1 + follower * 7
                    ) {
                        seen += records.map { $0.withView { $0.position.rawValue } }
                        if follower % 2 == 1 { try await Task.sleep(for: .milliseconds(1)) }
                        if seen.last == UInt64(count) { break }
                    }
                    return seen
                }
            }
            for number in 0..<(count / 3) {
                try await log.appendDurably([.plain(number), .plain(number, count: 900), .plain(number, count: 3000)])
            }
            for try await seen in group {
                let first = try #require(seen.first)
                #expect(seen == Array(first...UInt64(count)))
            }
        }
        log.close()
    }

    @Test func aTailEndsWithTheLog() async throws {
        let log = try directory.open()
        try await log.appendDurably([.plain(1), .plain(2)])
        let following = Task {
            var seen = 0
            for try await records in LogTail(log, from: LogPosition(1)) { seen += records.count }
            return seen
        }
        try await Task.sleep(for: .milliseconds(50))
        try await log.appendDurably([.plain(3)])
        try await Task.sleep(for: .milliseconds(50))
        log.close()
        #expect(try await following.value == 3)
    }

    /// A follower that does not come back holds nobody up.
    @Test func aFollowerThatStopsHoldsNobodyUp() async throws {
        let log = try directory.open()
        defer { log.close() }
        try await log.appendDurably([.plain(0)])
        var stopped = LogTail(log, from: LogPosition(1)).makeAsyncIterator()
        #expect(try await stopped.next()?.count == 1)
        for number in 0..<200 { try await log.appendDurably([.plain(number, count: 20_000)]) }
        #expect(try await stopped.next()?.first?.withView { $0.position } == LogPosition(2))
    }

    @Test func aFailedLogEndsItsFollowersWithTheReason() async throws {
        let storage = SimulatedStorage(directory: "/log")
        let log = try EventLog.open(directory: "/log", configuration: .unhurried(), storage: storage)
        defer { log.close() }
        let following = Task {
            for try await _ in LogTail(log, from: LogPosition(1)) {}
        }
        storage.setHook { call, _ in call.kind == .sync && call.path.hasSuffix(".wal") ? 5 : nil }
        _ = try? await log.appendDurably([.plain(1)])
        await #expect(throws: LogError(.indeterminate, "")) { try await following.value }
    }
}
