import Log
import TestSupport
import Testing

/// Tiles and entry bundles (C2SP tlog-tiles), and the store they come from.
@Suite(.timeLimit(.minutes(30))) struct TileTests {
    // MARK: Addresses

    @Test(
        arguments: [
            ("0/000", 0, UInt64(0), 256), ("0/x001/234/067", 0, 1_234_067, 256),
            ("entries/x001/x234/067", nil, 1_234_067, 256),
            ("1/005.p/7", 1, 5, 7), ("entries/x123/456.p/255", nil, 123_456, 255), ("3/999", 3, 999, 256),
            ("0/x001/000", 0, 1000, 256),
        ] as [(String, Int?, UInt64, Int)]
    )
    func addressesAreReadAndWritten(_ row: (text: String, level: Int?, index: UInt64, width: Int)) {
        let path = TilePath(level: row.level, index: row.index, width: row.width)
        if row.text == "0/x001/234/067" {
            #expect(TilePath(row.text) == nil, "every group but the last has an x")
        } else {
            #expect(TilePath(row.text) == path)
            #expect(path.text == row.text)
        }
    }

    /// The example of the specification.
    @Test func theIndexIsWrittenInGroups() {
        #expect(TilePath(level: 0, index: 1_234_067).text == "0/x001/x234/067")
    }

    @Test(arguments: [
        "", "0", "0/", "/000", "0/0", "0/00", "0/0000", "0/1", "0/x000/001", "00/000", "-1/000", "8/000", "x/000",
        "0/x00/000",
        "0/000.p", "0/000.p/", "0/000.p/0", "0/000.p/256", "0/000.p/01", "0/000.p/+1", "0/000/", "0/000.p/1/",
        "0/000.p/1.p/1",
        "entries", "entries/", "Entries/000", "0/x00a/000", "0/٠٠٠", "0/x001/x234", "0/000/x001", "0/../000", "0/000?x",
        "0/x999/x999/x999/x999/x999/x999/x999/999", "0/x1e3/000",
    ])
    func otherAddressesAreRefused(_ text: String) { #expect(TilePath(text) == nil) }

    // MARK: Content

    private struct Sample {
        let directory = LogDirectory()
        let digests: [Digest]
        let log: EventLog

        init(_ count: Int) async throws {
            log = try directory.open()
            for number in 0..<((count + 99) / 100) {
                let drafts = (0..<min(100, count - number * 100)).map {
                    RecordDraft.plain(number * 100 + $0, count: 30)
                }
                try await log.appendDurably(drafts)
            }
            digests = try log.reader.digests()
        }

        func store() -> TileStore {
            TileStore(log.reader, file: TileFile(directory: directory.path, id: log.id, isReadOnly: false))
        }

        /// The tree hash of RFC 6962, section 2.1, as it is written there.
        func hash(_ range: Range<Int>) -> Digest {
            if range.count == 1 { return leaf(range.lowerBound) }
            var split = 1
            while split * 2 < range.count { split *= 2 }
            let middle = range.lowerBound + split
            let left = hash(range.lowerBound..<middle)
            return digest([1] + left.bytes + hash(middle..<range.upperBound).bytes)
        }

        func leaf(_ index: Int) -> Digest { digest([0] + digests[index].bytes) }

        private func digest(_ bytes: [UInt8]) -> Digest { Digest(Crypto.sha256(bytes)) ?? .zero }
    }

    @Test func tilesHoldTheTree() async throws {
        let sample = try await Sample(70_000)
        defer { sample.log.close() }
        let tiles = sample.store()
        let size = UInt64(70_000)
        #expect(try tiles.advance(to: size))
        for index in [0, 1, 100, 272] as [UInt64] {
            let bytes = try #require(try tiles.tile(TilePath(level: 0, index: index), size: size))
            #expect(bytes == (0..<256).flatMap { sample.leaf(Int(index) * 256 + $0).bytes })
        }
        let last = try #require(try tiles.tile(TilePath(level: 0, index: 273, width: 112), size: size))
        #expect(last == (0..<112).flatMap { sample.leaf(273 * 256 + $0).bytes })
        let first = try #require(try tiles.tile(TilePath(level: 1, index: 0), size: size))
        #expect(first == (0..<256).flatMap { sample.hash(($0 * 256)..<(($0 + 1) * 256)).bytes })
        let partial = try #require(try tiles.tile(TilePath(level: 1, index: 1, width: 17), size: size))
        #expect(partial == (256..<273).flatMap { sample.hash(($0 * 256)..<(($0 + 1) * 256)).bytes })
        #expect(try tiles.tile(TilePath(level: 1, index: 1, width: 18), size: size) == nil)
        #expect(try tiles.tile(TilePath(level: 0, index: 273, width: 113), size: size) == nil)
        let top = try #require(try tiles.tile(TilePath(level: 2, index: 0, width: 1), size: size))
        #expect(top == sample.hash(0..<65_536).bytes)
        let entries = try #require(try tiles.tile(TilePath(level: nil, index: 3, width: 5), size: size))
        #expect(entries == (768..<773).flatMap { [0, 32] + sample.digests[$0].bytes })
    }

    @Test func nothingIsServedBeyondTheSize() async throws {
        let sample = try await Sample(600)
        defer { sample.log.close() }
        let tiles = sample.store()
        let cases: [(TilePath, UInt64, Bool)] = [
            (TilePath(level: 0, index: 1), 512, true), (TilePath(level: 0, index: 1), 511, false),
            (TilePath(level: 0, index: 2, width: 88), 600, true), (TilePath(level: 0, index: 2, width: 89), 600, false),
            (TilePath(level: 0, index: 3, width: 1), 600, false), (TilePath(level: 1, index: 0, width: 2), 600, true),
            (TilePath(level: 1, index: 0, width: 3), 600, false), (TilePath(level: 1, index: 0), 600, false),
            (TilePath(level: 2, index: 0, width: 1), 600, false), (TilePath(level: 7, index: 0, width: 1), 600, false),
            (TilePath(level: 0, index: .max), 600, false), (TilePath(level: 7, index: 1 << 60, width: 1), 600, false),
            (TilePath(level: nil, index: 2, width: 88), 600, true), (TilePath(level: nil, index: 2), 600, false),
        ]
        for (path, size, exists) in cases {
            #expect(try (tiles.tile(path, size: size) != nil) == exists, "\(path.text) of \(size)")
        }
    }

    @Test func everyRootIsRight() async throws {
        let sample = try await Sample(1500)
        defer { sample.log.close() }
        let tiles = sample.store()
        for size in [1, 2, 255, 256, 257, 511, 512, 513, 1024, 1300, 1500] {
            #expect(try tiles.root(of: 0..<UInt64(size)) == sample.hash(0..<size))
            for index in [0, size / 3, size - 1] {
                for range in MerkleProof.inclusionRanges(index: UInt64(index), size: UInt64(size)) {
                    let expected = sample.hash(Int(range.lowerBound)..<Int(range.upperBound))
                    #expect(try tiles.root(of: range) == expected, "\(range)")
                }
            }
        }
    }

    // MARK: The file

    /// What was hashed is not hashed again after a restart; what the file lost or got wrong is found and made anew.
    @Test(arguments: [
        "whole", "short by one", "cut", "flipped", "swapped", "zeroed", "foreign", "longer", "missing", "empty",
    ])
    func theFileIsOnlyACache(_ damage: String) async throws {
        let sample = try await Sample(3000)
        _ = try sample.store().advance(to: 3000)
        sample.log.close()
        let path = sample.directory.path + "/tree"
        let storage = PosixStorage()
        let bytes = try storage.bytes(of: path)
        #expect(bytes.count == 32 + 11 * 32)
        let file = try storage.open(path, .readWrite)
        switch damage {
        case "short by one": try file.truncate(to: bytes.count - 32)
        case "cut": try file.truncate(to: bytes.count - 40)
        case "flipped": try file.writeAll([bytes[100] ^ 1], at: 100)
        case "swapped": try file.writeAll(Array(bytes[64..<96] + bytes[32..<64]), at: 32)
        case "zeroed": try file.writeAll([UInt8](repeating: 0, count: 32), at: 96)
        case "foreign": try file.writeAll([bytes[10] ^ 1], at: 10)
        case "longer": try file.writeAll([UInt8](repeating: 9, count: 100), at: bytes.count)
        case "missing": try storage.remove(path)
        case "empty": try file.truncate(to: 0)
        default: break
        }
        let log = try sample.directory.open()
        defer { log.close() }
        try await log.appendDurably((0..<300).map { RecordDraft.plain(5000 + $0) })
        let tiles = TileStore(
            log.reader,
            file: TileFile(directory: sample.directory.path, id: log.id, isReadOnly: false)
        )
        while try !tiles.advance(to: 3300) {}
        #expect(try tiles.root(of: 0..<3000) == sample.hash(0..<3000))
        #expect(try tiles.root(of: 0..<3300) == log.frontier.root)
        #expect(try storage.bytes(of: path).prefix(bytes.count) == bytes[...])
    }

    /// With the file, records that were hashed once are not read again.
    @Test(arguments: [true, false]) func theFileIsUsed(_ isThere: Bool) async throws {
        let sample = try await Sample(3000)
        _ = try sample.store().advance(to: 3000)
        sample.log.close()
        let second = try sample.directory.open()
        try await second.appendDurably([.plain(1)])
        second.close()
        if !isThere { try PosixStorage().remove(sample.directory.path + "/tree") }
        let segment = try PosixStorage().open(sample.directory.path + "/00000000000000000001.wal", .readWrite)
        try segment.writeAll([0xFF], at: 4096 + 64 + 96 + 50)
        let log = try sample.directory.open()
        defer { log.close() }
        let tiles = TileStore(
            log.reader,
            file: TileFile(directory: sample.directory.path, id: log.id, isReadOnly: true)
        )
        let root = Result {
            while try !tiles.advance(to: 2816) {}
            return try tiles.root(of: 0..<2816)
        }
        #expect((try? root.get()) == (isThere ? sample.hash(0..<2816) : nil))
    }

    /// Nobody who asks waits for a long history; it is hashed by `advance`.
    @Test func aLongHistoryIsNotHashedForWhoAsks() async throws {
        let sample = try await Sample(70_000)
        defer { sample.log.close() }
        let tiles = TileStore(sample.log.reader, file: nil)
        #expect(throws: LogError(.overloaded, "")) { try tiles.tile(TilePath(level: 1, index: 0), size: 70_000) }
        #expect(try tiles.tile(TilePath(level: 0, index: 0), size: 70_000) != nil, "single entries need no history")
        while try !tiles.advance(to: 70_000, steps: 50) {}
        #expect(try tiles.tile(TilePath(level: 1, index: 0), size: 70_000) != nil)
    }

    @Test func aReaderBesideTheWriterLeavesTheFileAlone() async throws {
        let sample = try await Sample(1000)
        defer { sample.log.close() }
        let file = TileFile(directory: sample.directory.path, id: sample.log.id, isReadOnly: true)
        let tiles = TileStore(sample.log.reader, file: file)
        #expect(try tiles.root(of: 0..<1000) == sample.log.frontier.root)
        #expect(try !PosixStorage().list(sample.directory.path).contains("tree"))
    }

    @Test func stepsAddUp() async throws {
        let sample = try await Sample(1000)
        defer { sample.log.close() }
        let tiles = sample.store()
        #expect(try !tiles.advance(to: 1000, steps: 1))
        #expect(try !tiles.advance(to: 1000, steps: 1))
        #expect(try tiles.advance(to: 1000, steps: 1))
        #expect(try tiles.advance(to: 1000, steps: 1))
        #expect(try tiles.root(of: 0..<1000) == sample.log.frontier.root)
    }
}
