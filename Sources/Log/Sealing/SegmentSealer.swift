/// Writes a segment anew as a sealed one, and lets the original go only when the new file has been read back from the
/// medium and found to say exactly the same.
///
/// Interrupted anywhere it leaves the original: as long as a segment's `.wal` exists, that is the segment.
struct SegmentSealer {
    let storage: any Storage
    let directory: String
    /// Asked from group to group; true ends the work.
    let isCanceled: () -> Bool
    let buffers: SealingBuffers
    /// About how many bytes are gathered before they are written.
    private static let pendingBytes = 1 << 20

    /// - Parameters:
    ///   - entry: a written segment that another one follows.
    ///   - end: the first position of that next one.
    /// - Returns: the sealed segment; the original still exists beside it. Nil when the work was canceled.
    /// - Throws: `corrupt` when the original is damaged, which then stays as it is; `diskFull` or `inputOutput`.
    func seal(_ entry: SegmentCatalog.Entry, end: LogPosition) throws(LogError) -> SegmentCatalog.Entry? {
        defer { withExtendedLifetime(buffers) {} }
        let original = try storage.readAll(entry.path, into: buffers.original, limit: SegmentHeader.sizeMax)
        if SecondHistory.trace(in: original, of: entry.header, end: end) != nil {
            // Sealing would leave out what is nowhere else.
            throw LogError(
                .corrupt,
                "segment \(entry.header.number) holds a second history and is kept as it is; run waybill verify"
            )
        }
        let name = "sealing-\(entry.header.number)" + LogPath.temporarySuffix
        let temporary = directory + "/" + name
        if try storage.list(directory).contains(name) { try storage.remove(temporary) }
        let groups = OwnedGroups(entry.header, end: end)
        let written = Result { () throws(LogError) -> SegmentHeader? in
            guard let header = try write(groups, original, to: temporary) else { return nil }
            try compare(header, temporary, with: groups, original)
            return header
        }
        guard case .success(let header?) = written else {
            // A file that is no segment is of no use to anyone.
            try? storage.remove(temporary)
            _ = try written.get()
            return nil
        }
        let sealedName = LogPath.segment(header.number, sealed: true)
        let path = directory + "/" + sealedName
        // From before a crash that kept the original: gone only now that the original is known to be whole.
        if try storage.list(directory).contains(sealedName) { try storage.remove(path) }
        try storage.renameNew(temporary, to: path)
        try storage.syncDirectory(directory)
        return SegmentCatalog.Entry(header: header, path: path)
    }

    /// What the kernel sees: create, direct writes, fdatasync, the header page, fdatasync.
    private func write(
        _ groups: OwnedGroups,
        _ original: UnsafeRawBufferPointer,
        to path: String
    ) throws(LogError) -> SegmentHeader? {
        let file = try storage.open(path, .createUncached)
        var builder = SealedFileBuilder(groups.header)
        var groups = groups
        while let (group, frame) = try groups.next(original) {
            if isCanceled() { return nil }
            guard builder.add(group, frame) else { throw groups.damaged("a group is not the records it claims") }
            if builder.pending.count >= SegmentSealer.pendingBytes { try flush(&builder, file) }
        }
        let header = builder.finish()
        try flush(&builder, file)
        try file.sync()
        try write(header.encode()[...], to: file, at: 0)
        try file.sync()
        return header
    }

    private func flush(_ builder: inout SealedFileBuilder, _ file: any StorageFile) throws(LogError) {
        let whole = builder.pending.count / Block.size * Block.size
        try write(builder.pending[..<whole], to: file, at: builder.pendingOffset)
        builder.dropPending(whole)
    }

    private func write(_ bytes: ArraySlice<UInt8>, to file: any StorageFile, at offset: Int) throws(LogError) {
        let result = bytes.withUnsafeBytes { bytes in
            Result { () throws(LogError) in
                try BackgroundIO.write(bytes, to: file, at: offset, through: buffers.piece)
            }
        }
        try result.get()
    }

    /// Reads the new file back from the medium and holds every group and record of the original against it.
    private func compare(
        _ header: SegmentHeader,
        _ path: String,
        with groups: OwnedGroups,
        _ original: UnsafeRawBufferPointer
    ) throws(LogError) {
        let bytes = try storage.readAll(path, into: buffers.sealed, limit: SegmentHeader.sizeMax, .readUncached)
        var difference: String? = "header or footer are not what was written"
        if SegmentHeader(bytes) == header, bytes.count == header.size, let footer = SealedFooter(bytes),
            footer.last.next == groups.end
        {
            var comparison = SealedComparison(bytes, footer)
            var groups = groups
            difference = try comparison.difference(from: &groups, in: original)
        }
        if let difference {
            throw LogError(.inputOutput, "sealing segment \(header.number) was given up: \(difference)")
        }
    }
}

/// Memory that sealing one segment needs and the next one can have: new pages for each would cost a tenth of the work.
struct SealingBuffers {
    let original = ReusedBuffer()
    /// The new file, as it was read back.
    let sealed = ReusedBuffer()
    /// What is on its way to the disk.
    let piece = ReusedBuffer()
}

/// The groups a written segment owns, in order, each with its checksum, order and link checked.
struct OwnedGroups {
    private var walk: SegmentWalk
    /// The first position that the segment does not own.
    let end: LogPosition

    init(_ header: SegmentHeader, end: LogPosition) {
        walk = SegmentWalk(header)
        self.end = end
    }

    var header: SegmentHeader { walk.header }

    /// The next group and its frame; nil after the last one.
    mutating func next(
        _ segment: UnsafeRawBufferPointer
    ) throws(LogError) -> (group: GroupHeader, frame: UnsafeRawBufferPointer)? {
        while walk.expected < end {
            switch walk.next(segment) {
            case .group(let group, let block):
                guard group.last < end else { throw damaged("a group reaches into the next segment") }
                return (group, SegmentWalk.frame(segment, block))
            case .mark: continue
            case .end: throw damaged("the segment ends")
            case .invalid(let reason): throw damaged(reason)
            }
        }
        return nil
    }

    func damaged(_ reason: String) -> LogError {
        LogError(
            .corrupt,
            "segment \(LogPath.segment(header.number)) is damaged near offset \(walk.offset), positions from "
                + "\(walk.expected) on: \(reason); run waybill verify"
        )
    }
}
