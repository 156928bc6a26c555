/// Finds the records that are whole among bytes that are damaged somewhere.
///
/// What vouches for a record is its own entry digest, over everything it says, and that its position is one that is missing
/// here; checksums of groups and packs, links and lengths around it do not count. So what a flipped bit costs is the record it
/// lies in.
enum WholeRecords {
    /// Records of a written segment: they begin at multiples of 8 from wherever groups begin, which is one too.
    static func forEach(
        in bytes: UnsafeRawBufferPointer,
        _ positions: ClosedRange<UInt64>,
        _ body: (RecordView) throws -> Void
    ) rethrows {
        var (offset, next) = (0, positions.lowerBound)
        while bytes.count - offset >= RecordFormat.headerSize, next <= positions.upperBound {
            guard (next...positions.upperBound).contains(position(bytes, at: offset)),
                let record = RecordView(bytes, at: offset), record.padding.isZero,
                record.computedDigest == record.storedDigest
            else {
                offset += 8
                continue
            }
            try body(record)
            next = record.position.rawValue + 1
            offset += record.length
        }
    }

    /// Records of a pack, whose envelopes lie at any offset, and whose sealed sections lie apart: behind an envelope that is
    /// lost, the section of the next one is looked for.
    static func forEach(
        envelopes: UnsafeRawBufferPointer,
        sealed: UnsafeRawBufferPointer,
        _ positions: ClosedRange<UInt64>,
        _ body: (RecordView) throws -> Void
    ) rethrows {
        var (offset, sealedOffset, next) = (0, 0, UInt64(1))
        // Where the next section lies if the lengths of the damaged record are right.
        var hint = 0
        while envelopes.count - offset >= RecordFormat.headerSize, next <= positions.upperBound {
            guard (next...positions.upperBound).contains(position(envelopes, at: offset)),
                let found = record(envelopes, at: offset, sealed, from: sealedOffset, hint)
            else {
                let size = RecordView(envelopes: envelopes, at: offset, sealed: sealed, at: hint)?.sealed.count
                if let size, position(envelopes, at: offset) == next { hint += size }
                offset += 1
                continue
            }
            if found.record.position.rawValue >= positions.lowerBound { try body(found.record) }
            next = found.record.position.rawValue + 1
            offset += found.record.envelope.count
            sealedOffset = found.sealedEnd
            hint = sealedOffset
        }
    }

    private static func position(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64 {
        bytes.integer(offset + 8, as: UInt64.self)
    }

    /// The record of an envelope, with the first section from `sealedOffset` on that its digest vouches for.
    private static func record(
        _ envelopes: UnsafeRawBufferPointer,
        at offset: Int,
        _ sealed: UnsafeRawBufferPointer,
        from sealedOffset: Int,
        _ hint: Int
    ) -> (record: RecordView, sealedEnd: Int)? {
        var place = sealedOffset
        while let record = RecordView(envelopes: envelopes, at: offset, sealed: sealed, at: place) {
            let isCandidate = place == sealedOffset || place == hint || KeyReference(record.sealed) != nil
            if isCandidate, record.computedDigest == record.storedDigest {
                return (record, place + record.sealed.count)
            }
            if record.sealed.isEmpty { return nil }
            place += 1
        }
        return nil
    }
}
