/// What was left of the keys at one moment, to be archived while the keys go on changing: pages are only ever added to their
/// file, and this holds the file and the keys of its pages.
///
/// It opens what is destroyed after the moment. So it must not live longer than the writing takes.
package struct KeySnapshot: Sendable {
    private let directory: EpochDirectory
    private let file: any StorageFile

    init(_ directory: EpochDirectory, _ file: any StorageFile) {
        self.directory = directory
        self.file = file
    }

    /// The newest epoch, or 0 when there is none.
    package var newest: UInt32 { directory.newest }

    /// Writes a new file, sealed under `key`. It has its name once it is durable; a failed one leaves nothing behind.
    package func write(
        to path: String,
        key: [UInt8],
        storage: any Storage = PosixStorage()
    ) throws(LogError) {
        defer { Crypto.eraseStack() }
        try LogCopy.whole(path, storage) { (output) throws(LogError) -> Void in
            var writer = try KeyArchiveWriter(output, key: key)
            for (index, entry) in directory.entries.enumerated() {
                try writer.add(entry.number, try content(of: entry, directory.secret(index)))
            }
            try writer.finish()
        }
    }

    private func content(
        of entry: EpochDirectory.Entry,
        _ secret: Digest
    ) throws(LogError) -> KeyState.Change.Content {
        switch entry.kind {
        case .seed: .seed(secret)
        case .page: .tree(try KeyStore.read(KeyStore.Lookup(file: file, place: entry.page, key: secret, version: 0)))
        }
    }
}
