/// The two parts of a pack that does not match its checksums, as far as they can be told apart, for whoever looks for what is
/// whole in them. Valid as long as the file's bytes and the buffer are.
struct DamagedPack {
    /// Unpacked up to where that fails, then zeros.
    let envelopes: UnsafeRawBufferPointer
    let sealed: UnsafeRawBufferPointer

    /// The most that is unpacked on the word of a header that is damaged itself.
    private static let unpackedMax = 64 << 20

    /// - Parameter range: from this pack to the next.
    init?(_ file: UnsafeRawBufferPointer, _ range: Range<Int>, into buffer: ReusedBuffer) {
        guard range.count > PackHeader.size else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: file[range])
        let header = PackHeader(file, at: range.lowerBound, before: range.upperBound)
        let room = bytes.count - PackHeader.size
        let stored = header?.storedCount ?? DamagedPack.storedCount(bytes, room)
        let (middle, end) = (PackHeader.size + stored, header?.wholeCount ?? bytes.count)
        let packed = UnsafeRawBufferPointer(rebasing: bytes[PackHeader.size..<middle])
        sealed = UnsafeRawBufferPointer(rebasing: bytes[middle..<end])
        // What is not compressed begins with the header of a group.
        if header.map({ $0.storedCount == $0.envelopeCount }) ?? (GroupHeader(packed) != nil) {
            envelopes = packed
            return
        }
        let claimed = min(stored * LZ4.ratioMax, DamagedPack.unpackedMax)
        let memory = buffer.reserve(header?.envelopeCount ?? claimed)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        // Whether it fails or not: what was unpacked before stands there.
        _ = LZ4.decompress(packed, into: memory)
        envelopes = UnsafeRawBufferPointer(memory)
    }

    /// How many bytes the envelopes take, where the header is damaged: it names both lengths, which fill the pack, and a
    /// checksum of the envelopes, so that one of them may be wrong.
    private static func storedCount(_ bytes: UnsafeRawBufferPointer, _ room: Int) -> Int {
        let named = Int(bytes.integer(40, as: UInt32.self))
        let left = room - Int(bytes.integer(48, as: UInt32.self))
        let checksum = bytes.integer(52, as: UInt32.self)
        let candidates = [named, left].filter { (0...room).contains($0) }
        let proven = candidates.first { count in
            Checksum.crc32c(bytes, PackHeader.size..<(PackHeader.size + count)) == checksum
        }
        return proven ?? candidates.first ?? room
    }
}
