import Log
import TestSupport
import Testing

/// Guarantee G5: a full disk is met before a record is accepted, edges first, and never in the middle.
@Suite(.timeLimit(.minutes(30))) struct DiskFullTests {
    private let storage = SimulatedStorage(directory: "/log")
    private static let segment = 1 << 20

    private func open() throws -> EventLog {
        try EventLog.open(directory: "/log", configuration: .unhurried(), storage: storage)
    }

    /// A log whose disk has room for the first segment and not for a second.
    private func openOnFullDisk() async throws -> EventLog {
        storage.setRoom(Self.segment + 4096)
        let log = try open()
        // The attempt to make the next segment fails in the background and leaves nothing.
        for _ in 0..<400 where storage.paths.count != 1 || !isFull(log) { try await Task.sleep(for: .milliseconds(5)) }
        #expect(storage.paths == ["/log/00000000000000000001.wal"])
        return log
    }

    /// A batch too large for what is left of the segment is refused with the reason why there is no other segment.
    private func isFull(_ log: EventLog) -> Bool {
        let large = (0..<3).map { RecordDraft.plain($0, count: 400_000) }
        do throws(LogError) {
            _ = try log.append(large, expecting: log.next)
            return false
        } catch {
            return error.code == .diskFull
        }
    }

    /// Lets edges in as long as the log admits them; returns how many there were.
    private func fillWithEdges(_ log: EventLog) async throws -> Int {
        for count in 0..<2000 {
            do throws(LogError) {
                try log.admitEdge()
            } catch {
                #expect(error.code == .diskFull)
                return count
            }
            try await log.appendDurably([.plain(count, count: 5000)])
        }
        return .max
    }

    /// Appends outcomes until there is really no room; returns how many there were.
    private func fillWithOutcomes(_ log: EventLog) async throws -> Int {
        for count in 0..<2000 {
            do throws(LogError) {
                _ = try log.append([.plain(count, count: 2000)], expecting: log.next)
            } catch {
                #expect(error.code == .diskFull)
                return count
            }
            try await log.waitUntilDurable(LogPosition(log.next.rawValue - 1))
        }
        return .max
    }

    @Test func edgesAreRefusedWhileOutcomesStillGoThrough() async throws {
        let log = try await openOnFullDisk()
        defer { log.close() }
        let edges = try await fillWithEdges(log)
        // The reserve of a small segment is a quarter; each edge takes two blocks.
        #expect((85...96).contains(edges))
        let outcomes = try await fillWithOutcomes(log)
        #expect((50...64).contains(outcomes))
        #expect(log.failure == nil)
        #expect(log.durable == LogPosition(UInt64(edges + outcomes)))
        #expect(try log.reader.digests().count == edges + outcomes)
    }

    @Test func aRefusedBatchIsRefusedAsAWhole() async throws {
        let log = try await openOnFullDisk()
        defer { log.close() }
        _ = try await fillWithEdges(log)
        let before = (log.next, log.frontier)
        let batch = (0..<20).map { RecordDraft.plain($0, count: 40_000) }
        #expect(throws: LogError(.diskFull, "")) { try log.append(batch, expecting: log.next) }
        #expect(log.next == before.0)
        #expect(log.frontier == before.1)
        try await log.appendDurably([.plain(1)])
    }

    @Test func theLogGoesOnWhenRoomReturns() async throws {
        let log = try await openOnFullDisk()
        defer { log.close() }
        _ = try await fillWithEdges(log)
        _ = try await fillWithOutcomes(log)
        storage.setRoom(nil)
        for _ in 0..<400 where (try? log.admitEdge()) == nil { try await Task.sleep(for: .milliseconds(10)) }
        try log.admitEdge()
        for number in 0..<10 { try await log.appendDurably([.plain(number, count: 200_000)]) }
        let count = Int(log.durable.rawValue)
        #expect(try log.reader.digests().count == count)
        log.close()
        let report = try LogVerifier(directory: "/log", storage: storage).run()
        #expect(report.findings.isEmpty)
        #expect(report.records == UInt64(count))
    }

    @Test func nothingAcceptedIsLostWhenAFullMachineCrashes() async throws {
        let log = try await openOnFullDisk()
        defer { log.close() }
        _ = try await fillWithEdges(log)
        _ = try await fillWithOutcomes(log)
        let digests = try log.reader.digests()
        for seed in UInt64(0)..<20 {
            var generator = SeededGenerator(seed: seed)
            let image = storage.crash(using: &generator, CrashOptions(lostSectors: .garbage))
            // Opening needs a new segment: it says so, changes nothing, and works once there is room.
            #expect(throws: LogError(.diskFull, "")) {
                try EventLog.open(directory: "/log", configuration: .unhurried(), storage: image).close()
            }
            image.setRoom(nil)
            let again = try EventLog.open(directory: "/log", configuration: .unhurried(), storage: image)
            #expect(try again.reader.digests() == digests)
            again.close()
            #expect(try LogVerifier(directory: "/log", storage: image).run().findings.isEmpty)
        }
    }

    /// Whatever the room, the disk is never found full by the writer.
    @Test(arguments: [1, 2, 3], [0, 1, 4096, 500_000, (1 << 20) - 1])
    func noRoomEverFailsAFlight(_ segments: Int, _ more: Int) async throws {
        storage.setRoom((segments << 20) + more)
        let log = try open()
        defer { log.close() }
        var generator = SeededGenerator(seed: UInt64(more))
        var refused = false
        for _ in 0..<2000 where !refused {
            do throws(LogError) {
                _ = try log.append([.random(using: &generator, largest: 100_000)], expecting: log.next)
            } catch {
                #expect(error.code == .diskFull || error.code == .overloaded)
                refused = error.code == .diskFull
            }
            if log.next > LogPosition(1) { try await log.waitUntilDurable(LogPosition(log.next.rawValue - 1)) }
        }
        #expect(refused)
        #expect(log.failure == nil)
        #expect(try log.reader.digests().count == Int(log.next.rawValue) - 1)
    }

    @Test func aLogThatHasNoRoomToBeginSaysSo() {
        storage.setRoom(Self.segment - 1)
        #expect(throws: LogError(.diskFull, "")) { try open() }
        #expect(storage.paths.isEmpty)
    }
}
