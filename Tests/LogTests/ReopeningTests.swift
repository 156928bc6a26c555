import Log
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(30))) struct ReopeningTests {
    private let directory = LogDirectory()

    @Test func aReopenedLogGoesOnWhereItStopped() async throws {
        var digests: [Digest] = []
        var id: LogID?
        for session in 0..<5 {
            let log = try directory.open()
            #expect(log.recovery.created == (session == 0))
            #expect(log.recovery.recoveredThrough == LogPosition(UInt64(digests.count)))
            #expect(log.recovery.rewritten == 0)
            #expect(log.recovery.discarded.isEmpty)
            #expect(id == nil || id == log.id)
            id = log.id
            #expect(log.frontier.root == root(digests))
            #expect(try log.reader.digests() == digests)
            for number in 0..<10 { try await log.appendDurably([.plain(session * 10 + number, count: 60_000)]) }
            digests = try log.reader.digests()
            #expect(log.frontier.root == root(digests))
            log.close()
        }
        let report = try directory.verify()
        #expect(report.findings.isEmpty)
        #expect(report.records == 50)
        #expect(report.root == root(digests))
        #expect(report.unjudgedTailBytes == 0)
    }

    /// A process that restarts again and again without work must not lose its log.
    @Test(arguments: [0, 1, 3])
    func reopeningWithoutAppendingChangesNothing(_ records: Int) async throws {
        let log = try directory.open()
        for number in 0..<records { try await log.appendDurably([.plain(number)]) }
        let digests = try log.reader.digests()
        log.close()
        for _ in 0..<5 {
            let again = try directory.open()
            defer { again.close() }
            #expect(try again.reader.digests() == digests)
        }
        #expect(try directory.verify().findings.isEmpty)
    }

    @Test func aLogOfManySessionsVerifies() async throws {
        var generator = SeededGenerator(seed: 7)
        for session in 0..<6 {
            let log = try directory.open(.small(session % 2 == 0 ? .normal : .strict))
            for _ in 0..<30 {
                let drafts = (0..<Int.random(in: 1...4, using: &generator)).map { _ in
                    RecordDraft.random(using: &generator)
                }
                try await log.append(drafts)
            }
            try await log.waitUntilDurable(LogPosition(log.next.rawValue - 1))
            #expect(try log.reader.digests().count == Int(log.frontier.size))
            log.close()
        }
        let report = try directory.verify()
        #expect(report.findings.isEmpty)
        #expect(report.segments >= 6)
    }

    /// Also when the newest segment of the log is empty, so that its own records say nothing about the time.
    @Test(arguments: 1...3)
    func timeIncreasesAcrossReopening(_ reopenings: Int) async throws {
        let first = try directory.open(now: { 5000 })
        try await first.appendDurably([.plain(1)])
        first.close()
        for _ in 1..<reopenings { try directory.open(now: { 10 }).close() }
        let last = try directory.open(now: { 10 })
        try await last.appendDurably([.plain(2)])
        last.close()
        #expect(try directory.verify().findings.isEmpty)
        #expect(try last.reader.record(at: LogPosition(2)).withView { $0.time } == 5001)
    }

    private func root(_ digests: [Digest]) -> Digest {
        var frontier = MerkleFrontier()
        for digest in digests { frontier.append(entry: digest) }
        return frontier.root
    }
}
