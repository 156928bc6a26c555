import Log
import TestSupport
import Testing

/// Every kind of byte of a sealed segment, damaged in every way: found by `verify`, never a crash, never a wrong record.
@Suite(.timeLimit(.minutes(30))) struct SealedCorruptionTests {
    /// A structure of the file, found by reading it as the format describes it.
    struct Place: Sendable, CustomTestStringConvertible {
        let name: String
        let bytes: Range<Int>
        var testDescription: String { "\(name) \(bytes)" }
    }

    /// A log whose second segment is sealed and has several packs.
    private static func sample() async throws -> (SealingSample, path: String, places: [Place]) {
        let sample = try await SealingSample.make(seed: 21, groups: 80)
        let log = try sample.openSealing()
        try sample.waitUntilSealed()
        log.close()
        let names = try sample.sealedFiles.sorted()
        for name in names {
            let places = Self.places(in: try sample.storage.bytes(of: "/log/" + name))
            if places.count > 12 { return (sample, "/log/" + name, places) }
        }
        throw LogError(.notFound, "no segment has several packs")
    }

    private static func places(in bytes: [UInt8]) -> [Place] {
        func number(_ offset: Int, _ count: Int) -> Int {
            bytes[offset..<(offset + count)].reversed().reduce(0) { $0 << 8 | Int($1) }
        }
        var places = [
            Place(name: "header page", bytes: 0..<160), Place(name: "rest of header page", bytes: 160..<4096),
        ]
        let footer = bytes.count - 64
        let table = number(footer + 16, 8)
        var offset = 4096
        while offset < table {
            let (stored, sealed) = (number(offset + 40, 4), number(offset + 48, 4))
            places.append(Place(name: "pack header", bytes: offset..<(offset + 64)))
            places.append(Place(name: "envelopes", bytes: (offset + 64)..<(offset + 64 + stored)))
            if sealed > 0 {
                places.append(
                    Place(name: "sealed sections", bytes: (offset + 64 + stored)..<(offset + 64 + stored + sealed))
                )
            }
            offset += 64 + stored + sealed
        }
        let end = table + number(footer + 12, 4) * 24
        places.append(Place(name: "table", bytes: table..<end))
        if end < footer { places.append(Place(name: "zeros", bytes: end..<footer)) }
        places.append(Place(name: "footer", bytes: footer..<bytes.count))
        return places
    }

    @Test func theStructuresAreFoundWhereTheFormatPutsThem() async throws {
        let (_, _, places) = try await Self.sample()
        let names = Set(places.map(\.name))
        #expect(
            names == [
                "header page", "rest of header page", "pack header", "envelopes", "sealed sections", "table", "zeros",
                "footer",
            ]
        )
    }

    /// One flipped bit in each place, many places of each structure.
    @Test func noFlippedBitGoesUnnoticed() async throws {
        let (sample, path, places) = try await Self.sample()
        var generator = SeededGenerator(seed: 4)
        for place in places {
            let all = place.bytes.count <= 64
            let offsets =
                all ? Array(place.bytes) : (0..<12).map { _ in Int.random(in: place.bytes, using: &generator) }
            for offset in offsets {
                let damaged = sample.copy()
                let bit = UInt8(1) << UInt8.random(in: 0..<8, using: &generator)
                damaged.storage.damage(path, at: offset) { $0[0] ^= bit }
                try expectFound(damaged, sample, "\(place.name) at \(offset)")
            }
        }
    }

    @Test(arguments: ["zeroed sectors", "swapped packs", "cut off", "longer", "another file", "stale", "empty"])
    func noLargerDamageGoesUnnoticed(_ kind: String) async throws {
        let (sample, path, places) = try await Self.sample()
        let packs = places.filter { $0.name == "pack header" }
        for round in 0..<8 {
            let damaged = sample.copy()
            let storage = damaged.storage
            let size = try storage.bytes(of: path).count
            switch kind {
            case "zeroed sectors":
                let sector = 512 * (round * (size / 512) / 8)
                guard try storage.bytes(of: path)[sector..<(sector + 512)].contains(where: { $0 != 0 }) else {
                    continue
                }
                overwrite(storage, path, sector, [UInt8](repeating: 0, count: 512))
            case "swapped packs":
                let bytes = try storage.bytes(of: path)
                let (a, b) = (packs[round % (packs.count - 1)].bytes, packs[round % (packs.count - 1) + 1].bytes)
                overwrite(storage, path, a.lowerBound, Array(bytes[b]))
                overwrite(storage, path, b.lowerBound, Array(bytes[a]))
            case "cut off": try storage.open(path, .readWrite).truncate(to: round * size / 8)
            case "longer": try storage.open(path, .readWrite).writeAll([0], at: size + round * 100)
            case "another file":
                let other = try #require(try sample.sealedFiles.map { "/log/" + $0 }.first { $0 != path })
                try replace(storage, path, with: try storage.bytes(of: other))
            case "stale":
                let original = try storage.bytes(of: path)
                overwrite(storage, path, 4096 * (1 + round), Array(original[0..<4096]))
            default: try replace(storage, path, with: [])
            }
            try expectFound(damaged, sample, "\(kind), round \(round)")
        }
    }

    /// A flipped bit costs no more than the record it lies in; in what lies around records it costs none.
    @Test(arguments: ["pack header", "sealed sections", "table", "footer"])
    func oneFlippedBitHidesNothingBesideIt(_ name: String) async throws {
        let (sample, path, places) = try await Self.sample()
        var generator = SeededGenerator(seed: 5)
        for place in places.filter({ $0.name == name }).prefix(8) {
            let damaged = sample.copy()
            let offset = Int.random(in: place.bytes, using: &generator)
            damaged.storage.damage(path, at: offset) { $0[0] ^= 0x10 }
            let log = try ReadOnlyLog(directory: "/log", isSalvage: true, storage: damaged.storage)
            var (seen, lost): (Set<UInt64>, Int) = ([], 0)
            try log.reader.salvage(from: LogPosition(1), through: log.end) { record in
                #expect(record.computedDigest == sample.ledger.digests[Int(record.position.rawValue) - 1])
                seen.insert(record.position.rawValue)
            } gap: { positions, _ in
                lost += positions.count
            }
            #expect(seen.count + lost == sample.ledger.digests.count)
            #expect(lost <= (name == "sealed sections" ? 1 : 0), "\(place) at \(offset)")
        }
    }

    private func overwrite(_ storage: SimulatedStorage, _ path: String, _ offset: Int, _ bytes: [UInt8]) {
        storage.damage(path, at: offset) { target in
            UnsafeMutableRawBufferPointer(rebasing: target[..<min(bytes.count, target.count)])
                .copyBytes(from: bytes.prefix(target.count))
        }
    }

    private func replace(_ storage: SimulatedStorage, _ path: String, with bytes: [UInt8]) throws {
        try storage.remove(path)
        try storage.open(path, .create).writeAll(bytes, at: 0)
    }

    /// `verify` finds it or says by an error what is wrong; opening refuses or goes on; no read gives a wrong record.
    private func expectFound(_ damaged: SealingSample, _ whole: SealingSample, _ what: String) throws {
        do throws(LogError) {
            let report = try LogVerifier(directory: "/log", storage: damaged.storage).run()
            #expect(!report.findings.isEmpty, "\(what)")
            #expect(report.findings.contains { $0.file.hasSuffix(".sealed") }, "\(what)")
        } catch {
            #expect(error.code == .corrupt, "\(what)")
        }
        let log: EventLog
        do throws(LogError) {
            log = try damaged.openSealing()
        } catch {
            #expect(error.code == .corrupt, "\(what): \(error)")
            return
        }
        defer { log.close() }
        for (index, digest) in whole.ledger.digests.enumerated() where index % 7 == 0 {
            let record = Result { () throws(LogError) -> StoredRecord in
                try log.reader.record(at: LogPosition(UInt64(index) + 1))
            }
            switch record {
            case .success(let record): #expect(record.withView { $0.computedDigest } == digest, "\(what)")
            case .failure(let error): #expect(error.code == .corrupt, "\(what)")
            }
        }
        var position = 0
        do {
            try log.reader.scan(from: LogPosition(1)) { record in
                #expect(record.computedDigest == whole.ledger.digests[position], "\(what)")
                position += 1
            }
        } catch let error as LogError {
            #expect(error.code == .corrupt, "\(what)")
        }
    }
}

extension SealingSample {
    /// A disk with the same bytes, to be damaged apart from this one.
    func copy() -> SealingSample {
        var generator = SeededGenerator(seed: 0)
        return SealingSample(storage: storage.crash(using: &generator), ledger: ledger)
    }
}
