import Glibc

/// Holds a sealed file against the segment it was made from: every group header, envelope and sealed section, in order.
struct SealedComparison {
    private let file: UnsafeRawBufferPointer
    private let footer: SealedFooter
    private let buffer = ReusedBuffer()
    private var nextPack = 0
    private var walk: PackWalk?
    private var problem: String?
    private var lastTime: UInt64 = 0

    init(_ file: UnsafeRawBufferPointer, _ footer: SealedFooter) {
        self.file = file
        self.footer = footer
    }

    /// Nil when both say the same; else what differs.
    mutating func difference(
        from groups: inout OwnedGroups,
        in segment: UnsafeRawBufferPointer
    ) throws(LogError) -> String? {
        while let (group, frame) = try groups.next(segment) {
            let header = UnsafeRawBufferPointer(rebasing: frame[..<GroupHeader.size])
            guard case .group(_, let copy) = next(), copy.isSame(as: header), isTimeRight(group) else {
                return problem ?? "the group at position \(group.first) is not the same"
            }
            var different: LogPosition?
            let whole = SegmentWalk.forEachRecord(frame, group) { record in
                guard different == nil, case .record(let copy) = next(), copy.isSame(as: record) else {
                    different = different ?? record.position
                    return
                }
                lastTime = record.time
            }
            if let different { return problem ?? "the record at position \(different) is not the same" }
            if !whole { return "the group at position \(group.first) is not the records it claims" }
        }
        if !footer.padding(of: file).isZero { return "bytes behind the table are not zero" }
        if case .end = next() { return footer.lastTime == lastTime ? nil : "the footer names another last time" }
        return problem ?? "it holds more than the original"
    }

    /// A pack, and with it the table, names the time of its first group.
    private func isTimeRight(_ group: GroupHeader) -> Bool {
        guard let pack = walk?.pack.header, pack.first == group.first else { return true }
        return pack.firstTime == group.firstTime
    }

    /// The next group or record of the file, from pack to pack.
    private mutating func next() -> PackWalk.Step {
        while true {
            let step = walk?.next() ?? .end
            switch step {
            case .group, .record: return step
            case .invalid(let reason):
                problem = reason
                return step
            case .end:
                guard nextPack < footer.packCount else { return .end }
                guard let pack = unpack(nextPack) else { return .invalid(problem ?? "a pack is damaged") }
                walk = PackWalk(pack)
                nextPack += 1
            }
        }
    }

    private mutating func unpack(_ index: Int) -> UnpackedPack? {
        guard let header = footer.pack(footer.entry(index, of: file), of: file) else { return nil }
        let (pack, reason) = UnpackedPack.unpack(header, of: file, into: buffer)
        if pack == nil { problem = reason }
        return pack
    }
}

extension RecordView {
    /// Byte for byte the same, but for padding, which is zero in both.
    fileprivate func isSame(as other: RecordView) -> Bool {
        envelope.isSame(as: other.envelope) && sealed.isSame(as: other.sealed)
    }
}

extension UnsafeRawBufferPointer {
    func isSame(as other: UnsafeRawBufferPointer) -> Bool {
        guard count == other.count else { return false }
        guard let mine = baseAddress, let theirs = other.baseAddress else { return true }
        return memcmp(mine, theirs, count) == 0
    }
}
