import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// Sealed segments say what the originals said, and no interruption or fault on the way costs anything.
@Suite(.timeLimit(.minutes(30))) struct SealingTests {
    // MARK: Reading

    @Test(arguments: UInt64(0)..<4)
    func sealedSegmentsReadLikeTheOriginals(_ seed: UInt64) async throws {
        let sample = try await SealingSample.make(seed: seed)
        let log = try sample.openSealing()
        defer { log.close() }
        try sample.waitUntilSealed()
        #expect(try sample.sealedFiles.count >= 4)
        #expect(try log.reader.digests() == sample.ledger.digests)
        try sample.expectEveryRecord(in: log.reader)
        #expect(log.frontier.root == sample.ledger.root(through: log.durable))
    }

    /// Packs are kept unpacked between reads: none is taken for another, and their number does not grow with the log.
    @Test func singleRecordsReadInAnyOrder() async throws {
        let sample = try await SealingSample.make(seed: 21, groups: 400)
        let log = try sample.openSealing()
        defer { log.close() }
        try sample.waitUntilSealed()
        let digests = try log.reader.digests()
        var generator = SeededGenerator(seed: 8)
        let reader = log.reader
        for index in 0..<4_000 {
            // Mostly around one place, as the rows of a page are, and now and then elsewhere.
            let around = index / 40 * 97 % digests.count
            let isNear = Bool.random(using: &generator)
            let at = isNear ? (around + index % 20) % digests.count : Int.random(in: digests.indices, using: &generator)
            let record = try reader.record(at: LogPosition(UInt64(at) + 1))
            #expect(record.withView { $0.computedDigest } == digests[at])
        }
        #expect((2...16).contains(reader.packsInMemory))
    }

    @Test func aScanMayBeginAndEndAnywhere() async throws {
        let sample = try await SealingSample.make(seed: 11)
        let log = try sample.openSealing()
        defer { log.close() }
        try sample.waitUntilSealed()
        let last = log.durable.rawValue
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<300 {
            let first = UInt64.random(in: 1...last, using: &generator)
            let end = UInt64.random(in: first...last, using: &generator)
            var seen: [UInt64] = []
            try log.reader.scan(from: LogPosition(first), through: LogPosition(end)) {
                seen.append($0.position.rawValue)
            }
            #expect(seen == Array(first...end))
        }
    }

    @Test func everyTimeIsFound() async throws {
        let sample = try await SealingSample.make(seed: 5)
        let log = try sample.openSealing()
        defer { log.close() }
        try sample.waitUntilSealed()
        var times: [UInt64] = []
        try log.reader.scan(from: LogPosition(1)) { times.append($0.time) }
        for (index, time) in times.enumerated() {
            let position = LogPosition(UInt64(index) + 1)
            #expect(try log.reader.position(atOrAfter: time) == position)
            #expect(try log.reader.position(atOrAfter: time + 1) == position.next)
        }
        #expect(try log.reader.position(atOrAfter: 0) == LogPosition(1))
    }

    @Test func aLogReopensAndGoesOnOverSealedSegments() async throws {
        var sample = try await SealingSample.make(seed: 2)
        for session in 0..<3 {
            let log = try sample.openSealing()
            try sample.waitUntilSealed()
            #expect(try log.reader.digests() == sample.ledger.digests)
            try await sample.append(.plain(session, count: 1000), to: log)
            log.close()
            #expect(try sample.verify() == [])
        }
    }

    /// The last file may hold no record: then the time goes on from a sealed one.
    @Test func timeDoesNotRunBackwardsBehindASealedSegment() async throws {
        var sample = try await SealingSample.make(seed: 6)
        let log = try sample.openSealing()
        try sample.waitUntilSealed()
        log.close()
        // Opening made another segment, which is empty; what comes before it is sealed now.
        let again = try sample.openSealing(clock: ManualClock(1))
        try sample.waitUntilSealed()
        try await sample.append(.plain(1), to: again)
        again.close()
        #expect(try sample.verify() == [])
    }

    /// A reader that listed the files before they were sealed finds the sealed ones; one that has mapped an original keeps it.
    @Test func readersFromBeforeGoOn() async throws {
        let sample = try await SealingSample.make(seed: 8)
        let before = try ReadOnlyLog(directory: "/log", storage: sample.storage)
        let mapped = try ReadOnlyLog(directory: "/log", storage: sample.storage)
        #expect(try mapped.reader.digests() == sample.ledger.digests)
        let log = try sample.openSealing()
        defer { log.close() }
        try sample.waitUntilSealed()
        #expect(try before.reader.digests() == sample.ledger.digests)
        #expect(try mapped.reader.digests() == sample.ledger.digests)
        let after = try ReadOnlyLog(directory: "/log", storage: sample.storage)
        #expect(try after.reader.digests() == sample.ledger.digests)
    }

    @Test func compressibleEnvelopesShrink() async throws {
        let sample = try await SealingSample.make(seed: 9, payload: { [UInt8](repeating: 65, count: 40 + $0 % 400) })
        let before = try sample.storage.segments(in: "/log").dropLast().map { try sample.storage.bytes(of: $0).count }
        let log = try sample.openSealing()
        defer { log.close() }
        try sample.waitUntilSealed()
        let after = try sample.sealedFiles.map { try sample.storage.bytes(of: "/log/" + $0).count }
        #expect(after.reduce(0, +) * 3 < before.reduce(0, +))
    }

    // MARK: Faults

    /// Killed before any call that sealing makes, the log opens with everything, and seals what is left.
    @Test(arguments: [CrashOptions.LostSector.old, .garbage, .stale])
    func aCrashAtAnyStepOfSealingCostsNothing(_ lost: CrashOptions.LostSector) async throws {
        let sample = try await SealingSample.make(seed: 12, groups: 60)
        let images = Mutex<[(String, SimulatedStorage)]>([])
        let generator = Mutex(SeededGenerator(seed: 77))
        sample.storage.setHook { call, storage in
            guard call.isSealers || call.kind == .syncDirectory, call.changesSomething else { return nil }
            let image = generator.withLock { storage.crash(using: &$0, CrashOptions(lostSectors: lost)) }
            images.withLock { $0.append(("\(call)", image)) }
            return nil
        }
        let log = try sample.openSealing()
        try sample.waitUntilSealed()
        sample.storage.setHook(nil)
        log.close()
        let all = images.withLock { $0 }
        #expect(all.count >= 20)
        for (call, image) in all {
            let crashed = SealingSample(storage: image, ledger: sample.ledger)
            let again = try crashed.openSealing()
            #expect(try again.reader.digests() == sample.ledger.digests, "crashed before \(call)")
            try crashed.waitUntilSealed()
            #expect(try again.reader.digests() == sample.ledger.digests, "crashed before \(call)")
            again.close()
            #expect(try crashed.verify() == [], "crashed before \(call)")
        }
    }

    /// A call of the sealer that fails stops neither the log nor readers, raises an alarm, and leaves the original.
    @Test(arguments: [EIO, ENOSPC])
    func aFailureWhileSealingCostsNothing(_ number: Int32) async throws {
        var calls = 1
        while calls < 60 {
            var sample = try await SealingSample.make(seed: 13, groups: 12)
            let left = Mutex(calls)
            let failed = Mutex<StorageCall?>(nil)
            sample.storage.setHook { call, _ in
                guard call.isSealers || (call.kind == .read && call.path.contains("sealing")) else { return nil }
                let fails = left.withLock { left in
                    left -= 1
                    return left == 0
                }
                if fails { failed.withLock { $0 = call } }
                return fails ? number : nil
            }
            let alarms = Mutex(0)
            let log = try sample.openSealing { _ in alarms.withLock { $0 += 1 } }
            for _ in 0..<2000 where failed.withLock({ $0 == nil }) && !sample.isSealed { usleep(500) }
            guard let call = failed.withLock({ $0 }) else {
                log.close()
                break
            }
            for _ in 0..<2000 where alarms.withLock({ $0 == 0 }) { usleep(500) }
            #expect(alarms.withLock { $0 } > 0, "\(call)")
            #expect(try log.reader.digests() == sample.ledger.digests, "\(call)")
            try await sample.append(.plain(1), to: log)
            log.close()
            sample.storage.setHook(nil)
            let again = try sample.openSealing()
            try sample.waitUntilSealed()
            #expect(try again.reader.digests() == sample.ledger.digests, "\(call)")
            again.close()
            #expect(try sample.verify() == [], "\(call)")
            calls += 1
        }
        #expect(calls > 8 && calls < 60)
    }

    /// What the medium gives back is compared with the original, whatever was written.
    @Test(arguments: [0, 20, 60, 4096, 4096 + 13, 4096 + 70, 9000, -1, -40, -60])
    func aFileThatReadsBackWronglyIsNotUsed(_ place: Int) async throws {
        let sample = try await SealingSample.make(seed: 14, groups: 12)
        sample.storage.setHook { call, storage in
            guard call.kind == .open, call.path.contains("/sealing-") else { return nil }
            let size = storage.contents[call.path]?.count ?? 0
            storage.damage(call.path, at: place >= 0 ? place : size + place) { $0[0] ^= 1 }
            return nil
        }
        let alarms = Mutex<[LogError]>([])
        let log = try sample.openSealing { error in alarms.withLock { $0.append(error) } }
        defer { log.close() }
        for _ in 0..<4000 where alarms.withLock({ $0.isEmpty }) { usleep(500) }
        #expect(alarms.withLock { $0.first?.message.contains("was given up") } == true)
        #expect(!sample.storage.paths.contains("/log/00000000000000000001.sealed"))
        #expect(!sample.storage.paths.contains("/log/sealing-1.tmp"))
        #expect(try log.reader.digests() == sample.ledger.digests)
    }

    /// The same with every checksum of the new file made right again: only the comparison can tell.
    @Test(arguments: ["sealed sections", "envelopes", "time", "last time"])
    func aFileThatReadsBackAsAnotherIsNotUsed(_ part: String) async throws {
        let sample = try await SealingSample.make(seed: 18, groups: 40)
        sample.storage.setHook { call, storage in
            guard call.kind == .open, call.path.contains("/sealing-"), var bytes = storage.contents[call.path] else {
                return nil
            }
            SealedForgery(part).apply(to: &bytes)
            storage.damage(call.path, at: 0) { $0.copyBytes(from: bytes) }
            return nil
        }
        let alarms = Mutex<[LogError]>([])
        let log = try sample.openSealing { error in alarms.withLock { $0.append(error) } }
        defer { log.close() }
        for _ in 0..<4000 where alarms.withLock({ $0.isEmpty }) { usleep(500) }
        #expect(alarms.withLock { $0.first?.message.contains("was given up") } == true)
        #expect(!sample.storage.paths.contains("/log/00000000000000000001.sealed"))
    }

    /// A log whose first segment was sealed and then changed, with checksums that are right.
    private func forged(_ part: String, seed: UInt64, groups: Int) async throws -> SealingSample {
        let sample = try await SealingSample.make(seed: seed, groups: groups)
        let log = try sample.openSealing()
        try sample.waitUntilSealed()
        log.close()
        let path = "/log/00000000000000000001.sealed"
        var bytes = try sample.storage.bytes(of: path)
        SealedForgery(part).apply(to: &bytes)
        sample.storage.damage(path, at: 0) { $0.copyBytes(from: bytes) }
        return sample
    }

    /// A search by time trusts the times of packs, so they must be right.
    @Test(arguments: ["time", "last time"])
    func aForgedTimeIsFound(_ part: String) async throws {
        let sample = try await forged(part, seed: 19, groups: 40)
        #expect(try !LogVerifier(directory: "/log", storage: sample.storage).run().findings.isEmpty)
    }

    /// One segment that cannot be sealed does not keep the others from it.
    @Test func aSegmentThatFailsDoesNotHoldUpOthers() async throws {
        let sample = try await SealingSample.make(seed: 20)
        sample.storage.setHook { call, _ in call.path.contains("/sealing-1.") && call.kind == .create ? EIO : nil }
        let log = try sample.openSealing()
        defer { log.close() }
        for _ in 0..<4000 where (try? sample.storage.segments(in: "/log").count) != 2 { usleep(500) }
        #expect(try sample.storage.segments(in: "/log").first == "/log/00000000000000000001.wal")
        #expect(try sample.storage.segments(in: "/log").count == 2)
    }

    @Test func aDamagedSegmentIsNotSealedAndRaisesAnAlarm() async throws {
        let sample = try await SealingSample.make(seed: 15)
        let path = try #require(try sample.storage.segments(in: "/log").dropFirst().first)
        sample.storage.damage(path, at: 4096 + 64 + 96 + 70) { $0[0] ^= 1 }
        let alarms = Mutex<[LogError]>([])
        let log = try sample.openSealing { error in alarms.withLock { $0.append(error) } }
        defer { log.close() }
        for _ in 0..<4000 where (try? sample.storage.segments(in: "/log").count) != 2 { usleep(500) }
        #expect(alarms.withLock { $0.map(\.code) } == [.corrupt])
        #expect(alarms.withLock { $0.first?.message.contains(path.split(separator: "/").last ?? "") } == true)
        #expect(sample.storage.paths.contains(path))
        #expect(throws: LogError(.corrupt, "")) { try log.reader.digests() }
    }

    /// Beside its original a sealed file means nothing, whatever it holds.
    @Test func theOriginalCountsWhileItIsThere() async throws {
        let sample = try await SealingSample.make(seed: 16)
        let file = try sample.storage.open("/log/00000000000000000001.sealed", .create)
        try file.writeAll([1, 2, 3], at: 0)
        #expect(try sample.verify() == [])
        #expect(try ReadOnlyLog(directory: "/log", storage: sample.storage).reader.digests() == sample.ledger.digests)
        let log = try sample.openSealing()
        try sample.waitUntilSealed()
        #expect(try log.reader.digests() == sample.ledger.digests)
        log.close()
        #expect(try sample.verify() == [])
    }

    /// Nothing is sealed that no other segment follows, so then files are missing.
    @Test func aLogThatEndsInASealedSegmentIsRefused() async throws {
        let sample = try await SealingSample.make(seed: 17)
        let log = try sample.openSealing()
        try sample.waitUntilSealed()
        log.close()
        try sample.storage.remove(try #require(try sample.storage.segments(in: "/log").last))
        #expect(throws: LogError(.corrupt, "")) { try sample.openSealing().close() }
        let findings = try LogVerifier(directory: "/log", storage: sample.storage).run().findings
        #expect(findings.contains { $0.problem.contains("are missing") })
    }

    /// The same when the last one's original came back: that it was sealed proves that another one followed.
    @Test func aLastSegmentThatWasSealedIsRefused() async throws {
        let sample = try await SealingSample.make(seed: 17)
        let newest = try #require(try sample.storage.segments(in: "/log").last)
        let name = newest.replacing(".wal", with: ".sealed")
        try sample.storage.open(name, .create).writeAll([1], at: 0)
        #expect(throws: LogError(.corrupt, "")) { try sample.openSealing().close() }
    }

    /// Files of any name may lie in a directory.
    @Test(arguments: [UInt64.max, 1 << 62, 5000])
    func aSegmentWithANumberFarOffIsRefusedAtOnce(_ number: UInt64) async throws {
        let sample = try await SealingSample.make(seed: 23, groups: 12)
        let digits = String(number)
        let name = String(repeating: "0", count: 20 - digits.count) + digits + ".wal"
        try sample.storage.open("/log/" + name, .create).writeAll([1, 2, 3], at: 0)
        #expect(throws: LogError(.corrupt, "")) { try sample.openSealing().close() }
        #expect(try LogVerifier(directory: "/log", storage: sample.storage).run().findings.map(\.file) == [name])
    }

    /// What is sealed is shown although the header of the newest segment cannot be read.
    @Test func salvageReadsSealedSegmentsBeforeADamagedOne() async throws {
        let sample = try await SealingSample.make(seed: 24)
        let log = try sample.openSealing()
        try sample.waitUntilSealed()
        log.close()
        let newest = try #require(try sample.storage.segments(in: "/log").last)
        sample.storage.damage(newest, at: 20) { $0[0] ^= 1 }
        let salvaged = try ReadOnlyLog(directory: "/log", isSalvage: true, storage: sample.storage)
        var digests: [Digest] = []
        try salvaged.reader.salvage(from: LogPosition(1), through: salvaged.end) {
            digests.append($0.computedDigest)
        } gap: { positions, _ in
            Issue.record("\(positions) cannot be read")
        }
        #expect(digests == sample.ledger.digests)
    }

    /// Positions and tables that cannot be: an error with a name, and an end.
    @Test(arguments: ["last pack", "last of all", "order"])
    func impossibleNumbersAreRefused(_ part: String) async throws {
        let sample = try await forged(part, seed: 25, groups: 80)
        #expect(try !LogVerifier(directory: "/log", storage: sample.storage).run().findings.isEmpty)
        let reader = try ReadOnlyLog(directory: "/log", storage: sample.storage).reader
        var (seen, gaps) = (0, 0)
        try reader.salvage(from: LogPosition(1), through: reader.end) { _ in
            seen += 1
        } gap: { positions, error in
            #expect(error.code == .corrupt)
            gaps += positions.count
        }
        #expect(seen + gaps == sample.ledger.digests.count)
    }

    /// A check that takes its time while the writer goes on and seals what was the newest segment.
    @Test func verifyingBesideAWriterThatSeals() async throws {
        let sample = try await SealingSample.make(seed: 22)
        let log = try sample.openSealing()
        defer { log.close() }
        try sample.waitUntilSealed()
        let end = log.durable
        let verifier = LogVerifier(directory: "/log", limit: end, storage: sample.storage)
        var isRolled = false
        let report = try verifier.run(progress: { index, count in
            if index + 1 < count || isRolled { return }
            isRolled = true
            for number in 0..<40 { try? log.appendDurablyBlocking([.plain(number, count: 60_000)]) }
            try? sample.waitUntilSealed()
        })
        #expect(isRolled)
        #expect(report.findings.isEmpty, "\(report.findings)")
        #expect(report.last >= end)
    }
}

/// Changes one part of the first pack of a sealed segment and makes all its checksums right again.
private struct SealedForgery {
    private let part: String

    init(_ part: String) { self.part = part }

    func apply(to bytes: inout [UInt8]) {
        func number(_ offset: Int, _ count: Int) -> Int {
            bytes[offset..<(offset + count)].reversed().reduce(0) { $0 << 8 | Int($1) }
        }
        let footer = bytes.count - 64
        guard footer > 8192, number(footer + 12, 4) > 0 else { return }
        let (pack, table) = (4096, number(footer + 16, 8))
        let (stored, sealed) = (number(pack + 40, 4), number(pack + 48, 4))
        let (envelopes, sections) = (pack + 64, pack + 64 + stored)
        switch part {
        case "sealed sections": bytes[sections + sealed - 1] ^= 1
        case "envelopes": bytes[envelopes + stored - 3] ^= 1
        case "time":
            bytes[pack + 32] ^= 1
            bytes[table + 8] ^= 1
        case "last pack": for index in 0..<8 { bytes[pack + 24 + index] = 0xFF }
        case "last of all": for index in 0..<8 { bytes[footer + 24 + index] = 0xFF }
        case "order": for index in 0..<8 { bytes[table + 24 + index] = index == 0 ? 1 : 0 }
        default: bytes[footer + 32] ^= 1
        }
        set(&bytes, at: pack + 52, over: envelopes..<sections)
        set(&bytes, at: pack + 56, over: sections..<(sections + sealed))
        set(&bytes, at: pack + 4, over: (pack + 8)..<(pack + 64))
        set(&bytes, at: footer + 40, over: table..<(table + number(footer + 12, 4) * 24))
        set(&bytes, at: footer + 8, over: (footer + 12)..<bytes.count)
    }

    private func set(_ bytes: inout [UInt8], at offset: Int, over range: Range<Int>) {
        let checksum = bytes.withUnsafeBytes { Checksum.crc32c($0, range) }
        for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: checksum >> UInt32(8 * index)) }
    }
}

