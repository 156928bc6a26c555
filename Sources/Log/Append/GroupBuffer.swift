/// The bytes of one block while its group fills: block header, group header, records.
///
/// `@unchecked Sendable`: it has one holder at a time. Appenders touch it only inside the append lock while it is open;
/// closing hands it to the writer thread, which hands it back to the pool inside the same lock.
final class GroupBuffer: @unchecked Sendable {
    private static let bodyStart = Block.headerSize + GroupHeader.size
    private var memory: UnsafeMutableRawBufferPointer
    private(set) var count = GroupBuffer.bodyStart
    private(set) var first = LogPosition.zero
    private(set) var last = LogPosition.zero
    private(set) var firstTime: UInt64 = 0
    /// The file this group opens, when it does not fit the one before, with the tree as it was before the group.
    var opens: (segment: PreparedSegment, frontier: MerkleFrontier)?

    init() { memory = GroupBuffer.allocate(64 << 10) }

    deinit { memory.deallocate() }

    var isEmpty: Bool { count == GroupBuffer.bodyStart }
    var frameCount: Int { count - Block.headerSize }
    var bodyCount: Int { count - GroupBuffer.bodyStart }
    var alignedSize: Int { Block.alignedSize(frame: frameCount) }

    func reset() {
        count = GroupBuffer.bodyStart
        first = .zero
        last = .zero
        opens = nil
        // A burst of large records must not pin its memory for ever.
        if memory.count > 4 << 20 {
            memory.deallocate()
            memory = GroupBuffer.allocate(64 << 10)
        }
    }

    /// Adds one record and returns its entry digest.
    func append(_ draft: RecordDraft, position: LogPosition, time: UInt64) -> Digest {
        let size = draft.encodedSize
        let room = reserve(size)
        if first == .zero {
            first = position
            firstTime = time
        }
        last = position
        return draft.encode(position: position, time: time, into: room)
    }

    private func reserve(_ size: Int) -> UnsafeMutableRawBufferPointer {
        let end = count + size
        // One block of slack, so that closing can always pad to the boundary.
        if end + Block.size > memory.count { grow(to: max(memory.count * 2, end + Block.size)) }
        let room = UnsafeMutableRawBufferPointer(rebasing: memory[count..<end])
        room.initializeMemory(as: UInt8.self, repeating: 0)
        count = end
        return room
    }

    private func grow(to capacity: Int) {
        let larger = GroupBuffer.allocate(capacity)
        larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[0..<count]))
        memory.deallocate()
        memory = larger
    }

    /// Fills in both headers and the padding; the returned bytes are the whole block. Valid until the next `reset`.
    func finish(
        nonce: SegmentNonce,
        offset: Int,
        durableThrough: LogPosition,
        link: Digest,
        logID: LogID
    )
        -> (block: UnsafeRawBufferPointer, link: Digest)
    {
        let block = UnsafeMutableRawBufferPointer(rebasing: memory[0..<alignedSize])
        UnsafeMutableRawBufferPointer(rebasing: block[count...]).initializeMemory(as: UInt8.self, repeating: 0)
        UnsafeMutableRawBufferPointer(rebasing: block[0..<GroupBuffer.bodyStart])
            .initializeMemory(as: UInt8.self, repeating: 0)
        let frame = UnsafeMutableRawBufferPointer(rebasing: block[Block.headerSize..<count])
        let checksum = Checksum.crc32c(UnsafeRawBufferPointer(frame), GroupHeader.size..<frame.count)
        GroupHeader(
            bodyCount: bodyCount,
            first: first,
            last: last,
            bodyChecksum: checksum,
            firstTime: firstTime,
            link: link,
            logID: logID
        ).encode(into: frame)
        Block(nonce: nonce, durableThrough: durableThrough, offset: offset, frameCount: frameCount)
            .encode(into: UnsafeMutableRawBufferPointer(rebasing: block[0..<Block.headerSize]))
        return (UnsafeRawBufferPointer(block), GroupHeader.linkValue(of: UnsafeRawBufferPointer(frame)))
    }

    private static func allocate(_ capacity: Int) -> UnsafeMutableRawBufferPointer {
        .allocate(byteCount: capacity, alignment: Block.size)
    }
}
