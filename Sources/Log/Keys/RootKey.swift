import CWaybill
import Glibc

/// Where the root key is kept. The key state is sealed under it; without it no body can be read again.
package protocol RootKeyHolder: Sendable {
    /// The 32 bytes of the current root key, or nil when none was ever made.
    func load() throws(LogError) -> [UInt8]?
    /// Makes the first root key durable and returns it.
    func create() throws(LogError) -> [UInt8]
}

/// A key in a file of its own: 32 bytes in hexadecimal and a newline, mode 0600.
package struct KeyFile: RootKeyHolder {
    /// What errors call the key.
    private let name: String
    private let path: String
    private let storage: any Storage

    /// The key of keys. Losing it loses every body.
    package static func root(path: String, storage: any Storage = PosixStorage()) -> KeyFile {
        KeyFile(name: "root key", path: path, storage: storage)
    }

    /// The Ed25519 seed that signs checkpoints.
    package static func log(path: String, storage: any Storage = PosixStorage()) -> KeyFile {
        KeyFile(name: "log key", path: path, storage: storage)
    }

    package func load() throws(LogError) -> [UInt8]? {
        var status = stat()
        guard stat(path, &status) == 0 else {
            if errno == ENOENT { return nil }
            throw LogError(.keyUnavailable, "could not inspect the \(name) file \(path)", errno: errno)
        }
        guard status.st_mode & 0o077 == 0 else {
            throw LogError(.keyUnavailable, "the \(name) file \(path) is open to other users; run chmod 600 on it")
        }
        let text = String(decoding: try storage.readAll(path, limit: 4096), as: UTF8.self)
        guard let key = Hex.decode(String(text.prefix(64))), key.count == 32 else {
            throw LogError(.keyUnavailable, "the \(name) file \(path) does not hold 64 hexadecimal digits")
        }
        return key
    }

    package func create() throws(LogError) -> [UInt8] {
        let key = Crypto.randomBytes(32)
        try storage.replaceFile(path, with: [UInt8]((Hex.encode(key) + "\n").utf8))
        return key
    }
}
