/// One record where it lies: in a mapped segment or in a buffer. No copy, no allocation.
///
/// Valid only inside the closure that was given it. Lengths are checked when it is made, so its parts need no checks.
package struct RecordView {
    /// The fixed fields and the payload.
    let envelope: UnsafeRawBufferPointer
    /// The sealed section; empty when there is none. Sealed segments keep it apart from the envelope.
    package let sealed: UnsafeRawBufferPointer
    /// What fills the record up to a multiple of 8, where it lies in one piece; sealed segments drop it.
    let padding: UnsafeRawBufferPointer

    /// Nil unless a whole, well-formed record starts at `offset`.
    package init?(_ buffer: UnsafeRawBufferPointer, at offset: Int) {
        guard let size = RecordSize(buffer, at: offset), size.whole <= buffer.count - offset else { return nil }
        let sealedAt = offset + size.envelope
        envelope = UnsafeRawBufferPointer(rebasing: buffer[offset..<sealedAt])
        sealed = UnsafeRawBufferPointer(rebasing: buffer[sealedAt..<(sealedAt + size.sealed)])
        padding = UnsafeRawBufferPointer(rebasing: buffer[(sealedAt + size.sealed)..<(offset + size.whole)])
    }

    /// As above, for a record in two pieces: the envelope at `offset`, the sealed section at the start of what `sealed`
    /// has from `sealedOffset` on.
    init?(
        envelopes: UnsafeRawBufferPointer,
        at offset: Int,
        sealed: UnsafeRawBufferPointer,
        at sealedOffset: Int
    ) {
        guard let size = RecordSize(envelopes, at: offset), size.envelope <= envelopes.count - offset,
            sealedOffset >= 0, size.sealed <= sealed.count - sealedOffset
        else { return nil }
        envelope = UnsafeRawBufferPointer(rebasing: envelopes[offset..<(offset + size.envelope)])
        self.sealed = UnsafeRawBufferPointer(rebasing: sealed[sealedOffset..<(sealedOffset + size.sealed)])
        padding = UnsafeRawBufferPointer(start: nil, count: 0)
    }

    private func load<T: FixedWidthInteger>(_ offset: Int, as type: T.Type) -> T {
        T(littleEndian: envelope.loadUnaligned(fromByteOffset: offset, as: type))
    }

    /// Bytes of the whole record in a group frame.
    package var length: Int { Int(load(0, as: UInt32.self)) }
    package var type: UInt16 { load(4, as: UInt16.self) }
    package var schemaVersion: UInt8 { load(6, as: UInt8.self) }
    package var position: LogPosition { LogPosition(load(8, as: UInt64.self)) }
    /// UTC nanoseconds since 1970.
    package var time: UInt64 { load(16, as: UInt64.self) }
    package var client: LogPosition { LogPosition(load(24, as: UInt64.self)) }
    package var conversation: LogPosition { LogPosition(load(32, as: UInt64.self)) }
    package var message: LogPosition { LogPosition(load(40, as: UInt64.self)) }
    package var subject: LogPosition { LogPosition(load(48, as: UInt64.self)) }

    package var storedDigest: Digest { Digest(envelope, at: RecordFormat.digestOffset) }

    package var payload: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: envelope[RecordFormat.headerSize...])
    }

    /// Recomputes the entry digest from the bytes.
    package var computedDigest: Digest { EntryDigest.compute(envelope, sealed: sealed) }

    /// Continues a CRC-32C over the record as it lies in a group frame.
    func extend(_ checksum: UInt32) -> UInt32 {
        let missing = length - envelope.count - sealed.count
        return withUnsafeBytes(of: UInt64(0)) { zeros in
            Checksum.extend(
                Checksum.extend(Checksum.extend(checksum, envelope), sealed),
                UnsafeRawBufferPointer(rebasing: zeros[..<missing])
            )
        }
    }
}

/// The three lengths of a record, from its fixed fields.
private struct RecordSize {
    let whole: Int
    let envelope: Int
    let sealed: Int

    /// Nil when the fixed fields are cut off or contradict each other.
    init?(_ buffer: UnsafeRawBufferPointer, at offset: Int) {
        guard offset >= 0, buffer.count - offset >= RecordFormat.headerSize else { return nil }
        func load<T: FixedWidthInteger>(_ field: Int, as type: T.Type) -> T {
            T(littleEndian: buffer.loadUnaligned(fromByteOffset: offset + field, as: type))
        }
        whole = Int(load(0, as: UInt32.self))
        let payload = Int(load(56, as: UInt32.self))
        sealed = Int(load(60, as: UInt32.self))
        envelope = RecordFormat.headerSize + payload
        let flags = load(7, as: UInt8.self)
        guard whole <= LogConfiguration.recordBytesMax,
            RecordFormat.recordSize(payload: payload, sealed: sealed) == whole,
            flags <= RecordFormat.sealedFlag, (sealed > 0) == (flags & RecordFormat.sealedFlag != 0),
            load(16, as: UInt64.self) < RecordFormat.timeEnd
        else { return nil }
    }
}

/// A record copied out of the log, for callers that keep it past the read.
package struct StoredRecord: Sendable {
    package let bytes: [UInt8]

    package init(_ view: RecordView) {
        var bytes = [UInt8]()
        bytes.reserveCapacity(view.length)
        bytes.append(contentsOf: view.envelope)
        bytes.append(contentsOf: view.sealed)
        bytes.append(contentsOf: repeatElement(0, count: view.length - bytes.count))
        self.bytes = bytes
    }

    package func withView<T>(_ body: (RecordView) throws -> T) rethrows -> T {
        try bytes.withUnsafeBytes { buffer in
            // The bytes were taken from a valid view, so they are one.
            guard let view = RecordView(buffer, at: 0) else { preconditionFailure("a stored record lost its shape") }
            return try body(view)
        }
    }
}
