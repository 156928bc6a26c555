/// How one file of a message lies on the disk: a header, then its bytes in sealed chunks, back to back.
/// `docs/log-format.md` is the reference.
///
/// Each chunk but the last holds 64 KiB, the last one the rest; a file of nothing has one empty chunk. Each is a box (see
/// `AEAD`) that is bound to the header, to its number and to whether it is the last, so none can be moved, left out, cut off
/// or taken from another file (STREAM: Hoang, Reyhanitabar, Rogaway and Vizár, "Online authenticated-encryption and its
/// nonce-reuse misuse-resistance", CRYPTO 2015; there number and end are in the nonce, here in what is authenticated, and
/// nonces are random).
enum SealedFileFormat {
    static let boxBytes = SealedFileWriter.chunkBytes + AEAD.overhead

    /// Digest of the header (32), number of the chunk (8), 1 for the last one and else 0 (1).
    static func withAuthenticated<T>(
        _ header: Digest,
        chunk: Int,
        isLast: Bool,
        _ body: (UnsafeRawBufferPointer) -> T
    ) -> T {
        withUnsafeTemporaryAllocation(byteCount: Digest.size + 9, alignment: 8) { bytes in
            var writer = LittleEndianWriter(bytes)
            writer.write(header, at: 0)
            writer.write(UInt64(chunk), at: Digest.size)
            writer.write(UInt8(isLast ? 1 : 0), at: Digest.size + 8)
            return body(UnsafeRawBufferPointer(bytes))
        }
    }

    static func damaged(_ path: String, _ what: String) -> LogError {
        LogError(.corrupt, "\(path) \(what); restore the file from a backup")
    }
}

/// The start of a sealed file: under which key it lies, and of what message it is.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | magic "WAYBMED1" |
/// | 8 | 4 | CRC-32C of bytes 12..<104 |
/// | 12 | 4 | format version, 1 |
/// | 16 | 24 | key reference |
/// | 40 | 32 | key commitment |
/// | 72 | 8 | message: its position |
/// | 80 | 4 | index of the file in the message, from 0 |
/// | 84 | 4 | zeros |
/// | 88 | 16 | salt: random |
struct SealedFileHeader {
    static let size = 104
    private static let magic: UInt64 = 0x3144_454D_4259_4157
    private static let version: UInt32 = 1

    let reference: KeyReference
    let commitment: Digest
    let message: LogPosition
    let index: UInt32
    /// Gives each file a key of its own, also where one is fetched a second time under the same name.
    private let salt: UInt128

    init(reference: KeyReference, leaf: LeafKey, message: LogPosition, index: UInt32) {
        self.reference = reference
        commitment = leaf.commitment
        self.message = message
        self.index = index
        salt = Crypto.publicRandomBytes(16).withUnsafeBytes { $0.integer(0, as: UInt128.self) }
    }

    /// - Throws: `corrupt` for what no writer writes, `unknownFormat` for what only a later one does.
    init(_ bytes: UnsafeRawBufferPointer, path: String) throws(LogError) {
        guard bytes.count >= SealedFileHeader.size,
            bytes.integer(0, as: UInt64.self) == SealedFileHeader.magic,
            bytes.integer(8, as: UInt32.self) == Checksum.crc32c(bytes, 12..<SealedFileHeader.size)
        else { throw SealedFileFormat.damaged(path, "has a damaged header") }
        guard bytes.integer(12, as: UInt32.self) == SealedFileHeader.version else {
            throw LogError(.unknownFormat, "\(path) was written by a later version; use that one")
        }
        guard let reference = KeyReference(UnsafeRawBufferPointer(rebasing: bytes[16..<40])),
            bytes.integer(84, as: UInt32.self) == 0
        else { throw SealedFileFormat.damaged(path, "has a header that contradicts itself") }
        self.reference = reference
        commitment = Digest(bytes, at: 40)
        message = LogPosition(bytes.integer(72, as: UInt64.self))
        index = bytes.integer(80, as: UInt32.self)
        salt = bytes.integer(88, as: UInt128.self)
    }

    /// Fills the first 104 bytes of `output`.
    func encode(into output: UnsafeMutableRawBufferPointer) {
        var writer = LittleEndianWriter(output)
        writer.write(SealedFileHeader.magic, at: 0)
        writer.write(SealedFileHeader.version, at: 12)
        reference.encode(into: UnsafeMutableRawBufferPointer(rebasing: output[16..<40]))
        writer.write(commitment, at: 40)
        writer.write(message.rawValue, at: 72)
        writer.write(index, at: 80)
        writer.write(UInt32(0), at: 84)
        writer.write(salt, at: 88)
        writer.write(Checksum.crc32c(UnsafeRawBufferPointer(output), 12..<SealedFileHeader.size), at: 8)
    }

    /// SHA-256 of the header's bytes, to which every chunk is bound.
    var digest: Digest { SHA256Stream.short(SealedFileHeader.size, isPublic: true) { encode(into: $0) } }

    /// The one key of this file, in memory that is overwritten when it goes:
    /// `SHA-256("waybill media file key v1" ‖ subkey ‖ salt ‖ index)`, of the leaf's subkey at the message's position.
    func key(_ leaf: LeafKey) -> LockedKeys {
        let label: StaticString = "waybill media file key v1"
        let count = label.utf8CodeUnitCount
        let subkey = leaf.subkey(.media, position: message)
        let key = SHA256Stream.short(count + Digest.size + 20) { input in
            input.copyLabel(label)
            var writer = LittleEndianWriter(input)
            writer.write(subkey, at: count)
            writer.write(salt, at: count + Digest.size)
            writer.write(index, at: count + Digest.size + 16)
        }
        var keys = LockedKeys()
        keys.append(key)
        return keys
    }
}

/// Where the boxes of a file lie, which the size of the file alone says.
struct SealedFileShape {
    let chunkCount: Int
    private let lastBytes: Int

    /// Nil when no file that was written whole has this size.
    init?(fileBytes: Int) {
        let boxes = fileBytes - SealedFileHeader.size
        guard boxes >= AEAD.overhead else { return nil }
        chunkCount = (boxes - 1) / SealedFileFormat.boxBytes + 1
        lastBytes = boxes - (chunkCount - 1) * SealedFileFormat.boxBytes - AEAD.overhead
        // Only the file of nothing ends in an empty chunk: so there is one way to write a file.
        guard lastBytes > 0 || (lastBytes == 0 && chunkCount == 1) else { return nil }
    }

    /// Length of the plaintext.
    var bytes: Int { (chunkCount - 1) * SealedFileWriter.chunkBytes + lastBytes }

    /// The place of a chunk's box in the file.
    func box(_ chunk: Int) -> Range<Int> {
        let start = SealedFileHeader.size + chunk * SealedFileFormat.boxBytes
        let isLast = chunk == chunkCount - 1
        return start..<(start + (isLast ? lastBytes + AEAD.overhead : SealedFileFormat.boxBytes))
    }
}
