/// Lays groups out as the file of a sealed segment. Pure: whoever holds it writes the bytes.
struct SealedFileBuilder {
    private let original: SegmentHeader
    /// Finished bytes that are not written yet, and where in the file they belong.
    private(set) var pending: [UInt8] = []
    private(set) var pendingOffset = Block.size

    private var envelopes: [UInt8] = []
    private var sealed: [UInt8] = []
    private var first: LogPosition?
    private var last: LogPosition
    private var firstTime: UInt64 = 0
    private var lastTime: UInt64 = 0
    private var table: [PackEntry] = []

    init(_ original: SegmentHeader) {
        self.original = original
        last = LogPosition(original.base.rawValue - 1)
    }

    /// Where the next byte of the file will lie.
    private var offset: Int { pendingOffset + pending.count }

    /// Adds a whole group; false when its body is not the records it claims, or padding that would be lost is not zero.
    mutating func add(_ group: GroupHeader, _ frame: UnsafeRawBufferPointer) -> Bool {
        envelopes.append(contentsOf: frame[..<GroupHeader.size])
        var isZeroPadded = true
        let whole = SegmentWalk.forEachRecord(frame, group) { record in
            envelopes.append(contentsOf: record.envelope)
            sealed.append(contentsOf: record.sealed)
            isZeroPadded = isZeroPadded && record.padding.isZero
            lastTime = record.time
        }
        if first == nil {
            first = group.first
            firstTime = group.firstTime
        }
        last = group.last
        if envelopes.count >= SealedFormat.packTarget || sealed.count >= SealedFormat.packSealedTarget { closePack() }
        return whole && isZeroPadded
    }

    private mutating func closePack() {
        guard let first else { return }
        let offset = self.offset
        pending.append(contentsOf: repeatElement(0, count: PackHeader.size))
        let start = pending.count
        let storedCount = envelopes.withUnsafeBytes { LZ4.compress($0, to: &pending) }
        let header = PackHeader(
            offset: offset,
            first: first,
            last: last,
            firstTime: firstTime,
            storedCount: storedCount,
            envelopeCount: envelopes.count,
            sealedCount: sealed.count,
            storedChecksum: pending.withUnsafeBytes { Checksum.crc32c($0, start..<(start + storedCount)) },
            sealedChecksum: sealed.withUnsafeBytes { Checksum.extend(0, $0) }
        )
        pending.append(contentsOf: sealed)
        encode(at: start - PackHeader.size, PackHeader.size, header.encode)
        table.append(PackEntry(header))
        self.first = nil
        envelopes.removeAll(keepingCapacity: true)
        sealed.removeAll(keepingCapacity: true)
    }

    /// Closes the file: last pack, table, footer. Returns the header page, which is to be written last, at offset 0.
    mutating func finish() -> SegmentHeader {
        closePack()
        let tableOffset = offset
        let start = pending.count
        let size = Block.roundUp(tableOffset + table.count * PackEntry.size + SealedFooter.size)
        pending.append(contentsOf: repeatElement(0, count: size - tableOffset))
        for (index, entry) in table.enumerated() {
            encode(at: start + index * PackEntry.size, PackEntry.size, entry.encode)
        }
        let end = start + table.count * PackEntry.size
        let footer = SealedFooter(
            packCount: table.count,
            tableOffset: tableOffset,
            last: last,
            lastTime: lastTime,
            tableChecksum: pending.withUnsafeBytes { Checksum.crc32c($0, start..<end) }
        )
        encode(at: pending.count - SealedFooter.size, SealedFooter.size, footer.encode)
        var header = original
        header.isSealed = true
        header.size = size
        return header
    }

    private mutating func encode(at offset: Int, _ count: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) {
        pending.withUnsafeMutableBytes { write(UnsafeMutableRawBufferPointer(rebasing: $0[offset..<(offset + count)])) }
    }

    /// The first `count` bytes of what is finished have been written.
    mutating func dropPending(_ count: Int) {
        pendingOffset += count
        pending.removeFirst(count)
    }
}
