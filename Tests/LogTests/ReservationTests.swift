import Glibc
import Log
import TestSupport
import Testing

/// Records get their positions first and their bytes later; nobody may see a record without its bytes.
@Suite struct ReservationTests {
    private let directory = LogDirectory()

    private func payloads(_ log: EventLog) throws -> [[UInt8]] {
        var payloads: [[UInt8]] = []
        try log.reader.scan(from: LogPosition(1)) { payloads.append([UInt8]($0.payload)) }
        return payloads
    }

    private func expectWhole(_ records: UInt64) throws {
        let report = try directory.verify()
        #expect(report.findings.isEmpty)
        #expect(report.records == records)
    }

    @Test func theWriterWaitsForTheBytes() async throws {
        let log = try directory.open()
        let drafts = (1...3).map { RecordDraft.plain($0, count: 500) }
        let slow = try log.reserve([drafts[0], drafts[1]], expecting: LogPosition(1))
        #expect(slow.last == LogPosition(2))
        let last = try log.append([drafts[2]], expecting: LogPosition(3))
        // Time enough for a writer that does not wait.
        try await Task.sleep(for: .milliseconds(100))
        #expect(log.durable == .zero)
        slow.fill()
        try await log.waitUntilDurable(last)
        #expect(try payloads(log) == drafts.map(\.payload))
        log.close()
        try expectWhole(3)
    }

    @Test func aForgottenReservationIsFilledAllTheSame() async throws {
        let log = try directory.open()
        func forget() throws -> LogPosition { try log.reserve([.plain(1), .plain(2)], expecting: nil).last }
        try await log.waitUntilDurable(try forget())
        #expect(try payloads(log) == [RecordDraft.plain(1).payload, RecordDraft.plain(2).payload])
        log.close()
        try expectWhole(2)
    }

    @Test func fillingTwiceIsFillingOnce() async throws {
        let log = try directory.open()
        let first = try log.reserve([.plain(1)], expecting: nil)
        let second = try log.reserve([.plain(2)], expecting: nil)
        for _ in 0..<3 { first.fill() }
        try await Task.sleep(for: .milliseconds(50))
        #expect(log.durable == .zero)
        second.fill()
        try await log.waitUntilDurable(second.last)
        log.close()
        try expectWhole(2)
    }

    @Test func closingWaitsForTheBytes() async throws {
        let log = try directory.open()
        let slow = try log.reserve([.plain(1)], expecting: nil)
        let closing = Task.detached { log.close() }
        try await Task.sleep(for: .milliseconds(50))
        #expect(log.durable == .zero)
        slow.fill()
        await closing.value
        #expect(log.durable == LogPosition(1))
        try expectWhole(1)
    }

    @Test func whatIsFilledAfterAFailureGoesNowhere() async throws {
        let storage = SimulatedStorage(directory: "/log")
        let log = try EventLog.open(directory: "/log", configuration: .small(), storage: storage)
        storage.setHook { call, _ in call.kind == .sync ? EIO : nil }
        let first = try log.append([.plain(1)], expecting: nil)
        await #expect(throws: LogError(.indeterminate, "")) { try await log.waitUntilDurable(first) }
        storage.setHook(nil)
        #expect(throws: LogError(.indeterminate, "")) { try log.reserve([.plain(2)], expecting: nil) }
        log.close()
        #expect(log.durable == .zero)
    }

    /// The place is given before the failure, the bytes come after it.
    @Test func aPlaceInAGroupBehindAFailureIsNeverWritten() async throws {
        let storage = SimulatedStorage(directory: "/log")
        let gate = WriterGate()
        let log = try EventLog.open(directory: "/log", configuration: .small(), storage: storage)
        storage.setHook(gate.hook)
        gate.hold()
        let first = try log.append([.plain(1)], expecting: nil)
        gate.waitUntilHeld()
        let late = try log.reserve([.plain(2)], expecting: nil)
        storage.setHook { call, _ in call.kind == .sync ? EIO : nil }
        gate.release()
        await #expect(throws: LogError(.indeterminate, "")) { try await log.waitUntilDurable(first) }
        late.fill()
        await #expect(throws: LogError(.indeterminate, "")) { try await log.waitUntilDurable(late.last) }
        log.close()
        #expect(log.durable == .zero)
    }

