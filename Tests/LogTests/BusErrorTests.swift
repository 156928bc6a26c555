import Glibc
import Log
import TestSupport
import Testing

/// A map of a file that has become shorter, or cannot be read, raises SIGBUS: the process ends and names segment and offset.
@Suite(.timeLimit(.minutes(30))) struct BusErrorTests {
    @Test func aCutSegmentIsNamed() async throws {
        let result = try await #require(
            processExitsWith: .signal(SIGBUS),
            observing: [\.standardErrorContent]
        ) {
            BusErrors.report()
            let directory = TemporaryDirectory()
            let log = try EventLog.open(directory: directory.path, configuration: .small())
            for number in 0..<9 { try await log.appendDurably([.plain(number, count: 200_000)]) }
            let first = try #require(try PosixStorage().segments(in: directory.path).first)
            // More than can be noted at once: a map that is gone leaves its place to others.
            for _ in 0..<10_000 { _ = try PosixStorage().open(first, .read).map(length: 4096) }
            _ = try log.reader.record(at: LogPosition(1))
            _ = try log.reader.record(at: LogPosition(9))
            try PosixStorage().open(first, .readWrite).truncate(to: 8192)
            _ = try? log.reader.record(at: LogPosition(1))
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        let message = try #require(text.split(separator: "\n").first { $0.hasPrefix("waybill: SIGBUS") })
        #expect(message.contains("segment 00000000000000000001.wal cannot be read at offset 8192:"), "\(text)")
    }

    @Test func aCutSealedSegmentIsNamed() async throws {
        let result = try await #require(
            processExitsWith: .signal(SIGBUS),
            observing: [\.standardErrorContent]
        ) {
            BusErrors.report()
            let directory = TemporaryDirectory()
            var configuration = LogConfiguration.small()
            configuration.sealing = true
            let log = try EventLog.open(directory: directory.path, configuration: configuration)
            for number in 0..<12 { try await log.appendDurably([.plain(number, count: 200_000)]) }
            let sealed = directory.path + "/00000000000000000002.sealed"
            while (try? PosixStorage().bytes(of: sealed)) == nil { usleep(1000) }
            while try PosixStorage().list(directory.path).contains("00000000000000000002.wal") { usleep(1000) }
            usleep(100_000)
            _ = try log.reader.digests()
            try PosixStorage().open(sealed, .readWrite).truncate(to: 4096)
            _ = try? log.reader.digests()
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        let message = try #require(text.split(separator: "\n").first { $0.hasPrefix("waybill: SIGBUS") })
        #expect(message.contains("segment 00000000000000000002.sealed cannot be read at offset"), "\(text)")
    }

    @Test func anotherBusErrorEndsTheProcessToo() async throws {
        let result = try await #require(
            processExitsWith: .signal(SIGBUS),
            observing: [\.standardErrorContent]
        ) {
            BusErrors.report()
            raise(SIGBUS)
        }
        #expect(String(decoding: result.standardErrorContent, as: UTF8.self).contains("outside of every segment"))
    }
}
