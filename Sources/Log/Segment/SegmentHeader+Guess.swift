extension SegmentHeader {
    /// A header page is damaged, but every block names the nonce of its file, and every group and pack its positions. The tree
    /// before the segment and the link of its first group stay unknown.
    ///
    /// - Parameter file: the whole file.
    /// - Returns: nil when there is no group or pack either.
    init?(guessedFrom file: UnsafeRawBufferPointer, number: UInt64, isSealed: Bool) {
        let found = isSealed ? SegmentHeader.firstPack(in: file) : SegmentHeader.firstGroup(in: file)
        guard let found, file.count <= SegmentHeader.sizeMax else { return nil }
        self.init(
            number: number,
            base: found.group.first,
            nonce: found.nonce,
            size: file.count,
            durableThrough: .zero,
            logID: found.group.logID,
            link: found.group.link,
            frontier: MerkleFrontier()
        )
        self.isSealed = isSealed
    }

    private static func firstGroup(in file: UnsafeRawBufferPointer) -> (nonce: SegmentNonce, group: GroupHeader)? {
        for offset in stride(from: Block.size, to: max(Block.size, file.count - Block.size + 1), by: Block.size) {
            let nonce = SegmentNonce(
                high: file.integer(offset + 8, as: UInt64.self),
                low: file.integer(offset + 16, as: UInt64.self)
            )
            guard let block = Block(file, at: offset, nonce: nonce), block.frameCount > 0,
                block.alignedSize <= file.count - offset, let group = GroupHeader(SegmentWalk.frame(file, block))
            else { continue }
            return (nonce, group)
        }
        return nil
    }

    /// A pack begins with the header of a group, once it is unpacked.
    private static func firstPack(in file: UnsafeRawBufferPointer) -> (nonce: SegmentNonce, group: GroupHeader)? {
        let buffer = ReusedBuffer()
        guard let header = PackHeader(file, at: Block.size, before: file.count),
            let pack = UnpackedPack.unpack(header, of: file, into: buffer, checkSealed: false).pack
        else { return nil }
        return withExtendedLifetime(buffer) {
            GroupHeader(pack.envelopes).map { (SegmentNonce(high: 0, low: 0), $0) }
        }
    }
}
