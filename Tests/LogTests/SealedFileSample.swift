import Log
import TestSupport

/// One media file on a simulated disk, and what it takes to write and to read it.
struct SealedFileSample: Sendable {
    static let part = "/media/1000001-2.part"
    static let path = "/media/1000001-2"
    static let leafBytes = [UInt8](repeating: 5, count: 32)
    static let leaf = LeafKey(Digest(leafBytes) ?? .zero)
    static let otherLeaf = LeafKey(Digest([UInt8](repeating: 6, count: 32)) ?? .zero)
    static let reference = KeyReference(client: 3, leaf: 9, epoch: 2, keyClass: .message)
    static let message = LogPosition(1_000_001)
    static let index: UInt32 = 2

    let storage = SimulatedStorage(directory: "/media")

    static func plaintext(_ count: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: UInt64(count))
        return generator.bytes(count)
    }

    func begin(
        message: LogPosition = SealedFileSample.message,
        index: UInt32 = SealedFileSample.index
    ) throws(LogError) -> SealedFileWriter {
        try SealedFileWriter(
            SealedFileSample.part,
            storage: storage,
            reference: SealedFileSample.reference,
            leaf: SealedFileSample.leaf,
            message: message,
            index: index
        )
    }

    /// Writes a whole file, in pieces of odd sizes.
    @discardableResult
    func write(
        _ plaintext: [UInt8],
        message: LogPosition = SealedFileSample.message,
        index: UInt32 = SealedFileSample.index
    ) throws -> (bytes: UInt64, digest: Digest) {
        let writer = try begin(message: message, index: index)
        var generator = SeededGenerator(seed: 1)
        var rest = plaintext[...]
        while !rest.isEmpty {
            let piece = rest.prefix(Int.random(in: 1...9973, using: &generator))
            try piece.withUnsafeBytes { try writer.append($0) }
            rest = rest.dropFirst(piece.count)
        }
        return try writer.finish(as: SealedFileSample.path)
    }

    /// Opens the file on this disk, or on an image of it.
    func open(
        on image: SimulatedStorage? = nil,
        leaf: LeafKey = SealedFileSample.leaf,
        message: LogPosition = SealedFileSample.message,
        index: UInt32 = SealedFileSample.index
    ) throws -> SealedFileReader {
        try SealedFileReader(SealedFileSample.path, storage: image ?? storage, message: message, index: index) { _ in
            leaf
        }
    }

    func read(on image: SimulatedStorage? = nil) throws -> [UInt8] {
        let reader = try open(on: image)
        return try (0..<reader.chunkCount).flatMap { try reader.chunk($0) }
    }

    /// The bytes on the disk.
    var stored: [UInt8] {
        get throws { try storage.bytes(of: SealedFileSample.path) }
    }

    func replace(_ bytes: [UInt8]) throws { try storage.replaceFile(SealedFileSample.path, with: bytes) }
}

/// The format as `docs/log-format.md` tells it, apart from the code under test; also for files that no writer would write.
struct PublishedSealedFile {
    static let headerBytes = 104
    static let boxBytes = 65_564

    var version: UInt32 = 1
    var commitment = sha256([UInt8]("waybill key commitment v1".utf8), SealedFileSample.leafBytes)
    var message = SealedFileSample.message.rawValue
    var index = SealedFileSample.index
    var salt = [UInt8](repeating: 9, count: 16)

    var header: [UInt8] {
        var header = [UInt8]("WAYBMED1".utf8) + [0, 0, 0, 0]
        header += littleEndian(version)
        header += SealedFileSample.reference.bytes
        header += commitment
        header += littleEndian(message)
        header += littleEndian(index)
        header += [0, 0, 0, 0]
        header += salt
        PublishedSealedFile.setChecksum(&header)
        return header
    }

    var key: [UInt8] {
        let label = [UInt8]("waybill subkey v1".utf8)
        let subkey = sha256(label, SealedFileSample.leafBytes, [6], littleEndian(message))
        return sha256([UInt8]("waybill media file key v1".utf8), subkey, salt, littleEndian(index))
    }

    /// What is authenticated with a chunk.
    func place(_ chunk: Int, isLast: Bool) -> [UInt8] {
        Crypto.sha256(header) + littleEndian(UInt64(chunk)) + [isLast ? 1 : 0]
    }

    func file(_ chunks: [[UInt8]]) -> [UInt8] {
        var file = header
        for (number, chunk) in chunks.enumerated() {
            file += AEAD.seal(chunk, key: key, authenticated: place(number, isLast: number == chunks.count - 1))
        }
        return file
    }

    /// Where the box of a chunk lies, unless it is the last.
    static func box(_ chunk: Int) -> Range<Int> {
        let start = headerBytes + chunk * boxBytes
        return start..<(start + boxBytes)
    }

    /// What somebody does who changes a header and knows how checksums are made.
    static func setChecksum(_ file: inout [UInt8]) {
        let checksum = file.withUnsafeBytes { Checksum.crc32c($0, 12..<headerBytes) }
        file.replaceSubrange(8..<12, with: littleEndian(checksum))
    }
}

private func sha256(_ parts: [UInt8]...) -> [UInt8] { Crypto.sha256(Array(parts.joined())) }

private func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { [UInt8]($0) }
}
