/// Reads the newest segment from its beginning and finds where it stops making sense. Works on bytes read with pread,
/// so that a medium error is an error with a name and not a signal.
struct TailScan {
    struct Group {
        let header: GroupHeader
        let block: Block
    }

    private(set) var groups: [Group] = []
    private(set) var walk: SegmentWalk
    /// Why the walk stopped, when it was not the end of the file.
    private(set) var reason: String?
    private(set) var facts = TailFacts(rest: .zeros, provenLost: false, unmarkedTail: false)
    /// The highest position proven durable by anything in the file.
    private(set) var provenThrough = LogPosition.zero

    init(_ header: SegmentHeader, _ bytes: UnsafeRawBufferPointer) {
        walk = SegmentWalk(header)
        collect(bytes)
        let later = laterEvidence(bytes)
        provenThrough = max(walk.durableThrough, later)
        let rest = UnsafeRawBufferPointer(rebasing: bytes[walk.offset...])
        facts = TailFacts(
            rest: rest.isZero ? .zeros : .bytes,
            provenLost: provenThrough > lastValid,
            unmarkedTail: lastValid > provenThrough
        )
    }

    var lastValid: LogPosition { LogPosition(walk.expected.rawValue - 1) }

    /// The valid groups that nothing proves durable.
    var unproven: [Group] { groups.filter { $0.header.first > provenThrough } }

    private mutating func collect(_ bytes: UnsafeRawBufferPointer) {
        while true {
            let before = walk
            switch walk.next(bytes) {
            case .group(let header, let block):
                let whole = SegmentWalk.forEachRecord(SegmentWalk.frame(bytes, block), header) { _ in }
                if !whole {
                    walk = before
                    reason = "the group's body is not the records it claims"
                    return
                }
                groups.append(Group(header: header, block: block))
            case .mark: continue
            case .end: return
            case .invalid(let why):
                reason = why
                return
            }
        }
    }

    /// The last position of a group that continues what is valid, although a block between them is damaged. That block can
    /// only have been a mark, which was synced before the group was written: nothing here is a torn write.
    private func continuation(_ bytes: UnsafeRawBufferPointer, _ block: Block) -> LogPosition {
        guard block.offset > walk.offset, block.frameCount > 0, block.alignedSize <= bytes.count - block.offset,
            let group = GroupHeader(SegmentWalk.frame(bytes, block)), group.first == walk.expected,
            group.link == walk.link, group.logID == walk.header.logID
        else { return .zero }
        return group.last
    }

    /// Blocks of this segment beyond the damage: each carries how far the log was durable when it was written.
    private func laterEvidence(_ bytes: UnsafeRawBufferPointer) -> LogPosition {
        var highest = LogPosition.zero
        var offset = walk.offset
        while bytes.count - offset >= Block.size {
            if let block = Block(bytes, at: offset, nonce: walk.header.nonce) {
                highest = max(highest, block.durableThrough, continuation(bytes, block))
            }
            offset += Block.size
        }
        return highest
    }
}
