import Glibc
import Log
import TestSupport
import Testing

/// Whatever was done to a file: nothing is read that was not written there, and nothing traps.
@Suite struct SealedFileDamageTests {
    private let sample = SealedFileSample()

    private func expectRefused(_ bytes: [UInt8], _ what: String) throws {
        try sample.replace(bytes)
        #expect(throws: LogError(.corrupt, ""), "\(what)") { _ = try sample.open() }
    }

    private func expectDamaged(_ reader: SealedFileReader, _ chunk: Int, _ what: String) {
        #expect(throws: LogError(.corrupt, ""), "\(what)") { _ = try reader.chunk(chunk) }
    }

    // MARK: Length

    /// Also where it was cut between two chunks, and before anyone is told a length.
    @Test(arguments: [0, 1, 65_536, 131_072, 200_000])
    func aFileThatWasCutIsRefusedAtOnce(_ count: Int) throws {
        try sample.write(SealedFileSample.plaintext(count))
        let stored = try sample.stored
        var cuts: Set<Int> = [0, 1, 8, 12, 103, stored.count - 17, stored.count - 1]
        for border in stride(from: 104, to: stored.count, by: PublishedSealedFile.boxBytes) {
            for offset in [-1, 0, 1, 12, 27, 28, 29, 30_000] { cuts.insert(border + offset) }
        }
        for cut in cuts.sorted() where cut < stored.count {
            try expectRefused(Array(stored.prefix(cut)), "cut at \(cut)")
        }
    }

    @Test(arguments: [0, 1, 65_536, 131_072, 200_000])
    func aFileThatGrewIsRefusedAtOnce(_ count: Int) throws {
        try sample.write(SealedFileSample.plaintext(count))
        let stored = try sample.stored
        for more in [1, 27, 28, 29, 70_000] {
            try expectRefused(stored + SealedFileSample.plaintext(more), "\(more) bytes more")
        }
    }

    /// Sealed under the right key and numbered rightly, but not as a writer does it.
    @Test func thereIsOneWayToWriteAFile() throws {
        let published = PublishedSealedFile()
        let full = [UInt8](repeating: 1, count: SealedFileWriter.chunkBytes)
        try expectRefused(published.file([full, []]), "an empty chunk behind others")
        try expectRefused(published.file([[1], [2]]), "a short chunk that is not the last")
        try expectRefused(published.file([]), "no chunk")
        try expectRefused(published.file([full + [1]]), "a chunk that is too long")
        try sample.replace(published.file([full, [1]]))
        #expect(try sample.read() == full + [1], "nothing refused: this is what all of them come from")
    }

    @Test func aFileThatIsCutWhileItIsOpenIsDamaged() throws {
        try sample.write(SealedFileSample.plaintext(200_000))
        let reader = try sample.open()
        try sample.storage.open(SealedFileSample.path, .readWrite).truncate(to: 1000)
        for chunk in 0..<4 { expectDamaged(reader, chunk, "chunk \(chunk)") }
    }

    // MARK: Chunks in the wrong place

    @Test func chunksThatChangedPlacesDoNotOpen() throws {
        let plaintext = SealedFileSample.plaintext(200_000)
        try sample.write(plaintext)
        let stored = try sample.stored
        var changed = stored
        changed.replaceSubrange(PublishedSealedFile.box(0), with: stored[PublishedSealedFile.box(1)])
        changed.replaceSubrange(PublishedSealedFile.box(1), with: stored[PublishedSealedFile.box(0)])
        try sample.replace(changed)
        let reader = try sample.open()
        expectDamaged(reader, 0, "the second in the place of the first")
        expectDamaged(reader, 1, "the first in the place of the second")
        #expect(try reader.chunk(2) == Array(plaintext[131_072..<196_608]))
        #expect(try reader.chunk(3) == Array(plaintext[196_608...]))
    }

    @Test func aChunkThatWasLeftOutIsMissed() throws {
        try sample.write(SealedFileSample.plaintext(200_000))
        var changed = try sample.stored
        changed.removeSubrange(PublishedSealedFile.box(1))
        try expectRefused(changed, "the last one has another number now")
    }

    /// Written a second time, under the same key of the same message, with the same bytes.
    @Test func aChunkOfAnotherFileDoesNotOpen() throws {
        let plaintext = SealedFileSample.plaintext(131_072)
        try sample.write(plaintext)
        let first = try sample.stored
        try sample.write(plaintext)
        var mixed = try sample.stored
        mixed.replaceSubrange(PublishedSealedFile.box(0), with: first[PublishedSealedFile.box(0)])
        try sample.replace(mixed)
        let reader = try sample.open()
        expectDamaged(reader, 0, "a chunk of the other file")
        #expect(try reader.chunk(1) == Array(plaintext[65_536...]))
        mixed.replaceSubrange(PublishedSealedFile.box(1), with: first[PublishedSealedFile.box(1)])
        try expectRefused(mixed, "all chunks of the other file")
    }