/// A log of several segments on a simulated disk, none of them sealed yet.
struct SealingSample {
    let storage: SimulatedStorage
    var ledger: CrashLedger

    static func make(
        seed: UInt64,
        groups: Int = 120,
        payload: ((Int) -> [UInt8])? = nil
    ) async throws -> SealingSample {
        var sample = SealingSample(storage: SimulatedStorage(directory: "/log"), ledger: CrashLedger())
        var generator = SeededGenerator(seed: seed)
        let clock = ManualClock()
        // Several sessions, so that some segments are short, cut or empty.
        for session in 0..<3 {
            let log = try EventLog.open(
                directory: "/log",
                configuration: .small(),
                storage: sample.storage,
                now: clock.now
            )
            defer { log.close() }
            for group in 0..<(session == 1 ? 0 : groups / 2) {
                let drafts = (0..<Int.random(in: 1...9, using: &generator)).map { _ in
                    payload.map { RecordDraft(type: 1, payload: $0(group)) }
                        ?? RecordDraft.random(using: &generator, largest: 60_000, large: 0.2)
                }
                sample.ledger.add(drafts)
                clock.time = sample.ledger.time
                try await log.appendDurably(drafts)
            }
        }
        return sample
    }

    func openSealing(
        clock: ManualClock? = nil,
        alarm: @escaping @Sendable (LogError) -> Void = { _ in }
    ) throws(LogError) -> EventLog {
        var configuration = LogConfiguration.small()
        configuration.sealing = true
        let clock = clock ?? ManualClock(ledger.time + 1_000_000)
        return try EventLog.open(
            directory: "/log",
            configuration: configuration,
            storage: storage,
            now: clock.now,
            alarm: alarm
        )
    }

