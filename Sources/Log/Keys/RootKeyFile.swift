/// Root keys in a file, mode 0600: two blocks of 4096 bytes, one for the present generation and one for the next.
///
/// A block is one line, then zeros: `waybill root key <generation> <64 hexadecimal digits> <check>`, where the check is the
/// first 8 hexadecimal digits of the SHA-256 of what stands before it. A block that is no such line holds no key: that is what
/// a torn write leaves. Blocks are overwritten in place, because a file that is replaced leaves the old key on the disk.
package struct RootKeyFile: RootKeyHolder {
    private static let blockSize = 4096
    private static let blockCount = 2
    private let file: PrivateFile
    private var storage: any Storage { file.storage }
    private var path: String { file.path }

    package init(path: String, storage: any Storage = PosixStorage()) {
        file = PrivateFile(name: "root key", path: path, storage: storage)
    }

    package func generations() throws(LogError) -> [UInt64] { try blocks().compactMap { $0?.generation }.sorted() }

    package func create(_ generation: UInt64) throws(LogError) {
        let blocks = try blocks()
        if blocks.isEmpty {
            let empty = [UInt8](repeating: 0, count: RootKeyFile.blockSize * RootKeyFile.blockCount)
            try storage.replaceFile(path, with: empty)
        }
        guard let free = blocks.isEmpty ? 0 : blocks.firstIndex(where: { $0 == nil }) else {
            throw LogError(.keyUnavailable, "the root key file \(path) has no room for another generation; restart")
        }
        let head = "waybill root key \(generation) " + Hex.encode(Crypto.randomBytes(32)) + " "
        try write(head + RootKeyFile.check(head) + "\n", to: free)
    }

    package func destroy(_ generation: UInt64) throws(LogError) {
        for (index, block) in try blocks().enumerated() where block?.generation == generation {
            try write("", to: index)
        }
    }

    package func seal(
        _ plaintext: [UInt8],
        generation: UInt64,
        authenticated: [UInt8]
    ) throws(LogError) -> [UInt8] {
        var key = try key(generation)
        defer { Crypto.erase(&key) }
        return AEAD.seal(plaintext, key: key, authenticated: authenticated)
    }

    package func open(_ box: [UInt8], generation: UInt64, authenticated: [UInt8]) throws(LogError) -> [UInt8]? {
        var key = try key(generation)
        defer { Crypto.erase(&key) }
        return AEAD.open(box, key: key, authenticated: authenticated)
    }

    private func key(_ generation: UInt64) throws(LogError) -> [UInt8] {
        for block in try blocks() { if let block, block.generation == generation { return block.key } }
        throw LogError(.keyUnavailable, "the root key file \(path) does not hold generation \(generation)")
    }

    /// The whole block, so that nothing of an earlier key stays behind the line.
    private func write(_ line: String, to index: Int) throws(LogError) {
        var bytes = [UInt8](line.utf8)
        defer { Crypto.erase(&bytes) }
        bytes += [UInt8](repeating: 0, count: RootKeyFile.blockSize - bytes.count)
        let opened = try storage.open(path, .readWrite)
        try opened.writeAll(bytes, at: index * RootKeyFile.blockSize)
        try opened.sync()
    }

    private struct Block {
        let generation: UInt64
        let key: [UInt8]
    }

    /// Empty when there is no file.
    private func blocks() throws(LogError) -> [Block?] {
        guard var bytes = try file.read() else { return [] }
        defer { Crypto.erase(&bytes) }
        guard bytes.count == RootKeyFile.blockSize * RootKeyFile.blockCount else {
            throw LogError(.keyUnavailable, "\(path) is no root key file of Waybill; point --key-root at the right one")
        }
        return (0..<RootKeyFile.blockCount).map { index in
            RootKeyFile.block(bytes[(index * RootKeyFile.blockSize)...].prefix { $0 != UInt8(ascii: "\n") && $0 != 0 })
        }
    }

    private static func block(_ line: ArraySlice<UInt8>) -> Block? {
        let words = String(decoding: line, as: UTF8.self).split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 6, words[..<3] == ["waybill", "root", "key"], let generation = UInt64(words[3]),
            let key = Hex.decode(String(words[4])), key.count == 32,
            check(words[..<5].joined(separator: " ") + " ") == words[5]
        else { return nil }
        return Block(generation: generation, key: key)
    }

    private static func check(_ text: String) -> String {
        Hex.encode(Array(Crypto.sha256([UInt8](text.utf8)).prefix(4)))
    }
}
