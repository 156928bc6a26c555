import Log
import TestSupport
import Testing

/// Durable marks tell at the next opening that what lies before them had been acknowledged.
@Suite(.timeLimit(.minutes(30))) struct DurableMarkTests {
    private let directory = LogDirectory()

    @Test func strictModeMarksBeforeItAnswers() async throws {
        var configuration = LogConfiguration.small(.strict)
        configuration.idleMarkDelay = .seconds(3600)
        let log = try directory.open(configuration)
        defer { log.close() }
        for number in UInt64(1)...3 {
            try await log.appendDurably([.plain(Int(number))])
            #expect(try marks().last == number)
        }
    }

    @Test func anIdleLogIsMarked() async throws {
        let log = try directory.open()
        defer { log.close() }
        try await log.appendDurably([.plain(1), .plain(2)])
        var found: [UInt64] = []
        for _ in 0..<200 where found.last != 2 {
            try await Task.sleep(for: .milliseconds(5))
            found = try marks()
        }
        #expect(found == [2])
    }

    @Test func aClosedLogIsMarked() async throws {
        var configuration = LogConfiguration.small()
        configuration.idleMarkDelay = .seconds(3600)
        let log = try directory.open(configuration)
        try await log.appendDurably([.plain(1)])
        #expect(try marks().isEmpty)
        _ = try log.append([.plain(2)], expecting: LogPosition(2))
        log.close()
        #expect(try marks() == [2])
    }

    /// The positions that the marks in the newest segment name: a mark is a block without a group.
    private func marks() throws -> [UInt64] {
        let path = try #require(try PosixStorage().segments(in: directory.path).last)
        let bytes = try PosixStorage().bytes(of: path)
        return stride(from: 4096, to: bytes.count, by: 4096).compactMap { offset in
            guard bytes[offset..<(offset + 4)] == [UInt8]("WBBK".utf8)[...] else { return nil }
            guard bytes[(offset + 40)..<(offset + 44)] == [0, 0, 0, 0] else { return nil }
            return bytes[(offset + 24)..<(offset + 32)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
    }
}