    @Test func anEmptyReservationHasNoPlace() async throws {
        let log = try directory.open()
        let empty = try log.reserve([], expecting: LogPosition(1))
        #expect(empty.last == .zero)
        empty.fill()
        try await log.appendDurably([.plain(1)])
        log.close()
        try expectWhole(1)
    }

    @Test func whoComesLaterMayFillFirst() async throws {
        let log = try directory.open()
        var generator = SeededGenerator(seed: 11)
        var expected: [[UInt8]] = []
        for _ in 0..<40 {
            var reservations: [Reservation] = []
            for _ in 0..<20 {
                let drafts = (0..<Int.random(in: 1...3, using: &generator)).map { _ in
                    RecordDraft.plain(Int(generator.next() % 1000), count: Int(generator.next() % 5000))
                }
                guard let reservation = try await reserve(drafts, in: log) else { continue }
                reservations.append(reservation)
                expected += drafts.map(\.payload)
            }
            let last = reservations.map(\.last).max() ?? .zero
            for reservation in reservations.shuffled(using: &generator) { reservation.fill() }
            try await log.waitUntilDurable(last)
        }
        #expect(try payloads(log) == expected)
        log.close()
        try expectWhole(UInt64(expected.count))
    }

    /// Nil when there is no room before what is reserved already has been written.
    private func reserve(_ drafts: [RecordDraft], in log: EventLog) async throws -> Reservation? {
        do {
            return try log.reserve(drafts, expecting: nil)
        } catch {
            guard error.code == .overloaded else { throw error }
            try await Task.sleep(for: .milliseconds(1))
            return nil
        }
    }

    @Test func manySealAtOnceAndEveryBodyOpens() async throws {
        let log = try directory.open()
        let leaf = LeafKey(try #require(Digest([UInt8](repeating: 3, count: 32))))
        func draft(_ number: Int) -> RecordDraft {
            let reference = KeyReference(client: 1, leaf: UInt64(number), epoch: 1, keyClass: .message)
            let body = SealedPart(.content, [UInt8]("body \(number)".utf8))
            let section = UnsealedSection([body], reference: reference, leaf: leaf)
            return RecordDraft(type: 1, subject: LogPosition(UInt64(number)), section: .unsealed(section))
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for producer in 0..<16 {
                group.addTask {
                    for turn in 0..<50 {
                        let numbers = (0..<(turn % 4 + 1)).map { producer * 1000 + turn * 4 + $0 }
                        try await self.append(numbers.map(draft), to: log)
                    }
                }
            }
            try await group.waitForAll()
        }
        var seen: Set<UInt64> = []
        try log.reader.scan(from: LogPosition(1)) { view in
            let section = try #require(SealedSection(view.sealed))
            let number = view.subject.rawValue
            #expect(section.open(.content, leaf: leaf, position: view.position) == [UInt8]("body \(number)".utf8))
            seen.insert(number)
        }
        log.close()
        #expect(seen.count == 16 * 123)
        try expectWhole(UInt64(seen.count))
    }

    /// The log gives the position, so that nobody has to know it before.
    private func append(_ drafts: [RecordDraft], to log: EventLog) async throws {
        for _ in 0..<5000 {
            do {
                return try await log.waitUntilDurable(try log.append(drafts, expecting: nil))
            } catch {
                guard error.code == .overloaded else { throw error }
            }
            try await Task.sleep(for: .milliseconds(1))
        }
        throw LogError(.overloaded, "the next segment did not come")
    }
}
