import Log
import TestSupport
import Testing

/// Writes that went to each other's places: two sectors of the newest segment, or whole files.
@Suite(.timeLimit(.minutes(30))) struct SwapTests {
    private static let sector = 512

    /// Exchanges two sectors of a file; false when they hold the same.
    private func swap(_ a: Int, _ b: Int, of path: String, in sample: SampleLog) throws -> Bool {
        let bytes = try sample.storage.bytes(of: path)
        let (first, second) = (bytes[a..<(a + Self.sector)], bytes[b..<(b + Self.sector)])
        if first.elementsEqual(second) { return false }
        for (place, content) in [(a, second), (b, first)] {
            sample.storage.damage(path, at: place) {
                UnsafeMutableRawBufferPointer(rebasing: $0[..<Self.sector]).copyBytes(from: content)
            }
        }
        return true
    }

    /// Everything acknowledged is there, or the log is refused; and the verifier knows. Where a swap hits the mark and the
    /// group that only the mark protects, that is two damages at once: then the rest must be whole, and nothing thrown away.
    @Test(arguments: 0..<7) func sectorsOfTheNewestSegment(_ block: Int) async throws {
        let sample = try await SampleLog.make(groups: 6, isClosed: true)
        let path = try sample.newest
        let blocks = try sample.blocks(in: path)
        #expect(blocks.count == 7 && blocks[6].frame == 0)
        let sectors = Array(stride(from: blocks[0].offset, to: blocks[6].end, by: Self.sector))
        for a in sectors where (blocks[block].offset..<blocks[block].end).contains(a) {
            for b in sectors where b > a {
                let damaged = sample.copy()
                guard try swap(a, b, of: path, in: damaged) else { continue }
                let isDouble = b == blocks[6].offset && blocks[5].used.contains(a)
                let isRefused = try expectNoLoss(damaged, atLeast: isDouble ? 10 : 12, "\(a) and \(b)")
                guard isRefused else { continue }
                let untouched = sample.copy()
                _ = try swap(a, b, of: path, in: untouched)
                #expect(damaged.storage.contents == untouched.storage.contents, "\(a) and \(b)")
            }
        }
    }

    /// Returns whether the log was refused.
    private func expectNoLoss(_ damaged: SampleLog, atLeast count: Int, _ places: String) throws -> Bool {
        let isFound = try !damaged.verify().findings.isEmpty
        do throws(LogError) {
            let log = try damaged.open()
            defer { log.close() }
            let digests = (try? log.reader.digests()) ?? []
            #expect(digests.count >= count, "\(places)")
            #expect(digests == Array(damaged.ledger.digests.prefix(digests.count)), "\(places)")
            if digests.count < 12 { #expect(!log.recovery.discarded.isEmpty, "\(places)") }
            return false
        } catch {
            #expect(error.code == .corrupt)
            #expect(isFound, "refused, but the verifier found nothing: \(places)")
            return true
        }
    }

    /// As above, of whole files, written and sealed.
    @Test(arguments: [false, true]) func wholeSegments(_ isSealed: Bool) async throws {
        let sample = try await SealingSample.make(seed: 37)
        if isSealed {
            let log = try sample.openSealing()
            try sample.waitUntilSealed()
            log.close()
            // Else a copy may hold an original again beside its sealed file.
            try sample.storage.syncDirectory("/log")
        }
        let paths = sample.storage.paths.filter { $0.hasSuffix(".wal") || $0.hasSuffix(".sealed") }
        for (index, first) in paths.enumerated() {
            for second in paths.dropFirst(index + 1) {
                let damaged = sample.copy()
                let (a, b) = (try damaged.storage.bytes(of: first), try damaged.storage.bytes(of: second))
                try replace(first, with: b, in: damaged.storage)
                try replace(second, with: a, in: damaged.storage)
                let before = damaged.storage.contents
                let findings = try LogVerifier(directory: "/log", storage: damaged.storage).run().findings
                for path in [first, second] {
                    #expect(findings.contains { path.hasSuffix($0.file) }, "\(first) and \(second): \(path)")
                }
                #expect(throws: LogError(.corrupt, "")) {
                    try EventLog.open(directory: "/log", configuration: .small(), storage: damaged.storage).close()
                }
                #expect(damaged.storage.contents == before)
            }
        }
    }

    private func replace(_ path: String, with bytes: [UInt8], in storage: SimulatedStorage) throws {
        let file = try storage.open(path, .readWrite)
        try file.truncate(to: 0)
        try file.writeAll(bytes, at: 0)
    }
}
