/// Writes the records of one log, each as it is and at its own position, into the segments of a new one: what lies around
/// records (groups, links, tree, log id) is made anew.
struct SalvageWriter {
    /// A group is closed before its records pass so many bytes; one record more may be in it.
    private static let groupTarget = 256 << 10
    /// A segment has room for the largest group, whatever the configuration says.
    private static let segmentMin = 2 << 20

    private let storage: any Storage
    private let directory: String
    private let size: Int
    let logID = LogID.random()
    private var number: UInt64 = 0
    private var segment: PreparedSegment?
    private var offset = Block.size
    private var link = Digest.zero
    private var frontier = MerkleFrontier()
    /// The records of the group that fills.
    private var body: [UInt8] = []
    private var digests: [Digest] = []
    private var firstTime: UInt64 = 0
    private(set) var last = LogPosition.zero
    private(set) var lastTime: UInt64 = 0

    init(storage: any Storage, directory: String, segmentBytes: Int) {
        self.storage = storage
        self.directory = directory
        size = max(segmentBytes, SalvageWriter.segmentMin)
    }

    /// Adds the record that follows the last one.
    mutating func add(_ record: StoredRecord) throws(LogError) {
        if body.count >= SalvageWriter.groupTarget { try flush() }
        let (position, time, digest) = record.withView { ($0.position, $0.time, $0.storedDigest) }
        guard position == last.next, time > lastTime else {
            throw LogError(.corrupt, "position \(position) does not follow position \(last); run waybill verify")
        }
        if body.isEmpty { firstTime = time }
        body += record.bytes
        digests.append(digest)
        (last, lastTime) = (position, time)
    }

    /// Adds a record that the log before did not have.
    mutating func add(_ draft: RecordDraft, time: UInt64) throws(LogError) {
        var bytes = [UInt8](repeating: 0, count: draft.encodedSize)
        let position = last.next
        let record: StoredRecord? = bytes.withUnsafeMutableBytes { output in
            draft.encode(position: position, time: time, sealer: BoxSealer(), into: output)
            return RecordView(UnsafeRawBufferPointer(output), at: 0).map { StoredRecord($0) }
        }
        guard let record else {
            throw LogError(.recordTooLarge, "the record for position \(position) cannot be written")
        }
        try add(record)
    }

    /// Makes everything durable, and marks it so.
    mutating func finish() throws(LogError) {
        try flush()
        guard let segment else { return }
        var page = [UInt8](repeating: 0, count: Block.size)
        page.withUnsafeMutableBytes { bytes in
            Block(nonce: segment.nonce, durableThrough: last, offset: offset, frameCount: 0).encode(into: bytes)
        }
        try segment.file.writeAll(page, at: offset)
        try segment.file.sync()
    }

    private mutating func flush() throws(LogError) {
        guard !body.isEmpty else { return }
        let frameCount = GroupHeader.size + body.count
        let room = Block.alignedSize(frame: frameCount) + Block.size
        let first = LogPosition(last.rawValue - UInt64(digests.count) + 1)
        let segment = try self.segment(with: room, base: first)
        let block = Block(
            nonce: segment.nonce,
            durableThrough: LogPosition(first.rawValue - 1),
            offset: offset,
            frameCount: frameCount
        )
        var bytes = [UInt8](repeating: 0, count: block.alignedSize)
        let header = GroupHeader(
            bodyCount: body.count,
            first: first,
            last: last,
            bodyChecksum: body.withUnsafeBytes { Checksum.crc32c($0, 0..<$0.count) },
            firstTime: firstTime,
            link: link,
            logID: logID
        )
        link = bytes.withUnsafeMutableBytes { output in
            block.encode(into: output)
            let frame = UnsafeMutableRawBufferPointer(rebasing: output[Block.headerSize...])
            header.encode(into: UnsafeMutableRawBufferPointer(rebasing: frame[..<GroupHeader.size]))
            UnsafeMutableRawBufferPointer(rebasing: frame[GroupHeader.size..<frameCount]).copyBytes(from: body)
            return GroupHeader.linkValue(of: UnsafeRawBufferPointer(frame))
        }
        try segment.file.writeAll(bytes, at: offset)
        offset += bytes.count
        for digest in digests { frontier.append(entry: digest) }
        body.removeAll(keepingCapacity: true)
        digests.removeAll(keepingCapacity: true)
    }

    /// The segment that is written to, or the next one when that has no room.
    private mutating func segment(with room: Int, base: LogPosition) throws(LogError) -> PreparedSegment {
        if let segment, offset + room <= segment.size { return segment }
        // The header of the next one claims that everything before is durable.
        try segment?.file.sync()
        let next = try SegmentPreparer(storage: storage, directory: directory, size: size).prepare()
        number += 1
        let header = SegmentHeader(
            number: number,
            base: base,
            nonce: next.nonce,
            size: size,
            durableThrough: LogPosition(base.rawValue - 1),
            logID: logID,
            link: link,
            frontier: frontier
        )
        let folder = try storage.openDirectory(directory)
        _ = try SegmentWriter.name(next, header, storage: storage, directory: directory, folder: folder)
        segment = next
        offset = Block.size
        return next
    }
}
