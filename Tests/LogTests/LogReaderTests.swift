import Log
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(30))) struct LogReaderTests {
    private let directory = LogDirectory()

    @Test func aScanCrossesSegments() async throws {
        let log = try directory.open()
        defer { log.close() }
        var expected: [[UInt8]] = []
        for number in 0..<60 {
            let draft = RecordDraft.plain(number, count: number % 3 == 0 ? 200_000 : 300)
            expected.append(draft.payload)
            try await log.appendDurably([draft])
        }
        #expect(try PosixStorage().segments(in: directory.path).count >= 4)
        for first in [1, 2, 20, 59, 60] {
            var payloads: [[UInt8]] = []
            try log.reader.scan(from: LogPosition(UInt64(first))) { payloads.append([UInt8]($0.payload)) }
            #expect(payloads == Array(expected[(first - 1)...]))
        }
        var window: [UInt64] = []
        try log.reader.scan(from: LogPosition(10), through: LogPosition(30)) { window.append($0.position.rawValue) }
        #expect(window == Array(10...30))
        try log.reader.scan(from: LogPosition(61)) { _ in Issue.record("there is nothing behind the end") }
    }

    @Test func aScanStopsWhenItsReaderThrows() async throws {
        struct Enough: Error {}
        let log = try directory.open()
        defer { log.close() }
        try await log.appendDurably([.plain(1), .plain(2), .plain(3)])
        var seen = 0
        #expect(throws: Enough.self) {
            try log.reader.scan(from: LogPosition(1)) { _ in
                seen += 1
                if seen == 2 { throw Enough() }
            }
        }
        #expect(seen == 2)
    }

    @Test func positionsAreFoundByTime() async throws {
        let clock = ManualClock(1000)
        let log = try directory.open(now: clock.now)
        defer { log.close() }
        #expect(try log.reader.position(atOrAfter: 0) == LogPosition(1))
        for time in stride(from: UInt64(1000), through: 9000, by: 1000) {
            clock.time = time
            try await log.appendDurably([.plain(Int(time)), .plain(Int(time) + 1)])
        }
        #expect(try log.reader.position(atOrAfter: 0) == LogPosition(1))
        #expect(try log.reader.position(atOrAfter: 1000) == LogPosition(1))
        #expect(try log.reader.position(atOrAfter: 1001) == LogPosition(2))
        #expect(try log.reader.position(atOrAfter: 1002) == LogPosition(3))
        #expect(try log.reader.position(atOrAfter: 5000) == LogPosition(9))
        #expect(try log.reader.position(atOrAfter: 9001) == LogPosition(18))
        #expect(try log.reader.position(atOrAfter: 9002) == LogPosition(19))
    }

    // MARK: Beside a writer

    @Test func anotherReaderSeesWhatIsDurable() async throws {
        let log = try directory.open()
        for number in 0..<30 { try await log.appendDurably([.plain(number, count: 100_000)]) }
        let beside = try ReadOnlyLog(directory: directory.path)
        #expect(beside.hasWriter)
        #expect(beside.end == LogPosition(30))
        #expect(beside.id == log.id)
        #expect(try beside.reader.digests() == log.reader.digests())
        log.close()
    }

    @Test func aReaderNeedsNoWriter() async throws {
        func write() async throws -> [Digest] {
            let log = try directory.open()
            defer { log.close() }
            for number in 0..<5 { try await log.appendDurably([.plain(number)]) }
            return try log.reader.digests()
        }
        let digests = try await write()
        let alone = try ReadOnlyLog(directory: directory.path)
        #expect(!alone.hasWriter)
        #expect(try alone.reader.digests() == digests)
    }

    @Test func whereThereIsNoLogNothingIsRead() {
        #expect(throws: LogError(.notFound, "")) { try ReadOnlyLog(directory: directory.path) }
    }
}
