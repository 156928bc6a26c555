import Glibc
import Log
import TestSupport
import Testing

@Suite struct RootKeyFileTests {
    private let directory = TemporaryDirectory()

    private var path: String { directory.path + "/root.key" }
    private var root: RootKeyFile { RootKeyFile(path: path) }
    private var bytes: [UInt8] { get throws { try PosixStorage().bytes(of: path) } }

    private func overwrite(_ bytes: [UInt8], at offset: Int) throws {
        try PosixStorage().open(path, .readWrite).writeAll(bytes, at: offset)
    }

    /// The line of a block, without its end.
    private func line(_ block: Int) throws -> String {
        String(decoding: try bytes[(block * 4096)...].prefix { $0 != 10 && $0 != 0 }, as: UTF8.self)
    }

    private func seal(_ text: String, _ generation: UInt64) throws -> [UInt8] {
        try root.seal([UInt8](text.utf8), generation: generation, authenticated: [1, 2, 3])
    }

    private func open(_ box: [UInt8], _ generation: UInt64) throws -> String? {
        try root.open(box, generation: generation, authenticated: [1, 2, 3]).map { String(decoding: $0, as: UTF8.self) }
    }

    // MARK: The file

    @Test func withoutAFileThereIsNoKey() throws {
        #expect(try root.generations() == [])
        #expect(throws: LogError(.keyUnavailable, "")) { try seal("x", 1) }
        #expect(throws: Never.self) { try root.destroy(1) }
        #expect(access(path, F_OK) != 0)
    }

