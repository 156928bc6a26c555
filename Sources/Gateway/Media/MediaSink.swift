import Log

/// Seals a file as it arrives: its plaintext is never on disk. Nothing is opened before the first byte, so that a redirect or a
/// refusal costs no file.
///
/// `@unchecked Sendable`: the driver's thread alone calls `take`, and only while `perform` runs; whoever called `perform` uses
/// the rest before and after it, one call after the other, and the driver's lock lies between.
final class MediaSink: BodySink, @unchecked Sendable {
    /// How often the disk is asked whether there is room, in bytes.
    private static let step: UInt64 = 1 << 20

    private let limit: Int
    private let open: @Sendable () throws -> SealedFileWriter
    /// Throws when there is no room for files.
    private let admit: @Sendable () throws -> Void
    private var writer: SealedFileWriter?
    private var hash = SHA256Stream()
    private var askedAt: UInt64 = 0
    private(set) var isTooLarge = false
    private(set) var failure: (any Error)?

    /// - Parameter limit: the longest file that is wanted, in bytes.
    init(
        limit: Int,
        open: @escaping @Sendable () throws -> SealedFileWriter,
        admit: @escaping @Sendable () throws -> Void
    ) {
        self.limit = limit
        self.open = open
        self.admit = admit
    }

    func take(_ bytes: UnsafeRawBufferPointer) -> Bool {
        do {
            let writer = try opened()
            if writer.plaintextBytes + UInt64(bytes.count) > UInt64(limit) {
                isTooLarge = true
                return false
            }
            if writer.plaintextBytes - askedAt >= MediaSink.step {
                try admit()
                askedAt = writer.plaintextBytes
            }
            try writer.append(bytes)
            hash.update(bytes)
            return true
        } catch {
            failure = error
            return false
        }
    }

    private func opened() throws -> SealedFileWriter {
        if let writer { return writer }
        let writer = try open()
        self.writer = writer
        return writer
    }

    /// SHA-256 of all that was taken; asked once.
    func digest() -> Digest {
        var whole = SHA256Stream()
        swap(&whole, &hash)
        return whole.finish()
    }

    /// Waits for the disk. A file of nothing is one too.
    func finish(as path: String) throws -> (bytes: UInt64, digest: Digest) { try opened().finish(as: path) }

    /// Removes what is not finished.
    func discard() { writer?.discard() }
}
