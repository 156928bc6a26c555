/// A pack ready to be read. Valid as long as the file's bytes and the buffer it was unpacked into are.
struct UnpackedPack {
    let header: PackHeader
    let envelopes: UnsafeRawBufferPointer
    let sealed: UnsafeRawBufferPointer

    /// Checks both parts against their checksums and unpacks the envelopes into `buffer`, which is reused from pack to pack.
    ///
    /// - Parameter checkSealed: false for who checks the digest of the one record that is wanted.
    /// - Returns: nil with the reason when something does not match.
    static func unpack(
        _ header: PackHeader,
        of file: UnsafeRawBufferPointer,
        into buffer: ReusedBuffer,
        checkSealed: Bool = true
    ) -> (pack: UnpackedPack?, reason: String) {
        let stored = UnsafeRawBufferPointer(rebasing: file[header.envelopes])
        let sealed = UnsafeRawBufferPointer(rebasing: file[header.sealed])
        guard Checksum.extend(0, stored) == header.storedChecksum else {
            return (nil, "the envelopes do not match their checksum")
        }
        guard !checkSealed || Checksum.extend(0, sealed) == header.sealedChecksum else {
            return (nil, "the sealed sections do not match their checksum")
        }
        if header.storedCount == header.envelopeCount {
            return (UnpackedPack(header: header, envelopes: stored, sealed: sealed), "")
        }
        let memory = buffer.reserve(header.envelopeCount)
        guard LZ4.decompress(stored, into: memory) else { return (nil, "the envelopes do not unpack") }
        return (UnpackedPack(header: header, envelopes: UnsafeRawBufferPointer(memory), sealed: sealed), "")
    }
}

/// Walks the groups and records of a pack in order. Readers, verifier and sealer share it.
struct PackWalk {
    enum Step {
        /// A group begins; its 96 header bytes as they were written.
        case group(GroupHeader, UnsafeRawBufferPointer)
        case record(RecordView)
        /// The pack was exactly what its header names.
        case end
        case invalid(String)
    }

    let pack: UnpackedPack
    private var envelopeOffset = 0
    private var sealedOffset = 0
    private var expected: LogPosition
    private var lastOfGroup: LogPosition

    init(_ pack: UnpackedPack) {
        self.pack = pack
        expected = pack.header.first
        lastOfGroup = LogPosition(expected.rawValue - 1)
    }

    mutating func next() -> Step {
        if expected <= lastOfGroup { return nextRecord() }
        if expected <= pack.header.last { return nextGroup() }
        guard envelopeOffset == pack.envelopes.count, sealedOffset == pack.sealed.count,
            expected == pack.header.last.next
        else { return .invalid("the pack holds more than its header names") }
        return .end
    }

    private mutating func nextGroup() -> Step {
        guard pack.envelopes.count - envelopeOffset >= GroupHeader.size else { return .invalid("a group is cut off") }
        let end = envelopeOffset + GroupHeader.size
        let bytes = UnsafeRawBufferPointer(rebasing: pack.envelopes[envelopeOffset..<end])
        guard let group = GroupHeader(bytes) else { return .invalid("a group header is damaged") }
        guard group.first == expected else {
            return .invalid("a group starts at position \(group.first) instead of \(expected)")
        }
        envelopeOffset = end
        lastOfGroup = group.last
        return .group(group, bytes)
    }

    private mutating func nextRecord() -> Step {
        let record = RecordView(
            envelopes: pack.envelopes,
            at: envelopeOffset,
            sealed: pack.sealed,
            at: sealedOffset
        )
        guard let record, record.position == expected else { return .invalid("position \(expected) is not a record") }
        envelopeOffset += record.envelope.count
        sealedOffset += record.sealed.count
        expected = expected.next
        return .record(record)
    }
}
