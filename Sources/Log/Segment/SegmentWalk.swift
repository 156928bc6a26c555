/// Walks the blocks of one segment in order and says what each is. Recovery, readers and verifier share it, so that there
/// is one opinion on what a valid block looks like.
struct SegmentWalk {
    /// What lies at an offset.
    enum Step: Equatable {
        /// A group whose header, body checksum, place in the order and link are right.
        case group(GroupHeader, Block)
        case mark(Block)
        /// Fewer than 4096 bytes are left.
        case end
        /// Nothing valid, with the reason.
        case invalid(String)
    }

    let header: SegmentHeader
    private(set) var offset = Block.size
    private(set) var expected: LogPosition
    private(set) var link: Digest
    /// The highest position that any block so far proves durable.
    private(set) var durableThrough: LogPosition

    init(_ header: SegmentHeader) {
        self.header = header
        expected = header.base
        link = header.link
        durableThrough = header.durableThrough
    }

    /// The group frame of a block that `next` returned.
    static func frame(_ segment: UnsafeRawBufferPointer, _ block: Block) -> UnsafeRawBufferPointer {
        let start = block.offset + Block.headerSize
        return UnsafeRawBufferPointer(rebasing: segment[start..<(start + block.frameCount)])
    }

    /// Looks at the current offset and moves past it when it is valid.
    mutating func next(_ segment: UnsafeRawBufferPointer, checkBody: Bool = true) -> Step {
        guard segment.count - offset >= Block.size else { return .end }
        guard let block = Block(segment, at: offset, nonce: header.nonce) else { return .invalid("no block header") }
        guard block.alignedSize <= segment.count - offset else { return .invalid("the block is cut off") }
        if block.frameCount == 0 {
            advance(past: block)
            return .mark(block)
        }
        let frame = SegmentWalk.frame(segment, block)
        guard let group = GroupHeader(frame) else { return .invalid("the group header is damaged") }
        if let reason = mismatch(group, frame, checkBody: checkBody) { return .invalid(reason) }
        expected = group.last.next
        link = GroupHeader.linkValue(of: frame)
        advance(past: block)
        return .group(group, block)
    }

    /// Goes on behind damage, at the next group of this segment whose header is whole. What lies between is lost.
    ///
    /// - Returns: false when there is none; then the walk stays where it is.
    mutating func resume(_ segment: UnsafeRawBufferPointer) -> Bool {
        var place = offset
        while segment.count - place >= Block.size {
            if let block = Block(segment, at: place, nonce: header.nonce), block.frameCount > 0,
                block.alignedSize <= segment.count - place,
                let group = GroupHeader(SegmentWalk.frame(segment, block)), group.logID == header.logID,
                group.first > expected
            {
                offset = place
                expected = group.first
                link = group.link
                return true
            }
            place += Block.size
        }
        return false
    }

    private mutating func advance(past block: Block) {
        durableThrough = max(durableThrough, block.durableThrough)
        offset += block.alignedSize
    }

    private func mismatch(_ group: GroupHeader, _ frame: UnsafeRawBufferPointer, checkBody: Bool) -> String? {
        if group.logID != header.logID { return "the group belongs to another log" }
        if group.bodyCount != frame.count - GroupHeader.size { return "the group's length contradicts its block" }
        if group.first != expected { return "the group starts at position \(group.first) instead of \(expected)" }
        if group.link != link { return "the group does not link to the one before" }
        if checkBody, group.bodyChecksum != Checksum.crc32c(frame, GroupHeader.size..<frame.count) {
            return "the group's body does not match its checksum"
        }
        return nil
    }

    /// Calls `body` for each record of a frame; returns false when the body is not exactly the records it claims.
    static func forEachRecord(
        _ frame: UnsafeRawBufferPointer,
        _ group: GroupHeader,
        _ body: (RecordView) throws -> Void
    ) rethrows -> Bool {
        var offset = GroupHeader.size
        var position = group.first
        while offset < frame.count {
            guard let record = RecordView(frame, at: offset), record.position == position else { return false }
            try body(record)
            offset += record.length
            position = position.next
        }
        return position == group.last.next
    }
}
