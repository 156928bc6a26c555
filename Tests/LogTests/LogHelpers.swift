import Log
import Synchronization
import TestSupport
import Testing

extension Storage {
    /// The bytes of a whole file.
    func bytes(of path: String) throws -> [UInt8] {
        let file = try open(path, .read)
        var bytes = [UInt8](repeating: 0, count: try file.size)
        let count = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    /// The paths of a log's segments, in order.
    func segments(in directory: String) throws -> [String] {
        try list(directory).filter { $0.hasSuffix(".wal") }.sorted().map { directory + "/" + $0 }
    }
}

/// A log on the real disk, in a directory that goes when the test ends.
struct LogDirectory {
    private let directory = TemporaryDirectory()

    var path: String { directory.path }

    func open(
        _ configuration: LogConfiguration = .small(),
        now: @escaping @Sendable () -> UInt64 = GuardedClock().reader
    ) throws(LogError) -> EventLog {
        try EventLog.open(directory: path, configuration: configuration, now: now)
    }

    func verify(_ limit: LogPosition? = nil) throws(LogError) -> LogVerifier.Report {
        try LogVerifier(directory: path, limit: limit).run()
    }
}

extension EventLog {
    /// Appends at the log's end, waiting while the next segment is still being made.
    @discardableResult
    func append(_ drafts: [RecordDraft], flush: Flush = .byWriter) async throws -> LogPosition {
        for _ in 0..<5000 {
            do {
                return try append(drafts, expecting: next, flush: flush)
            } catch {
                guard error.code == .overloaded else { throw error }
            }
            try await Task.sleep(for: .milliseconds(1))
        }
        throw LogError(.overloaded, "the next segment did not come")
    }

    @discardableResult
    func appendDurably(_ drafts: [RecordDraft]) async throws -> LogPosition {
        let last = try await append(drafts)
        try await waitUntilDurable(last)
        return last
    }
}

extension LogReader {
    /// Positions and entry digests from `first` through the end, each digest recomputed from the bytes.
    func digests(from first: LogPosition = LogPosition(1)) throws -> [Digest] {
        var digests: [Digest] = []
        var expected = first
        try scan(from: first) { record in
            #expect(record.position == expected)
            #expect(record.computedDigest == record.storedDigest)
            expected = expected.next
            digests.append(record.storedDigest)
        }
        return digests
    }
}

extension RecordDraft {
    /// A record of a random kind and size; most are small, a share of them large.
    static func random(
        using generator: inout SeededGenerator,
        largest: Int = 200_000,
        large: Double = 0.08
    ) -> RecordDraft {
        let size =
            generator.chance(large)
            ? Int.random(in: 0...largest, using: &generator) : Int.random(in: 0...900, using: &generator)
        let sealed = generator.chance(0.5) ? Int.random(in: 0...(size / 2), using: &generator) : 0
        return RecordDraft(
            type: UInt16.random(in: 1...60, using: &generator),
            client: LogPosition(generator.next() % 5),
            conversation: LogPosition(generator.next() % 100),
            message: LogPosition(generator.next() % 1000),
            subject: LogPosition(generator.next() % 1000),
            payload: generator.bytes(size - sealed),
            section: sealed == 0 ? .none : .sealed(section(generator.bytes(sealed)))
        )
    }

    /// A well-formed sealed section whose one box holds `box`.
    private static func section(_ box: [UInt8]) -> [UInt8] {
        let reference = KeyReference(client: 1, leaf: 2, epoch: 3, keyClass: .message).bytes
        let length = withUnsafeBytes(of: UInt32(box.count).littleEndian) { [UInt8]($0) }
        return reference + [UInt8](repeating: 7, count: 32) + [SealedPurpose.content.rawValue, 0, 0, 0] + length + box
    }

    /// A record whose payload is `count` bytes made from `number`.
    static func plain(_ number: Int, count: Int = 40) -> RecordDraft {
        var generator = SeededGenerator(seed: UInt64(number))
        return RecordDraft(type: 1, subject: LogPosition(UInt64(number)), payload: generator.bytes(count))
    }
}

/// A clock that a test sets.
final class ManualClock: Sendable {
    private let value: Mutex<UInt64>

    init(_ start: UInt64 = 1_000_000) { value = Mutex(start) }

    var time: UInt64 {
        get { value.withLock { $0 } }
        set { value.withLock { $0 = newValue } }
    }

    var now: @Sendable () -> UInt64 {
        { [self] in time }
    }
}

extension LogConfiguration {
    /// Segments as small as they may be, so that a test sees several.
    static func small(_ durability: Durability = .normal) -> LogConfiguration {
        var configuration = LogConfiguration()
        configuration.segmentBytes = 1 << 20
        configuration.durability = durability
        configuration.sealing = false
        configuration.scrubInterval = nil
        return configuration
    }

    /// As `small`, but time alone does not make the log write a mark.
    static func unhurried(_ durability: Durability = .normal) -> LogConfiguration {
        var configuration = small(durability)
        configuration.idleMarkDelay = .seconds(3600)
        return configuration
    }
}
