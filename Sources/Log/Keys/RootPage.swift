/// The page at the top of the key state: where the index pages are, each with its key. Sealed under a root key.
///
/// Plaintext, little-endian: per index page its offset (8), length (4), zeros (4), key (32).
struct RootPage {
    static let entrySize = 48

    var pages: [(place: PagePlace, key: Digest)] = []

    var encoded: [UInt8] {
        var output = [UInt8](repeating: 0, count: pages.count * RootPage.entrySize)
        output.withUnsafeMutableBytes { bytes in
            var writer = LittleEndianWriter(bytes)
            for (row, page) in pages.enumerated() {
                let start = row * RootPage.entrySize
                writer.write(UInt64(page.place.offset), at: start)
                writer.write(UInt32(page.place.length), at: start + 8)
                writer.write(page.key, at: start + 16)
            }
        }
        return output
    }

    init(pages: [(place: PagePlace, key: Digest)]) { self.pages = pages }

    /// Nil when the bytes are no root page.
    init?(_ bytes: [UInt8]) {
        guard bytes.count % RootPage.entrySize == 0 else { return nil }
        pages = bytes.withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count, by: RootPage.entrySize).map { start in
                let place = PagePlace(
                    offset: Int(clamping: bytes.integer(start, as: UInt64.self)),
                    length: Int(bytes.integer(start + 8, as: UInt32.self))
                )
                return (place, Digest(bytes, at: start + 16))
            }
        }
    }
}

/// One of the three places at the start of the file of pages that hold the sealed root page.
///
/// Little-endian: magic "WAYBKEY2" (8), CRC-32C of all that follows up to the end of the box (4), length of the box (4),
/// generation of the root key (8), sequence (8), box (`RootKeyHolder.seal`, bound to magic, generation, sequence and file).
struct RootSlot {
    static let size = 65_536
    static let count = 3
    private static let headSize = 32
    private static let magic = [UInt8]("WAYBKEY2".utf8)

    let generation: UInt64
    /// Counts the states; of two whole slots the higher one holds.
    let sequence: UInt64
    let box: [UInt8]

    /// What the box is bound to. The number of the file is part of it, because a crash may leave in one file what was written
    /// to another.
    static func authenticated(generation: UInt64, sequence: UInt64, file: UInt64) -> [UInt8] {
        var bytes = magic + [UInt8](repeating: 0, count: 24)
        bytes.withUnsafeMutableBytes { bytes in
            var writer = LittleEndianWriter(bytes)
            writer.write(generation, at: 8)
            writer.write(sequence, at: 16)
            writer.write(file, at: 24)
        }
        return bytes
    }

    init(generation: UInt64, sequence: UInt64, box: [UInt8]) {
        self.generation = generation
        self.sequence = sequence
        self.box = box
    }

    /// The whole slot, so that nothing of an older one stays behind it. Nil when there is more than it has room for.
    var encoded: [UInt8]? {
        guard RootSlot.headSize + box.count <= RootSlot.size else { return nil }
        var bytes = RootSlot.magic + [UInt8](repeating: 0, count: RootSlot.headSize - RootSlot.magic.count) + box
        let end = bytes.count
        bytes += [UInt8](repeating: 0, count: RootSlot.size - end)
        bytes.withUnsafeMutableBytes { bytes in
            var writer = LittleEndianWriter(bytes)
            writer.write(UInt32(box.count), at: 12)
            writer.write(generation, at: 16)
            writer.write(sequence, at: 24)
            writer.write(Checksum.crc32c(UnsafeRawBufferPointer(bytes), 12..<end), at: 8)
        }
        return bytes
    }

    /// Nil when the bytes are no whole slot.
    init?(_ slot: [UInt8]) {
        guard slot.count >= RootSlot.headSize, slot.starts(with: RootSlot.magic) else { return nil }
        let head = slot.withUnsafeBytes { bytes -> (length: Int, generation: UInt64, sequence: UInt64)? in
            let length = Int(bytes.integer(12, as: UInt32.self))
            guard RootSlot.headSize + length <= bytes.count,
                Checksum.crc32c(bytes, 12..<(RootSlot.headSize + length)) == bytes.integer(8, as: UInt32.self)
            else { return nil }
            return (length, bytes.integer(16, as: UInt64.self), bytes.integer(24, as: UInt64.self))
        }
        guard let head else { return nil }
        let box = Array(slot[RootSlot.headSize..<(RootSlot.headSize + head.length)])
        self.init(generation: head.generation, sequence: head.sequence, box: box)
    }
}