    @Test func aFileOfAnotherIndexIsRefused() throws {
        try sample.write([1, 2, 3], index: 3)
        #expect(throws: LogError(.corrupt, "")) { _ = try sample.open() }
        #expect(try sample.open(index: 3).chunk(0) == [1, 2, 3])
        var changed = try sample.stored
        changed[80] = 2
        PublishedSealedFile.setChecksum(&changed)
        try expectRefused(changed, "a header that says the right index")
    }

    @Test func aFileOfAnotherMessageIsRefused() throws {
        let other = LogPosition(1_000_002)
        try sample.write([1, 2, 3], message: other)
        #expect(throws: LogError(.corrupt, "")) { _ = try sample.open() }
        #expect(try sample.open(message: other).chunk(0) == [1, 2, 3])
        var changed = try sample.stored
        changed.replaceSubrange(72..<80, with: PublishedSealedFile().header[72..<80])
        PublishedSealedFile.setChecksum(&changed)
        try expectRefused(changed, "a header that says the right position")
    }

    // MARK: Changed bytes

    /// Once as damage, and once as the change of somebody who knows how checksums are made.
    @Test(arguments: [false, true])
    func everyByteOfTheHeaderCounts(_ hasNewChecksum: Bool) throws {
        try sample.write(SealedFileSample.plaintext(100))
        let stored = try sample.stored
        for offset in 0..<104 where !(hasNewChecksum && (8..<12).contains(offset)) {
            var changed = stored
            changed[offset] ^= 0x10
            if hasNewChecksum { PublishedSealedFile.setChecksum(&changed) }
            try sample.replace(changed)
            let error = #expect(throws: LogError.self, "byte \(offset)") { _ = try sample.open() }
            let isVersion = hasNewChecksum && (12..<16).contains(offset)
            let expected = isVersion ? LogError.Code.unknownFormat : LogError.Code.corrupt
            #expect(error?.code == expected, "byte \(offset)")
        }
    }

    @Test func aLaterVersionIsNotDamage() throws {
        try sample.replace(PublishedSealedFile(version: 2).file([[1]]))
        #expect(throws: LogError(.unknownFormat, "")) { _ = try sample.open() }
    }

    /// Nonce, ciphertext and tag of each box; the last box is looked at when the file is opened.
    @Test func everyPartOfABoxCounts() throws {
        try sample.write(SealedFileSample.plaintext(200_000))
        let stored = try sample.stored
        for chunk in 0..<4 {
            let place = PublishedSealedFile.box(chunk).clamped(to: 0..<stored.count)
            let middle = place.lowerBound + place.count / 2
            let tag = place.upperBound - 16
            for offset in [place.lowerBound, place.lowerBound + 11, place.lowerBound + 12, middle, tag, tag + 15] {
                var changed = stored
                changed[offset] ^= 1
                try expectOneDamaged(chunk, changed)
            }
        }
    }

    private func expectOneDamaged(_ damaged: Int, _ bytes: [UInt8]) throws {
        if damaged == 3 { return try expectRefused(bytes, "chunk 3") }
        try sample.replace(bytes)
        let reader = try sample.open()
        expectDamaged(reader, damaged, "chunk \(damaged)")
        for chunk in 0..<4 where chunk != damaged { #expect(throws: Never.self) { _ = try reader.chunk(chunk) } }
    }

    // MARK: Garbage

    @Test func noFileIsStrangerThanDamaged() throws {
        var generator = SeededGenerator(seed: 3)
        let header = PublishedSealedFile().header
        for round in 0..<300 {
            let kept = [0, 104, Int.random(in: 0...104, using: &generator)][round % 3]
            let limit = round % 10 == 0 ? 200_000 : 200
            let rest = generator.bytes(Int.random(in: 0...limit, using: &generator))
            try expectRefused(Array(header.prefix(kept)) + rest, "round \(round)")
        }
    }

    @Test func aFileThatIsNotThereOrCannotBeReadIsNotDamaged() throws {
        let missing = #expect(throws: LogError.self) { _ = try sample.open() }
        #expect(missing?.code == .inputOutput)
        #expect(missing?.errno == ENOENT)
        try sample.write([1, 2, 3])
        let reader = try sample.open()
        sample.storage.setHook { call, _ in call.kind == .read ? EIO : nil }
        #expect(throws: LogError(.inputOutput, "")) { _ = try reader.chunk(0) }
        #expect(throws: LogError(.inputOutput, "")) { _ = try sample.open() }
    }
}