    mutating func append(_ draft: RecordDraft, to log: EventLog) async throws {
        // The log's clock stands; each record comes a nanosecond after the one before, or at the clock's time.
        try await log.appendDurably([draft])
        var digest = Digest.zero
        try log.reader.scan(from: log.durable) { digest = $0.computedDigest }
        ledger.note(digest)
    }

    var sealedFiles: [String] {
        get throws { try storage.list("/log").filter { $0.hasSuffix(".sealed") } }
    }

    var isSealed: Bool {
        let names = (try? storage.list("/log")) ?? []
        return names.filter { $0.hasSuffix(".wal") }.count == 1 && !names.contains { $0.hasPrefix("sealing-") }
    }

    func waitUntilSealed() throws {
        for _ in 0..<20_000 where !isSealed { usleep(500) }
        try #require(isSealed)
    }

    func expectEveryRecord(in reader: LogReader) throws {
        for (index, digest) in ledger.digests.enumerated() {
            let record = try reader.record(at: LogPosition(UInt64(index) + 1))
            #expect(record.withView { $0.computedDigest } == digest)
        }
    }

    func verify() throws -> [LogVerifier.Finding] {
        let report = try LogVerifier(directory: "/log", storage: storage).run()
        #expect(report.records == UInt64(ledger.digests.count))
        #expect(report.root == ledger.root(through: LogPosition(report.records)) || !report.findings.isEmpty)
        return report.findings
    }
}
