/// The check of a sealed segment: every pack from the first to the last, each record, and that table and footer say the same.
struct SealedCheck {
    private let header: SegmentHeader
    private let next: SegmentHeader?
    /// The last position this segment must hold: the next one says it, or, where that cannot be read, the footer.
    private var owed: LogPosition

    /// The position that must come next.
    private var expected: LogPosition
    /// What the next group must carry; nil where the one before it is missing.
    private var link: Digest?
    private var lastTime: UInt64 = 0
    private var packs: [PackEntry] = []
    /// Lines of the table, from its beginning, that are known to name places already passed.
    private var passed = 0
    /// Where a pack begins that cannot be read; then the end of the file cannot be compared with its packs.
    private var damagedAt: Int?
    private let buffer = ReusedBuffer()

    init(_ header: SegmentHeader, next: SegmentHeader?) {
        self.header = header
        self.next = next
        owed = LogPosition((next?.base ?? header.base).rawValue - 1)
        expected = header.base
        link = header.link
    }

    mutating func run(_ bytes: UnsafeRawBufferPointer, into state: inout VerifierState) {
        if bytes.count != header.size {
            state.find(header, bytes.count, nil, "the file is not \(header.size) bytes long")
        }
        let footer = SealedFooter(bytes)
        if next == nil { owed = max(owed, footer?.last ?? .zero) }
        if footer == nil {
            state.find(header, max(0, bytes.count - SealedFooter.size), nil, "footer or table are damaged")
        }
        let end = checkPacks(bytes, footer, &state)
        if expected <= owed { skip(to: owed.next, damagedAt ?? end, "no pack follows", &state) }
        if let next, let link, link != next.link {
            state.find(header, end, nil, "segment \(next.number) does not link to the last group of this one")
        }
        if let footer, damagedAt == nil { check(footer, bytes, end, &state) }
    }

    /// Returns where the last pack ends.
    private mutating func checkPacks(
        _ bytes: UnsafeRawBufferPointer,
        _ footer: SealedFooter?,
        _ state: inout VerifierState
    ) -> Int {
        // Without a footer the packs still tell where the next one begins.
        let end = footer?.tableOffset ?? bytes.count
        var offset = Block.size
        while offset < end, expected <= owed {
            if let pack = PackHeader(bytes, at: offset, before: end), pack.first >= expected, pack.last <= owed {
                if pack.first > expected {
                    skip(to: pack.first, damagedAt ?? offset, "the header of a pack is damaged", &state)
                }
                check(pack, bytes, &state)
                offset += pack.wholeCount
                continue
            }
            damagedAt = offset
            guard let footer, let further = packOffset(after: offset, bytes, footer) else { return offset }
            offset = further
        }
        return offset
    }

    /// Where the table says that the next pack behind `offset` lies. Goes through the table once, whatever stands in it.
    private mutating func packOffset(
        after offset: Int,
        _ bytes: UnsafeRawBufferPointer,
        _ footer: SealedFooter
    ) -> Int? {
        while passed < footer.packCount {
            let further = footer.entry(passed, of: bytes).offset
            if further > offset { return further < footer.tableOffset ? further : nil }
            passed += 1
        }
        return nil
    }

    private mutating func check(_ pack: PackHeader, _ bytes: UnsafeRawBufferPointer, _ state: inout VerifierState) {
        packs.append(PackEntry(pack))
        let (unpacked, reason) = UnpackedPack.unpack(pack, of: bytes, into: buffer)
        guard let unpacked else { return skip(to: pack.last.next, pack.offset, reason, &state) }
        var walk = PackWalk(unpacked)
        var body: GroupBody?
        while true {
            switch walk.next() {
            case .group(let group, let groupBytes):
                finish(body, pack, &state)
                begin(group, groupBytes, pack, &state)
                body = GroupBody(group)
            case .record(let record):
                body?.add(record)
                if let group = body?.group { state.check(record, in: group, header, pack.offset) }
                lastTime = record.time
            case .end:
                finish(body, pack, &state)
                expected = pack.last.next
                return
            case .invalid(let reason):
                return skip(to: pack.last.next, pack.offset, reason, &state)
            }
        }
    }

    private mutating func begin(
        _ group: GroupHeader,
        _ bytes: UnsafeRawBufferPointer,
        _ pack: PackHeader,
        _ state: inout VerifierState
    ) {
        let range = group.first.rawValue...group.last.rawValue
        if group.first == pack.first, group.firstTime != pack.firstTime {
            state.find(header, pack.offset, range, "the pack names another time for its first group")
        }
        if group.logID != header.logID { state.find(header, pack.offset, range, "the group belongs to another log") }
        if let link, group.link != link {
            state.find(header, pack.offset, range, "the group does not link to the one before")
        }
        link = GroupHeader.linkValue(of: bytes)
    }

    private func finish(_ body: GroupBody?, _ pack: PackHeader, _ state: inout VerifierState) {
        guard let body, !body.isWhole else { return }
        let range = body.group.first.rawValue...body.group.last.rawValue
        state.find(header, pack.offset, range, "the group's body does not match its length or checksum")
    }

    private mutating func skip(
        to position: LogPosition,
        _ offset: Int,
        _ reason: String,
        _ state: inout VerifierState
    ) {
        state.miss(header, offset, expected, LogPosition(position.rawValue - 1), reason)
        expected = position
        link = nil
    }

    /// The table must name exactly the packs there are, and the footer their end.
    private func check(
        _ footer: SealedFooter,
        _ bytes: UnsafeRawBufferPointer,
        _ end: Int,
        _ state: inout VerifierState
    ) {
        if footer.packCount != packs.count
            || packs.enumerated().contains(where: { footer.entry($0, of: bytes) != $1 })
        {
            state.find(header, footer.tableOffset, nil, "the table does not name the packs of the file")
        }
        if footer.tableOffset != end || footer.last != owed || (link != nil && footer.lastTime != lastTime) {
            state.find(header, bytes.count - SealedFooter.size, nil, "the footer does not name where the records end")
        }
        if !footer.padding(of: bytes).isZero {
            state.find(header, footer.table.upperBound, nil, "bytes behind the table are not zero")
        }
    }
}

/// Checks the body of a group against its header, from records that lie in pieces.
private struct GroupBody {
    let group: GroupHeader
    private var count = 0
    private var checksum: UInt32 = 0

    init(_ group: GroupHeader) { self.group = group }

    mutating func add(_ record: RecordView) {
        count += record.length
        checksum = record.extend(checksum)
    }

    var isWhole: Bool { count == group.bodyCount && checksum == group.bodyChecksum }
}
