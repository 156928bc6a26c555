/// A key that stays the same, in a file of its own: 32 bytes in hexadecimal and a newline, mode 0600.
package struct KeyFile: Sendable {
    private let file: PrivateFile

    /// The Ed25519 seed that signs checkpoints.
    package static func log(path: String, storage: any Storage = PosixStorage()) -> KeyFile {
        KeyFile(file: PrivateFile(name: "log key", path: path, storage: storage))
    }

    /// The key that backups of the key state are sealed under.
    package static func backup(path: String, storage: any Storage = PosixStorage()) -> KeyFile {
        KeyFile(file: PrivateFile(name: "backup key", path: path, storage: storage))
    }

    /// The 32 bytes, or nil when there is no such file.
    package func load() throws(LogError) -> [UInt8]? {
        guard let bytes = try file.read() else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        guard let key = Hex.decode(String(text.prefix(64))), key.count == 32 else {
            throw LogError(.keyUnavailable, "the \(file.name) file \(file.path) does not hold 64 hexadecimal digits")
        }
        return key
    }

    /// Makes a key durable and returns it.
    package func create() throws(LogError) -> [UInt8] {
        let key = Crypto.randomBytes(32)
        try file.storage.replaceFile(file.path, with: [UInt8]((Hex.encode(key) + "\n").utf8))
        return key
    }
}