    @Test func theFileIsMadeForItsOwnerOnly() throws {
        try root.create(1)
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        #expect(status.st_size == 8192)
        try root.create(2)
        try root.destroy(1)
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test func aBlockIsOneLineAndZeros() throws {
        try root.create(7)
        let words = try line(0).split(separator: " ", omittingEmptySubsequences: false)
        try #require(words.count == 6)
        #expect(words.prefix(4).map(String.init) == ["waybill", "root", "key", "7"])
        #expect(Hex.decode(String(words[4]))?.count == 32)
        let head = words[..<5].joined(separator: " ") + " "
        #expect(words[5] == Hex.encode(Crypto.sha256([UInt8](head.utf8))).prefix(8))
        let expected = [UInt8]("\(head)\(words[5])\n".utf8)
        #expect(try bytes == expected + [UInt8](repeating: 0, count: 8192 - expected.count))
    }

    @Test(arguments: [0o644, 0o640, 0o604, 0o610, 0o601, 0o660] as [mode_t])
    func aFileThatOthersCanOpenIsRefused(_ mode: mode_t) throws {
        try root.create(1)
        let box = try seal("text", 1)
        #expect(chmod(path, mode) == 0)
        #expect(throws: LogError(.keyUnavailable, "")) { try root.generations() }
        #expect(throws: LogError(.keyUnavailable, "")) { try root.create(2) }
        #expect(throws: LogError(.keyUnavailable, "")) { try root.destroy(1) }
        #expect(throws: LogError(.keyUnavailable, "")) { try seal("text", 1) }
        #expect(throws: LogError(.keyUnavailable, "")) { try open(box, 1) }
        #expect(chmod(path, 0o600) == 0)
        #expect(try root.generations() == [1])
    }

    @Test(arguments: [0, 1, 65, 4096, 8191, 8193, 12_288])
    func aFileOfAnotherSizeIsRefused(_ size: Int) throws {
        let file = try PosixStorage().open(path, .create)
        try file.truncate(to: size)
        #expect(throws: LogError(.keyUnavailable, "")) { try root.generations() }
        #expect(throws: LogError(.keyUnavailable, "")) { try root.create(1) }
        #expect(throws: LogError(.keyUnavailable, "")) { try root.destroy(1) }
        #expect(try bytes == [UInt8](repeating: 0, count: size))
    }

    // MARK: Generations

    @Test func thereIsRoomForTwoGenerations() throws {
        try root.create(1)
        #expect(try root.generations() == [1])
        try root.create(2)
        #expect(try root.generations() == [1, 2])
        let before = try bytes
        let error = #expect(throws: LogError.self) { try root.create(3) }
        #expect(error?.code == .keyUnavailable)
        #expect(error?.message.contains("no room for another generation") == true)
        #expect(error?.message.contains(path) == true)
        #expect(try bytes == before)
    }

    @Test func generationsFollowOneAnother() throws {
        try root.create(1)
        var lines = [try line(0)]
        for generation in UInt64(2)..<12 {
            try root.create(generation)
            #expect(try root.generations() == [generation - 1, generation])
            try root.destroy(generation - 1)
            #expect(try root.generations() == [generation])
            lines += try [line(0), line(1)].filter { !$0.isEmpty }
        }
        let keys = Set(lines.map { $0.split(separator: " ")[4] })
        #expect(keys.count == 11)
    }

    @Test func generationsAreNamedInOrderWhereverTheyLie() throws {
        for generation in UInt64(1)...2 { try root.create(generation) }
        try root.destroy(1)
        try root.create(3)
        #expect(try line(0).hasPrefix("waybill root key 3 "))
        #expect(try root.generations() == [2, 3])
    }

    @Test func nothingOfADestroyedKeyStaysInTheFile() throws {
        try root.create(1)
        let old = try line(0)
        let key = [UInt8](old.split(separator: " ")[4].utf8)
        try root.create(2)
        let other = try line(1)
        try root.destroy(1)
        let after = try bytes
        #expect(after[..<4096].allSatisfy { $0 == 0 })
        // Eight digits of one random key come up in another once in four billion times.
        let text = String(decoding: after, as: UTF8.self)
        for start in 0...(key.count - 8) {
            #expect(!text.contains(String(decoding: key[start..<(start + 8)], as: UTF8.self)))
        }
        #expect(try line(1) == other)
        #expect(throws: Never.self) { try root.destroy(1) }
        #expect(try bytes == after)
    }

    /// A longer line leaves nothing behind a shorter one.
    @Test func aBlockIsOverwrittenAsAWhole() throws {
        try root.create(.max)
        try root.destroy(.max)
        try overwrite([UInt8](repeating: 65, count: 3000), at: 1000)
        try root.create(1)
        let length = try line(0).utf8.count + 1
        #expect(try bytes[length...].allSatisfy { $0 == 0 })
    }

    @Test func aDamagedLineIsNoGeneration() throws {
        for generation in UInt64(1)...2 { try root.create(generation) }
        let whole = try bytes
        for index in 0..<(try line(0).utf8.count) {
            let digit = whole[index] == UInt8(ascii: "0") ? UInt8(ascii: "1") : UInt8(ascii: "0")
            try overwrite([digit], at: index)
            #expect(try root.generations() == [2], "byte \(index)")
            #expect(throws: LogError(.keyUnavailable, ""), "byte \(index)") { try seal("x", 1) }
            try overwrite([whole[index]], at: index)
        }
        #expect(try root.generations() == [1, 2])
    }

    /// A write that the machine did not finish holds no key, and its block is free.
    @Test func aTornLineIsNoGeneration() throws {
        for generation in UInt64(1)...2 { try root.create(generation) }
        let length = try line(1).utf8.count
        for cut in [0, 1, 20, 50, length - 9, length - 8, length - 1] {
            try overwrite([UInt8](repeating: 0, count: length + 1 - cut), at: 4096 + cut)
            #expect(try root.generations() == [1], "\(cut) bytes")
            try root.create(2)
            #expect(try root.generations() == [1, 2], "\(cut) bytes")
        }
    }

    // MARK: Boxes

    @Test func whatIsSealedOpensUnderTheSameGenerationOnly() throws {
        for generation in UInt64(1)...2 { try root.create(generation) }
        let box = try seal("text", 1)
        #expect(box.count == 4 + 28)
        #expect(try open(box, 1) == "text")
        #expect(try open(box, 2) == nil)
        #expect(throws: LogError(.keyUnavailable, "")) { try open(box, 3) }
        #expect(try root.open(box, generation: 1, authenticated: [1, 2, 4]) == nil)
        #expect(try seal("text", 1) != box)
        #expect(try open(seal("", 1), 1) == "")
        try root.destroy(1)
        #expect(throws: LogError(.keyUnavailable, "")) { try open(box, 1) }
    }

    @Test func theKeyIsTheOneInTheFile() throws {
        try root.create(1)
        let key = try #require(Hex.decode(String(try line(0).split(separator: " ")[4])))
        let box = AEAD.seal([UInt8]("text".utf8), key: key, authenticated: [1, 2, 3])
        #expect(try open(box, 1) == "text")
    }

    @Test func anotherFileIsAnotherKey() throws {
        try root.create(1)
        let box = try seal("text", 1)
        let other = RootKeyFile(path: directory.path + "/other.key")
        try other.create(1)
        #expect(try other.open(box, generation: 1, authenticated: [1, 2, 3]) == nil)
    }

    @Test func aTamperedBoxDoesNotOpen() throws {
        try root.create(1)
        let box = try seal("text", 1)
        for index in box.indices {
            var tampered = box
            tampered[index] ^= 1
            #expect(try open(tampered, 1) == nil, "byte \(index)")
        }
        for count in box.indices { #expect(try open(Array(box[..<count]), 1) == nil, "\(count) bytes") }
        #expect(try open(box + [0], 1) == nil)
    }
}

@Suite struct KeyFileTests {
    private let directory = TemporaryDirectory()

    private var path: String { directory.path + "/log.key" }

    @Test func aKeyIsReadAsItWasMade() throws {
        #expect(try KeyFile.log(path: path).load() == nil)
        let key = try KeyFile.log(path: path).create()
        #expect(key.count == 32)
        #expect(try KeyFile.log(path: path).load() == key)
        #expect(try KeyFile.backup(path: path).load() == key)
        #expect(try PosixStorage().bytes(of: path) == [UInt8]((Hex.encode(key) + "\n").utf8))
        #expect(try KeyFile.log(path: path).create() != key)
    }

    @Test func aKeyIsForItsOwnerOnly() throws {
        _ = try KeyFile.log(path: path).create()
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        for mode in [0o644, 0o640, 0o604, 0o601, 0o660] as [mode_t] {
            #expect(chmod(path, mode) == 0)
            #expect(throws: LogError(.keyUnavailable, "")) { try KeyFile.log(path: path).load() }
        }
    }

    @Test(arguments: ["", "00", String(repeating: "zz", count: 32), String(repeating: "a", count: 63)])
    func aFileOfAnotherShapeIsRefused(_ text: String) throws {
        let file = try PosixStorage().open(path, .create)
        try file.writeAll([UInt8](text.utf8), at: 0)
        #expect(throws: LogError(.keyUnavailable, "")) { try KeyFile.log(path: path).load() }
    }
}
