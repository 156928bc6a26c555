import Log
import TestSupport
import Testing

/// A damaged record costs itself and nothing beside it, and what is whole goes on as a log of its own.
@Suite struct SalvageCopyTests {
    /// What a salvage reads: positions that are whole, and those that are not.
    private static func read(
        _ storage: SimulatedStorage,
        _ ledger: CrashLedger
    ) throws -> (seen: [UInt64], lost: [UInt64]) {
        let log = try ReadOnlyLog(directory: "/log", isSalvage: true, storage: storage)
        var (seen, lost): ([UInt64], [UInt64]) = ([], [])
        try log.reader.salvage(from: LogPosition(1), through: log.end) { record in
            #expect(record.computedDigest == ledger.digests[Int(record.position.rawValue) - 1])
            seen.append(record.position.rawValue)
        } gap: { positions, _ in
            lost += positions
        }
        #expect((seen + lost).sorted() == Array(1...UInt64(ledger.digests.count)))
        return (seen, lost)
    }

    /// Each group of the sample holds two records; the first is large.
    @Test(arguments: [(20, 0), (64 + 20, 0), (64 + 96 + 200, 1), (64 + 96 + 3, 1), (64 + 96 + 58, 1)])
    func oneFlippedBitCostsOneRecord(_ offset: Int, _ count: Int) async throws {
        let sample = try await SampleLog.make(groups: 6, isClosed: true)
        let block = try sample.blocks(in: sample.newest)[2]
        sample.flip(block.path, at: block.offset + offset)
        let (_, lost) = try Self.read(sample.storage, sample.ledger)
        #expect(lost.count == count && lost.allSatisfy { (5...6).contains($0) })
    }

    /// The record beside a damaged one is read by its position too.
    @Test func theNeighbourIsReadByPosition() async throws {
        let sample = try await SampleLog.make(groups: 6, isClosed: true)
        let block = try sample.blocks(in: sample.newest)[2]
        // The length of the first record, without which nobody knows where the second begins.
        sample.flip(block.path, at: block.offset + 64 + 96 + 3)
        let log = try ReadOnlyLog(directory: "/log", isSalvage: true, storage: sample.storage)
        #expect(throws: LogError(.corrupt, "")) { try log.reader.record(at: LogPosition(5)) }
        let digest = try log.reader.record(at: LogPosition(6)).withView { $0.computedDigest }
        #expect(digest == sample.ledger.digests[5])
    }

    @Test func whatIsWholeGoesOnAsANewLog() async throws {
        let sample = try await SampleLog.make(groups: 100, bytes: 30_000, isClosed: true)
        let path = try sample.segments[0]
        let blocks = try sample.blocks(in: path).filter { $0.frame > 0 }
        for index in [0, 3] { sample.flip(path, at: blocks[index].offset + 64 + 96 + 200) }
        let (seen, lost) = try Self.read(sample.storage, sample.ledger)
        #expect(lost == [1, 7])

        let target = SimulatedStorage(directory: "/new")
        let log = try ReadOnlyLog(directory: "/log", isSalvage: true, storage: sample.storage)
        let outcome = try SalvageCopy(log).write(to: "/new", segmentBytes: 1 << 20, storage: target) { _, run in
            RecordDraft(type: 14, payload: [UInt8(run.lowerBound)])
        }
        #expect(outcome.lost == [1...1, 7...7] && outcome.lostCount == 2)
        #expect(outcome.through.rawValue == UInt64(sample.ledger.digests.count))
        let report = try LogVerifier(directory: "/new", storage: target).run()
        #expect(report.findings.isEmpty)
        #expect(report.segments > 1 && report.records == UInt64(sample.ledger.digests.count))

        let clock = ManualClock(sample.ledger.time + 1_000_000)
        let again = try EventLog.open(directory: "/new", configuration: .small(), storage: target, now: clock.now)
        defer { again.close() }
        #expect(try again.reader.record(at: LogPosition(7)).withView { ($0.type, $0.payload.first) } == (14, 7))
        for position in seen {
            let digest = try again.reader.record(at: LogPosition(position)).withView { $0.computedDigest }
            #expect(digest == sample.ledger.digests[Int(position) - 1])
        }
        try await again.appendDurably([.plain(1)])
        #expect(again.durable == outcome.through.next)
    }
}
