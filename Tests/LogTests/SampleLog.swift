import Log
import TestSupport
import Testing

/// A log on a simulated disk, and where its blocks lie, for tests that damage it.
struct SampleLog {
    /// A block, found by reading the file as the format describes it.
    struct Place: Sendable {
        let path: String
        let offset: Int
        /// Bytes of the group frame, 0 for a mark.
        let frame: Int
        var end: Int { offset + (64 + frame + 4095) / 4096 * 4096 }
        var used: Range<Int> { offset..<(offset + 64 + frame) }
        var padding: Range<Int> { used.upperBound..<end }
    }

    var storage: SimulatedStorage
    let ledger: CrashLedger

    /// Appends `groups` groups, each waited for, so that every one is acknowledged and lies in a block of its own.
    ///
    /// - Parameter isClosed: closing leaves a mark at the end; otherwise the machine stops without one.
    static func make(
        groups: Int,
        bytes: Int = 3000,
        durability: LogConfiguration.Durability = .normal,
        isClosed: Bool
    ) async throws -> SampleLog {
        let storage = SimulatedStorage(directory: "/log")
        let clock = ManualClock()
        let log = try EventLog.open(
            directory: "/log",
            configuration: .unhurried(durability),
            storage: storage,
            now: clock.now
        )
        var ledger = CrashLedger()
        for number in 0..<groups {
            let drafts = [RecordDraft.plain(number, count: bytes), .plain(number + 1000)]
            ledger.add(drafts)
            clock.time = ledger.time
            try await log.appendDurably(drafts)
        }
        if isClosed { log.close() }
        defer { log.close() }
        var generator = SeededGenerator(seed: 0)
        return SampleLog(storage: storage.crash(using: &generator), ledger: ledger)
    }

    func open() throws(LogError) -> EventLog {
        let clock = ManualClock(ledger.time + 1_000_000)
        return try EventLog.open(directory: "/log", configuration: .small(), storage: storage, now: clock.now)
    }

    func verify() throws -> LogVerifier.Report { try LogVerifier(directory: "/log", storage: storage).run() }

    /// A disk with the same bytes, to be damaged apart from this one.
    func copy() -> SampleLog {
        var generator = SeededGenerator(seed: 0)
        return SampleLog(storage: storage.crash(using: &generator), ledger: ledger)
    }

    var segments: [String] {
        get throws { try storage.segments(in: "/log") }
    }

    var newest: String {
        get throws { try #require(try segments.last) }
    }

    func blocks(in path: String) throws -> [Place] {
        let bytes = try storage.bytes(of: path)
        var places: [Place] = []
        var offset = 4096
        while offset + 64 <= bytes.count, bytes[offset..<(offset + 4)] == [UInt8]("WBBK".utf8)[...] {
            let frame = bytes[(offset + 40)..<(offset + 44)].reversed().reduce(0) { $0 << 8 | Int($1) }
            let place = Place(path: path, offset: offset, frame: frame)
            places.append(place)
            offset = place.end
        }
        return places
    }

    func flip(_ path: String, at offset: Int) { storage.damage(path, at: offset) { $0[0] ^= 0x20 } }

    func erase(_ place: Place) {
        storage.damage(place.path, at: place.offset) { bytes in
            UnsafeMutableRawBufferPointer(rebasing: bytes[0..<(place.end - place.offset)])
                .initializeMemory(as: UInt8.self, repeating: 0)
        }
    }
}
