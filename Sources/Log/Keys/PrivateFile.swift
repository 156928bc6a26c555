import Glibc

/// A file that holds a key: only its owner may open it.
struct PrivateFile: Sendable {
    /// What errors call the key.
    let name: String
    let path: String
    let storage: any Storage

    /// At most 16 KiB of content, or nil when there is no such file.
    ///
    /// - Throws: `keyUnavailable` when others may open the file.
    func read() throws(LogError) -> [UInt8]? {
        var status = stat()
        guard stat(path, &status) == 0 else {
            let number = errno
            // A file that is to be made must be safe where it is made, too.
            if number == ENOENT {
                try PrivateDirectory.checkParent(of: path, name)
                return nil
            }
            let isTransient = number == ENOMEM || number == EACCES
            let message = "could not inspect the \(name) file \(path)"
            throw LogError(.keyUnavailable, message, errno: number, isTransient: isTransient)
        }
        guard status.st_mode & 0o077 == 0 else {
            throw LogError(.keyUnavailable, "the \(name) file \(path) is open to other users; run chmod 600 on it")
        }
        try PrivateDirectory.checkParent(of: path, name)
        return try storage.readAll(path, limit: 16_384)
    }
}
