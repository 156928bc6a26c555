import Glibc
import Log
import TestSupport
import Testing

@Suite struct SealedFileTests {
    private let sample = SealedFileSample()

    @Test(arguments: [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000])
    func whatWasWrittenIsRead(_ count: Int) throws {
        let plaintext = SealedFileSample.plaintext(count)
        let written = try sample.write(plaintext)
        let stored = try sample.stored
        let chunks = max(1, (count + 65_535) / 65_536)
        #expect(written.bytes == UInt64(count))
        #expect(written.digest.bytes == Crypto.sha256(stored))
        #expect(stored.count == 104 + count + 28 * chunks)
        #expect(sample.storage.paths == [SealedFileSample.path])
        let reader = try sample.open()
        #expect(reader.bytes == UInt64(count))
        #expect(reader.chunkCount == chunks)
        #expect(try sample.read() == plaintext)
    }

    @Test(arguments: [0, 1, 65_536, 200_000])
    func oneAppendIsAsGoodAsMany(_ count: Int) throws {
        let plaintext = SealedFileSample.plaintext(count)
        let writer = try sample.begin()
        try plaintext.withUnsafeBytes { try writer.append($0) }
        try writer.append(UnsafeRawBufferPointer(start: nil, count: 0))
        let appended = writer.plaintextBytes
        #expect(appended == UInt64(count))
        _ = try writer.finish(as: SealedFileSample.path)
        #expect(try sample.read() == plaintext)
    }

    @Test func chunksAreReadInAnyOrder() throws {
        let plaintext = SealedFileSample.plaintext(200_000)
        try sample.write(plaintext)
        let reader = try sample.open()
        for number in [2, 0, 3, 1, 1] {
            let end = min((number + 1) * SealedFileWriter.chunkBytes, plaintext.count)
            #expect(try reader.chunk(number) == Array(plaintext[(number * SealedFileWriter.chunkBytes)..<end]))
        }
    }

    /// What the writer writes opens by the document alone.
    @Test(arguments: [0, 1, 65_536, 200_000])
    func theFormatIsThePublishedOne(_ count: Int) throws {
        let plaintext = SealedFileSample.plaintext(count)
        try sample.write(plaintext)
        let stored = try sample.stored
        let published = PublishedSealedFile(salt: Array(stored[88..<104]))
        #expect(Array(stored[..<104]) == published.header)
        var opened: [UInt8] = []
        var rest = stored[104...]
        var number = 0
        while !rest.isEmpty {
            let box = Array(rest.prefix(PublishedSealedFile.boxBytes))
            rest = rest.dropFirst(box.count)
            let place = published.place(number, isLast: rest.isEmpty)
            let chunk = try #require(AEAD.open(box, key: published.key, authenticated: place))
            opened += chunk
            number += 1
        }
        #expect(opened == plaintext)
    }

    /// And what is made by the document is read.
    @Test func aFileByTheDocumentIsRead() throws {
        let plaintext = SealedFileSample.plaintext(65_537)
        try sample.replace(PublishedSealedFile().file([Array(plaintext[..<65_536]), Array(plaintext[65_536...])]))
        #expect(try sample.read() == plaintext)
    }

    @Test func eachFileHasAKeyOfItsOwn() throws {
        let plaintext = SealedFileSample.plaintext(1000)
        try sample.write(plaintext)
        let first = try sample.stored
        try sample.write(plaintext)
        let second = try sample.stored
        #expect(first[88..<104] != second[88..<104])
        #expect(try sample.read() == plaintext, "the second took the place of the first")
    }

    // MARK: Keys

    @Test func theKeyIsAskedForByItsReference() throws {
        try sample.write([1, 2, 3])
        var asked: [KeyReference] = []
        _ = try SealedFileReader(
            SealedFileSample.path,
            storage: sample.storage,
            message: SealedFileSample.message,
            index: SealedFileSample.index
        ) { reference in
            asked.append(reference)
            return SealedFileSample.leaf
        }
        #expect(asked == [SealedFileSample.reference])
    }

    @Test func aDestroyedKeyHasAnErrorOfItsOwn() throws {
        try sample.write([1, 2, 3])
        expect(.keyDestroyed) { _ in nil }
    }

    @Test func anErrorOfTheKeysComesThrough() throws {
        try sample.write([1, 2, 3])
        expect(.keyUnavailable) { _ in throw LogError(.keyUnavailable, "") }
    }

    @Test func anotherKeyOpensNothing() throws {
        try sample.write([1, 2, 3])
        expect(.corrupt) { _ in SealedFileSample.otherLeaf }
    }

    /// AES-GCM alone would let one file open under two keys that somebody has chosen.
    @Test func aFileThatDoesNotCommitToItsKeyIsRefused() throws {
        let other = SealedFileSample.otherLeaf.commitment.bytes
        try sample.replace(PublishedSealedFile(commitment: other).file([[1, 2, 3]]))
        expect(.corrupt) { _ in SealedFileSample.leaf }
        expect(.corrupt) { _ in SealedFileSample.otherLeaf }
    }

    private func expect(_ code: LogError.Code, _ key: (KeyReference) throws -> LeafKey?) {
        #expect(throws: LogError(code, "")) {
            _ = try SealedFileReader(
                SealedFileSample.path,
                storage: sample.storage,
                message: SealedFileSample.message,
                index: SealedFileSample.index,
                key: key
            )
        }
    }

    // MARK: On the real disk

    @Test func theFileIsForItsOwnerOnly() throws {
        let directory = TemporaryDirectory()
        let path = directory.path + "/file"
        let writer = try begin(path + ".part")
        try SealedFileSample.plaintext(100_000).withUnsafeBytes { try writer.append($0) }
        _ = try writer.finish(as: path)
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        let reader = try SealedFileReader(path, storage: PosixStorage(), message: LogPosition(7), index: 0) { _ in
            SealedFileSample.leaf
        }
        let (first, second) = (try reader.chunk(0), try reader.chunk(1))
        #expect(first + second == SealedFileSample.plaintext(100_000))
        #expect(try PosixStorage().list(directory.path) == ["file"])
    }

    @Test func whoEverLetsGoOfAWriterClosesItsFile() throws {
        let directory = TemporaryDirectory()
        let path = directory.path + "/file"
        let discarded = try begin(path + ".1")
        let finished = try begin(path + ".2")
        var dropped: SealedFileWriter? = try begin(path + ".3")
        let all = try withExtendedLifetime(dropped) { try openFiles(path) }
        #expect(all == 3)
        discarded.discard()
        #expect(try openFiles(path) == 2)
        _ = try finished.finish(as: path)
        #expect(try openFiles(path) == 1)
        dropped = nil
        #expect(try openFiles(path) == 0)
        withExtendedLifetime((discarded, finished, dropped)) {}
    }

    private func begin(_ path: String) throws(LogError) -> SealedFileWriter {
        try SealedFileWriter(
            path,
            storage: PosixStorage(),
            reference: SealedFileSample.reference,
            leaf: SealedFileSample.leaf,
            message: LogPosition(7),
            index: 0
        )
    }

    /// How many descriptors of this process are of files whose paths begin so.
    private func openFiles(_ path: String) throws -> Int {
        try PosixStorage().list("/proc/self/fd").filter { target("/proc/self/fd/" + $0).hasPrefix(path) }.count
    }

    /// Where a link leads, or nothing when it is gone by now.
    private func target(_ link: String) -> String {
        var path = [CChar](repeating: 0, count: 4096)
        let count = readlink(link, &path, path.count)
        return String(decoding: path.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
