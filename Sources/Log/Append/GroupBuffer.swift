import Synchronization

/// The bytes of one block while its group fills: block header, group header, records.
///
/// Appenders get their places one after the other inside the append lock, and fill them outside it, many at once.
///
/// `@unchecked Sendable`: its fields have one holder at a time. Appenders touch them only inside the append lock while the
/// group is open; closing hands it to the writer thread, which hands it back to the pool inside the same lock. The bytes of
/// a place belong to who reserved it until `filled`, and to the writer once `waitUntilFilled` has returned.
final class GroupBuffer: @unchecked Sendable {
    private static let bodyStart = Block.headerSize + GroupHeader.size
    private var memory: UnsafeMutableRawBufferPointer
    private(set) var count = GroupBuffer.bodyStart
    private(set) var first = LogPosition.zero
    private(set) var last = LogPosition.zero
    private(set) var firstTime: UInt64 = 0
    /// The file this group opens, when it does not fit the one before.
    var opens: PreparedSegment?
    /// How many places have no bytes yet, and whether the writer waits for them.
    private let unfilled = Atomic<UInt64>(0)
    private static let isAwaited: UInt64 = 1 << 63
    private let bell = Doorbell()
    private let capacity: Int

    /// - Parameter bodyBytes: how large a body it takes. For one batch over it, it gets more memory for once.
    init(bodyBytes: Int) {
        // One block of slack, so that closing can always pad to the boundary. While it fills, only what has records is touched.
        capacity = GroupBuffer.bodyStart + bodyBytes + Block.size
        memory = GroupBuffer.allocate(capacity)
    }

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
        // A single large batch must not pin its memory for ever.
        if memory.count > capacity {
            memory.deallocate()
            memory = GroupBuffer.allocate(capacity)
        }
    }

    /// A place for the bytes of `records` records, which whoever asked fills next; `filled` tells of it.
    ///
    /// A body that is larger than the group was made for must be the first.
    func reserve(
        _ size: Int,
        records: Int,
        first: LogPosition,
        time: UInt64
    ) -> UnsafeMutableRawBufferPointer {
        let end = count + size
        if end + Block.size > memory.count {
            precondition(isEmpty, "places that were given out must stay where they are")
            memory.deallocate()
            memory = GroupBuffer.allocate(end + Block.size)
        }
        if isEmpty {
            self.first = first
            firstTime = time
        }
        last = first.advanced(by: records - 1)
        unfilled.add(1, ordering: .relaxed)
        defer { count = end }
        return UnsafeMutableRawBufferPointer(rebasing: memory[count..<end])
    }

    /// One of the places has its bytes.
    func filled() {
        let left = unfilled.subtract(1, ordering: .acquiringAndReleasing).newValue
        if left == GroupBuffer.isAwaited { bell.ring() }
    }

    /// Returns when every place has its bytes; to be called once, when the group is closed. Places are filled without
    /// waiting for anything, so this takes no longer than sealing a batch does.
    func waitUntilFilled() {
        let left = unfilled.bitwiseOr(GroupBuffer.isAwaited, ordering: .acquiringAndReleasing).oldValue
        if left != 0 { _ = bell.wait() }
        unfilled.store(0, ordering: .relaxed)
    }

    /// The entry digests of the records, in order.
    func forEachDigest(_ body: (Digest) -> Void) {
        var offset = GroupBuffer.bodyStart
        let records = UnsafeRawBufferPointer(memory)
        while offset < count {
            body(Digest(records, at: offset + RecordFormat.digestOffset))
            offset += Int(records.integer(offset, as: UInt32.self))
        }
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
