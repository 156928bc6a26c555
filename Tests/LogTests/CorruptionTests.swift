import Glibc
import Log
import TestSupport
import Testing

/// Guarantee G3: a torn tail is told from damage to what was acknowledged, and damage is never cut away.
@Suite(.timeLimit(.minutes(30))) struct CorruptionTests {
    // MARK: The newest segment

    /// A later block or the mark proves each group, so no damaged byte of any group may be taken for a torn write.
    @Test func damagedGroupsOfTheNewestSegmentAreRefused() async throws {
        let sample = try await SampleLog.make(groups: 6, isClosed: true)
        let groups = try sample.blocks(in: sample.newest).filter { $0.frame > 0 }
        #expect(groups.count == 6)
        for group in groups {
            for offset in Array(group.used.prefix(170))
                + stride(from: group.used.lowerBound, to: group.used.upperBound, by: 97)
            {
                try expectRefusal(of: sample, naming: group) { $0.flip(group.path, at: offset) }
            }
        }
    }

    @Test func lostGroupsOfTheNewestSegmentAreRefused() async throws {
        let sample = try await SampleLog.make(groups: 6, isClosed: true)
        for group in try sample.blocks(in: sample.newest).filter({ $0.frame > 0 }) {
            try expectRefusal(of: sample, naming: group) { $0.erase(group) }
        }
    }

    @Test func inStrictModeTheLastGroupIsProtectedBeforeItsAnswer() async throws {
        let sample = try await SampleLog.make(groups: 3, durability: .strict, isClosed: false)
        let last = try #require(try sample.blocks(in: sample.newest).last { $0.frame > 0 })
        try expectRefusal(of: sample, naming: last) { $0.flip(last.path, at: last.offset + 300) }
        try expectRefusal(of: sample, naming: last) { $0.erase(last) }
    }

    private func expectRefusal(
        of sample: SampleLog,
        naming place: SampleLog.Place,
        _ damage: (SampleLog) -> Void
    ) throws {
        let damaged = sample.copy()
        damage(damaged)
        let before = damaged.storage.contents.mapValues { Crypto.sha256($0) }
        let error = #expect(throws: LogError.self) { try damaged.open().close() }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains("00000000000000000001.wal") == true)
        #expect(error?.message.contains("offset \(place.offset)") == true, "\(String(describing: error))")
        #expect(damaged.storage.contents.mapValues { Crypto.sha256($0) } == before, "a refusal changes nothing")
        #expect(try !damaged.verify().findings.isEmpty)
    }

    /// What a crash left half-made stays as well when the log is refused: it may be what somebody wants to look at.
    @Test func aRefusalKeepsUnfinishedFiles() async throws {
        let sample = try await SampleLog.make(groups: 3, isClosed: true)
        _ = try sample.storage.open("/log/segment-left.tmp", .create)
        let first = try #require(try sample.blocks(in: sample.newest).first)
        try expectRefusal(of: sample, naming: first) { $0.flip(first.path, at: first.offset) }
    }

    @Test func aDamagedMarkCostsNothing() async throws {
        let sample = try await SampleLog.make(groups: 3, isClosed: true)
        let mark = try #require(try sample.blocks(in: sample.newest).last)
        #expect(mark.frame == 0)
        for offset in mark.used {
            let damaged = sample.copy()
            damaged.flip(mark.path, at: offset)
            try expectEverything(of: damaged)
        }
    }

    /// The mark was on disk before the group behind it was written, so that group was not torn: it may not be dropped.
    @Test func aDamagedMarkBeforeAGroupIsNoTornTail() async throws {
        let sample = try await SampleLog.make(groups: 3, durability: .strict, isClosed: false)
        let blocks = try sample.blocks(in: sample.newest)
        #expect(blocks.map { $0.frame == 0 } == [false, true, false, true, false, true])
        sample.erase(blocks[5])
        try expectEverything(of: sample.copy())
        try expectRefusal(of: sample, naming: blocks[3]) { $0.flip(blocks[3].path, at: blocks[3].offset) }
    }

    /// A checkpoint behind damage can be neither confirmed nor denied, and must not end the check.
    @Test func damageBeforeACheckpointIsReported() async throws {
        let sample = try await Self.severalSegments()
        let first = try #require(try sample.blocks(in: try sample.segments[0]).dropFirst().first)
        sample.flip(first.path, at: first.offset + 300)
        let count = UInt64(sample.ledger.digests.count)
        let checkpoints = [3, count, count + 5].map { Checkpoint(origin: "", size: $0, root: .zero) }
        let verifier = LogVerifier(directory: "/log", checkpoints: checkpoints, storage: sample.storage)
        let problems = try verifier.run().findings.map(\.problem)
        #expect(problems.contains { $0.contains("missing: the group's body") })
        #expect(problems.contains { $0.contains("cannot be compared with the checkpoint at 3,") })
        #expect(problems.contains { $0.contains("checkpoint at \(count): it was rewritten") })
        #expect(problems.contains { $0.contains("ends before the checkpoint at \(count + 5):") })
    }

    @Test func damagedPaddingIsReportedAndCostsNothing() async throws {
        let sample = try await SampleLog.make(groups: 3, isClosed: true)
        for block in try sample.blocks(in: sample.newest) {
            let offset = try #require(block.padding.randomElement())
            let damaged = sample.copy()
            damaged.flip(block.path, at: offset)
            #expect(try damaged.verify().findings.count == 1)
            let log = try damaged.open()
            #expect(try log.reader.digests() == sample.ledger.digests)
            log.close()
        }
    }

    @Test func aDamagedHeaderIsRefused() async throws {
        let sample = try await SampleLog.make(groups: 1, isClosed: true)
        for offset in Array(0..<140) + stride(from: 140, to: 4096, by: 61) {
            let damaged = sample.copy()
            damaged.flip(try damaged.newest, at: offset)
            let error = #expect(throws: LogError.self) { try damaged.open().close() }
            #expect(error?.code == .corrupt)
            #expect(error?.message.contains("00000000000000000001.wal") == true)
        }
    }

    /// A file is filled to its size and synced before it takes its name, so no crash makes it shorter.
    @Test(arguments: [4095, 4096, 8192, 12288, 20480, 1 << 19, (1 << 20) - 4096])
    func aCutOffSegmentIsRefused(_ size: Int) async throws {
        let sample = try await SampleLog.make(groups: 3, isClosed: true)
        try sample.storage.open(sample.newest, .readWrite).truncate(to: size)
        #expect(throws: LogError(.corrupt, "")) { try sample.open().close() }
    }

    // MARK: Older segments

    private static func severalSegments() async throws -> SampleLog {
        let sample = try await SampleLog.make(groups: 14, bytes: 250_000, isClosed: true)
        #expect(try sample.segments.count == 4)
        return sample
    }

    /// An older file may have been cut, but nothing makes one longer.
    @Test(arguments: [1, 4096, 100_000]) func anOlderSegmentThatGrewIsFound(_ count: Int) async throws {
        let sample = try await Self.severalSegments()
        let path = try sample.segments[1]
        let size = try sample.storage.bytes(of: path).count
        let file = try sample.storage.open(path, .readWrite)
        try file.writeAll([UInt8](repeating: 0, count: count), at: max(size, 1 << 20))
        #expect(try sample.verify().findings.contains { path.hasSuffix($0.file) })
    }

    @Test(arguments: ["zeroed", "stale", "swapped"]) func lostSectorsOfOlderSegmentsAreFound(
        _ kind: String
    ) async throws {
        let sample = try await Self.severalSegments()
        for path in try sample.segments.dropLast() {
            let groups = try sample.blocks(in: path).filter { $0.frame > 0 }
            for group in groups.prefix(3) {
                let damaged = sample.copy()
                let bytes = try sample.storage.bytes(of: path)
                let sector = group.offset + 512 * (group.frame / 1024)
                let other = try #require(groups.last { $0.offset != group.offset })
                let replacement: [UInt8] =
                    switch kind {
                    case "zeroed": [UInt8](repeating: 0, count: 512)
                    case "stale": Array(bytes[(other.offset + 512)..<(other.offset + 1024)])
                    default: Array(bytes[other.offset..<(other.offset + 512)])
                    }
                let place = kind == "swapped" ? group.offset : sector
                damaged.storage.damage(path, at: place) { target in
                    UnsafeMutableRawBufferPointer(rebasing: target[..<512]).copyBytes(from: replacement)
                }
                #expect(
                    try damaged.verify().findings.contains { path.hasSuffix($0.file) },
                    "\(kind) at \(place) of \(path)"
                )
            }
        }
    }

    @Test func damageToOlderSegmentsIsFound() async throws {
        let sample = try await Self.severalSegments()
        var generator = SeededGenerator(seed: 8)
        for path in try sample.segments.dropLast() {
            let size = try sample.storage.bytes(of: path).count
            for _ in 0..<60 { try expectFound(sample, path, Int.random(in: 0..<size, using: &generator)) }
        }
    }

    @Test func damageToEveryKindOfByteInOlderSegmentsIsFound() async throws {
        let sample = try await Self.severalSegments()
        let block = try #require(try sample.blocks(in: sample.segments[1]).dropFirst().first)
        // Block header, group header, the first record's header, and some of its payload.
        for offset in 0..<(64 + 96 + 96 + 16) { try expectFound(sample, block.path, block.offset + offset) }
        for offset in [block.padding.lowerBound, block.end - 1] { try expectFound(sample, block.path, offset) }
    }

    /// The verifier must name it, and a reader must either give the right bytes or refuse.
    private func expectFound(_ sample: SampleLog, _ path: String, _ offset: Int) throws {
        let damaged = sample.copy()
        damaged.flip(path, at: offset)
        if let report = try? damaged.verify() {
            #expect(report.findings.contains { path.hasSuffix("\($0.segment).wal") }, "\(path) at \(offset)")
        }
        expectNoWrongBytes(damaged)
    }

    private func expectNoWrongBytes(_ damaged: SampleLog) {
        guard let log = try? damaged.open() else { return }
        defer { log.close() }
        let digests = damaged.ledger.digests
        for position in UInt64(1)...UInt64(digests.count) {
            guard let record = try? log.reader.record(at: LogPosition(position)) else { continue }
            #expect(record.withView(\.computedDigest) == digests[Int(position) - 1])
        }
        var position = 0
        try? log.reader.scan(from: LogPosition(1)) { record in
            #expect(record.computedDigest == digests[position])
            position += 1
        }
    }

    @Test func aRecordChangedWithItsChecksumsIsFound() async throws {
        // What a forger would do who knows about checksums: the entry digest no longer fits, nor does the tree.
        let sample = try await Self.severalSegments()
        let block = try #require(try sample.blocks(in: sample.segments[1]).first)
        sample.storage.damage(block.path, at: block.offset) { bytes in
            bytes[64 + 96 + 96] ^= 1
            Self.repairChecksums(UnsafeMutableRawBufferPointer(rebasing: bytes[0..<(64 + block.frame)]))
        }
        #expect(try sample.verify().findings.contains { $0.segment == 2 })
    }

    /// Changes the payload of a segment's first record, and its digest and the checksums around it with it.
    private static func forgeFirstRecord(of segment: String, in sample: SampleLog) throws {
        let block = try #require(try sample.blocks(in: segment).first)
        sample.storage.damage(block.path, at: block.offset) { bytes in
            let record = 64 + 96
            bytes[record + 96] ^= 1
            let view = RecordView(UnsafeRawBufferPointer(bytes), at: record)
            for (index, byte) in (view?.computedDigest.bytes ?? []).enumerated() { bytes[record + 64 + index] = byte }
            repairChecksums(UnsafeMutableRawBufferPointer(rebasing: bytes[0..<(64 + block.frame)]))
        }
    }

    @Test func aRecordReplacedWithItsDigestIsFound() async throws {
        let sample = try await Self.severalSegments()
        try Self.forgeFirstRecord(of: try sample.segments[1], in: sample)
        // The record now fits its own digest; only the link of the next group and the tree tell.
        #expect(try sample.verify().findings.contains { $0.segment == 2 || $0.segment == 3 })
    }

    /// A forger who also rewrites every link after the change: now only the tree in the next segment's header tells.
    @Test func aRewrittenHistoryIsFoundByTheTree() async throws {
        let sample = try await Self.severalSegments()
        try Self.forgeFirstRecord(of: try sample.segments[1], in: sample)
        try Self.repairLinks(sample)
        let findings = try sample.verify().findings
        #expect(findings.map(\.segment) == [3])
        #expect(findings.allSatisfy { $0.problem.contains("tree") })
    }

    /// Links every group and segment to the one before as it is now.
    private static func repairLinks(_ sample: SampleLog) throws {
        var link = Digest.zero
        for path in try sample.segments {
            sample.storage.damage(path, at: 0) { page in
                page.baseAddress?.advanced(by: 80).copyMemory(from: link.bytes, byteCount: 32)
                let checksum = Checksum.crc32c(UnsafeRawBufferPointer(page), 12..<4096)
                page.storeBytes(of: checksum.littleEndian, toByteOffset: 8, as: UInt32.self)
            }
            for block in try sample.blocks(in: path) where block.frame > 0 {
                sample.storage.damage(path, at: block.offset) { bytes in
                    let used = UnsafeMutableRawBufferPointer(rebasing: bytes[0..<(64 + block.frame)])
                    used.baseAddress?.advanced(by: 64 + 48).copyMemory(from: link.bytes, byteCount: 32)
                    repairChecksums(used)
                    link = GroupHeader.linkValue(of: UnsafeRawBufferPointer(rebasing: used[64...]))
                }
            }
        }
    }

    /// Makes the checksums of a block's group fit again.
    private static func repairChecksums(_ block: UnsafeMutableRawBufferPointer) {
        let frame = UnsafeMutableRawBufferPointer(rebasing: block[64...])
        let body = Checksum.crc32c(UnsafeRawBufferPointer(frame), 96..<frame.count)
        frame.storeBytes(of: body.littleEndian, toByteOffset: 32, as: UInt32.self)
        let header = Checksum.crc32c(UnsafeRawBufferPointer(frame), 8..<96)
        frame.storeBytes(of: header.littleEndian, toByteOffset: 4, as: UInt32.self)
    }

    @Test(arguments: [0, 1, 2])
    func aMissingSegmentIsRefused(_ index: Int) async throws {
        let sample = try await Self.severalSegments()
        try sample.storage.remove(try sample.segments[index])
        #expect(throws: LogError(.corrupt, "")) { try sample.open().close() }
        #expect(try sample.verify().findings.contains { $0.problem.contains("are missing") })
    }

    /// A header that cannot be read does not keep `verify` from the other segments.
    @Test func otherSegmentsAreCheckedBehindADamagedHeader() async throws {
        let sample = try await Self.severalSegments()
        let paths = try sample.segments
        sample.flip(paths[1], at: 20)
        let last = try #require(try sample.blocks(in: paths[3]).first)
        sample.flip(last.path, at: last.offset + 300)
        let findings = try sample.verify().findings
        #expect(findings.contains { paths[1].hasSuffix($0.file) && $0.problem.contains("header") })
        #expect(findings.contains { paths[3].hasSuffix($0.file) && $0.offset == last.offset })
        #expect(!findings.contains { paths[0].hasSuffix($0.file) || paths[2].hasSuffix($0.file) })
    }

    /// What is whole is shown, whatever is damaged around it, and every gap is named.
    @Test(arguments: ["body", "group header", "segment header", "missing segment"])
    func salvageReadsAroundDamage(_ kind: String) async throws {
        let sample = try await Self.severalSegments()
        let path = try sample.segments[1]
        let blocks = try sample.blocks(in: path).filter { $0.frame > 0 }
        switch kind {
        case "body": sample.flip(path, at: blocks[1].offset + 64 + 96 + 200)
        case "group header": sample.flip(path, at: blocks[1].offset + 64 + 20)
        case "segment header": sample.flip(path, at: 50)
        default: try sample.storage.remove(path)
        }
        let log = try ReadOnlyLog(directory: "/log", isSalvage: true, storage: sample.storage)
        var seen: [UInt64] = []
        var gaps: [ClosedRange<UInt64>] = []
        try log.reader.salvage(from: LogPosition(1), through: log.end) { record in
            #expect(record.computedDigest == sample.ledger.digests[Int(record.position.rawValue) - 1])
            seen.append(record.position.rawValue)
        } gap: { positions, error in
            #expect(error.code == .corrupt)
            gaps.append(positions)
        }
        let all = UInt64(sample.ledger.digests.count)
        #expect(seen.count > Int(all) / 2 && seen.last == all)
        #expect((seen + gaps.flatMap { Array($0) }).sorted() == Array(1...all))
        switch kind {
        case "body": #expect(gaps.map(\.count) == [1], "only the damaged record is lost")
        case "missing segment": #expect(gaps.count == 1)
        default: #expect(gaps.isEmpty, "what vouches for a record is its own digest")
        }
    }

    /// Also in the newest segment, up to what is proven to have been acknowledged; the first record is no exception.
    @Test(arguments: [0, 3, 5], [20, 64 + 20, 64 + 96 + 200])
    func salvageReadsAroundDamageInTheNewestSegment(_ index: Int, _ offset: Int) async throws {
        let sample = try await SampleLog.make(groups: 6, isClosed: true)
        let block = try sample.blocks(in: sample.newest)[index]
        sample.flip(block.path, at: block.offset + offset)
        let log = try ReadOnlyLog(directory: "/log", isSalvage: true, storage: sample.storage)
        var seen: [UInt64] = []
        var gaps: [ClosedRange<UInt64>] = []
        try log.reader.salvage(from: LogPosition(1), through: log.end) {
            seen.append($0.position.rawValue)
        } gap: { positions, _ in
            gaps.append(positions)
        }
        // The body is that of the group's first record; headers cost nothing.
        let first = UInt64(2 * index + 1)
        let lost = offset > 64 + 96 ? [first...first] : []
        #expect(gaps == lost)
        #expect(seen == (1...12).filter { lost.isEmpty || $0 != first })
    }

    /// The last group has no mark, and is shown as a start would take it.
    @Test func salvageShowsWhatNothingMarksBehindDamage() async throws {
        let sample = try await SampleLog.make(groups: 3, isClosed: false)
        let block = try #require(try sample.blocks(in: sample.newest).first)
        sample.flip(block.path, at: block.offset + 300)
        #expect(try ReadOnlyLog(directory: "/log", isSalvage: true, storage: sample.storage).end == LogPosition(6))
    }

    /// What was never acknowledged is no gap.
    @Test func salvageEndsBeforeATornTail() async throws {
        let sample = try await SampleLog.make(groups: 3, isClosed: false)
        let last = try #require(try sample.blocks(in: sample.newest).last)
        sample.flip(last.path, at: last.offset + 300)
        let log = try ReadOnlyLog(directory: "/log", isSalvage: true, storage: sample.storage)
        #expect(log.end == LogPosition(4))
    }

    /// A log that is open reads what is whole behind the damaged header of a group as well.
    @Test func recordsBehindADamagedGroupHeaderCanBeRead() async throws {
        let sample = try await Self.severalSegments()
        let blocks = try sample.blocks(in: sample.segments[1]).filter { $0.frame > 0 }
        let log = try sample.open()
        defer { log.close() }
        sample.flip(blocks[1].path, at: blocks[1].offset + 64 + 20)
        let readable = (1...28).filter { (try? log.reader.record(at: LogPosition(UInt64($0)))) != nil }
        #expect(readable.count == 28, "their own digests vouch for those of the group too")
    }

    @Test func aForeignSegmentIsRefused() async throws {
        let sample = try await Self.severalSegments()
        let other = try await Self.severalSegments()
        let path = try sample.segments[1]
        let bytes = try other.storage.bytes(of: path)
        sample.storage.damage(path, at: 0) { $0.copyBytes(from: bytes) }
        #expect(throws: LogError(.corrupt, "")) { try sample.open().close() }
    }

    /// A reader maps older segments, so it must look before it reads behind a file's end. On the real disk, because there
    /// it would be a signal that ends the process.
    @Test func readingACutOffOlderSegmentIsAnErrorAndNoCrash() async {
        await #expect(processExitsWith: .success) {
            let directory = TemporaryDirectory()
            let log = try EventLog.open(directory: directory.path, configuration: .small())
            for number in 0..<9 { try await log.appendDurably([.plain(number, count: 200_000)]) }
            log.close()
            let first = try #require(try PosixStorage().segments(in: directory.path).first)
            // Inside the last group's body, so that its header still says where the body should be.
            try PosixStorage().open(first, .readWrite).truncate(to: 4096 + 3 * 204_800 + 8192)
            // Refusing to open is as good.
            guard let again = try? EventLog.open(directory: directory.path, configuration: .small()) else { return }
            let digests = try? again.reader.digests()
            again.close()
            precondition(digests == nil)
        }
    }

    // MARK: Torn tails

    /// The last group of a log that stopped before its mark: its damage looks like a torn write, and is kept aside.
    @Test func aTornLastGroupIsKeptInQuarantine() async throws {
        let sample = try await SampleLog.make(groups: 3, isClosed: false)
        let last = try #require(try sample.blocks(in: sample.newest).last)
        #expect(last.frame > 0)
        sample.flip(last.path, at: last.offset + 300)
        let torn = try sample.storage.bytes(of: last.path)[last.used]
        let log = try sample.open()
        defer { log.close() }
        #expect(log.durable == LogPosition(4))
        #expect(try log.reader.digests() == Array(sample.ledger.digests.prefix(4)))
        let tail = try #require(log.recovery.discarded.first)
        #expect(log.recovery.discarded.count == 1)
        #expect(tail.segment == 1)
        #expect(tail.offset == last.offset)
        #expect(tail.bytes <= torn.count)
        let kept = try sample.storage.list("/log/quarantine")
        #expect(kept.count == 1)
        let bytes = try sample.storage.bytes(of: "/log/quarantine/" + (try #require(kept.first)))
        #expect(bytes == Array(torn.prefix(tail.bytes)))
        #expect(torn.dropFirst(tail.bytes).allSatisfy { $0 == 0 })
    }

    @Test func aDiscardedTailIsReportedUntilItIsOnRecord() async throws {
        var sample = try await SampleLog.make(groups: 3, isClosed: false)
        let last = try #require(try sample.blocks(in: sample.newest).last)
        sample.flip(last.path, at: last.offset + 300)
        var tails: [[RecoveryReport.DiscardedTail]] = []
        for _ in 0..<3 {
            let log = try sample.open()
            tails.append(log.recovery.discarded)
            log.close()
        }
        #expect(tails[0].count == 1)
        #expect(tails.allSatisfy { $0 == tails[0] })
        let log = try sample.open()
        try log.acknowledgeDiscarded(try #require(tails[0].first))
        log.close()
        let kept = try sample.storage.list("/log/quarantine")
        #expect(kept.count == 1)
        for seed in UInt64(0)..<20 {
            var generator = SeededGenerator(seed: seed)
            sample.storage = sample.storage.crash(using: &generator)
            let again = try sample.open()
            #expect(again.recovery.discarded.isEmpty)
            again.close()
        }
        #expect(try sample.verify().findings.isEmpty)
    }

    /// A crash at any call of the recovery that discards a tail: the fact and the bytes are not lost.
    @Test func aDiscardedTailSurvivesCrashesWhileItIsDiscarded() async throws {
        let sample = try await SampleLog.make(groups: 3, isClosed: false)
        let last = try #require(try sample.blocks(in: sample.newest).last)
        sample.flip(last.path, at: last.offset + 300)
        for seed in UInt64(0)..<150 {
            let crash = CrashPoint(after: Int(seed % 20), seed: seed)
            var copy = sample.copy()
            copy.storage.setHook(crash.hook)
            try copy.open().close()
            guard let image = crash.image else { continue }
            copy.storage = image
            let log = try copy.open()
            #expect(log.recovery.discarded.map(\.offset) == [last.offset], "seed \(seed)")
            #expect(try log.reader.digests() == Array(sample.ledger.digests.prefix(4)))
            log.close()
            #expect(try copy.verify().findings.isEmpty, "seed \(seed)")
        }
    }

    private func expectEverything(of sample: SampleLog) throws {
        let log = try sample.open()
        #expect(try log.reader.digests() == sample.ledger.digests)
        log.close()
        #expect(try sample.verify().findings.isEmpty)
    }

    // MARK: Anything

    /// One flipped bit or one misdirected sector anywhere, together with a crash: in strict mode the log either refuses,
    /// or has every acknowledged record; what it gives out is right; and the verifier knows when something is not.
    @Test(arguments: UInt64(0)..<8)
    func noSingleDamageGoesUnnoticed(_ part: UInt64) async throws {
        for seed in (part * 50)..<(part * 50 + 50) { try await damageOnce(seed) }
    }

    private func damageOnce(_ seed: UInt64) async throws {
        var generator = SeededGenerator(seed: seed)
        let storage = SimulatedStorage(directory: "/log")
        let damage = CrashOptions(
            lostSectors: .garbage,
            bitFlips: seed % 2 == 0 ? 1 : 0,
            misdirectsWrite: seed % 2 == 1
        )
        let crash = CrashPoint(after: Int.random(in: 10..<60, using: &generator), seed: seed, damage)
        let clock = ManualClock()
        let log = try EventLog.open(
            directory: "/log",
            configuration: .small(.strict),
            storage: storage,
            now: clock.now
        )
        crash.watch(log)
        storage.setHook(crash.hook)
        var ledger = CrashLedger()
        for _ in 0..<12 where crash.image == nil {
            let drafts = (0..<3).map { _ in RecordDraft.random(using: &generator, largest: 60_000) }
            ledger.add(drafts)
            clock.time = ledger.time
            try await log.appendDurably(drafts)
        }
        log.close()
        guard let image = crash.image else { return }
        expectNoSilentLoss(SampleLog(storage: image, ledger: ledger), acknowledged: crash.acknowledged)
    }

    private func expectNoSilentLoss(_ damaged: SampleLog, acknowledged: LogPosition) {
        let found = (try? damaged.verify().findings.isEmpty) != true
        do throws(LogError) {
            let log = try damaged.open()
            defer { log.close() }
            #expect(log.durable >= acknowledged)
            var position = 0
            let scanned =
                (try? log.reader.scan(from: LogPosition(1)) { record in
                    #expect(record.computedDigest == damaged.ledger.digests[position])
                    position += 1
                }) != nil
            #expect(scanned || found, "a reader stopped at \(position), but the verifier found nothing")
        } catch {
            #expect(error.code == .corrupt)
        }
    }
}
