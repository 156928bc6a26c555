import Log

/// Seals a file as it arrives: its plaintext is never on disk.
///
/// `@unchecked Sendable`: the driver's thread alone calls `take`, and only while `perform` runs; whoever called `perform` uses
/// the rest before and after it, and the driver's lock lies between.
final class MediaSink: BodySink, @unchecked Sendable {
    /// How often the disk is asked whether there is room, in bytes.
    private static let step: UInt64 = 1 << 20

    private let writer: SealedFileWriter
    private let limit: Int
    /// Throws when the disk is so full that only outcomes may still be written.
    private let admit: () throws(LogError) -> Void
    private var askedAt: UInt64 = 0
    private var hash = SHA256Stream()
    private(set) var isTooLarge = false
    private(set) var failure: LogError?

    /// - Parameter limit: the longest file that is wanted, in bytes.
    init(_ writer: SealedFileWriter, limit: Int, admit: @escaping () throws(LogError) -> Void) {
        self.writer = writer
        self.limit = limit
        self.admit = admit
    }

    /// SHA-256 of all that was taken; asked once.
    func digest() -> Digest {
        var whole = SHA256Stream()
        swap(&whole, &hash)
        return whole.finish()
    }

    func take(_ bytes: UnsafeRawBufferPointer) -> Bool {
        if writer.plaintextBytes + UInt64(bytes.count) > UInt64(limit) {
            isTooLarge = true
            return false
        }
        do {
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
}
