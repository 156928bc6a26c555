/// One record where it lies: in a mapped segment or in a buffer. No copy, no allocation.
///
/// Valid only inside the closure that was given it. Lengths are checked when it is made, so its parts need no checks.
package struct RecordView {
    package let bytes: UnsafeRawBufferPointer

    /// Nil unless a whole, well-formed record starts at `offset`.
    package init?(_ buffer: UnsafeRawBufferPointer, at offset: Int) {
        guard offset >= 0, buffer.count - offset >= RecordFormat.headerSize else { return nil }
        let length = Int(UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
        guard length >= RecordFormat.headerSize, length <= buffer.count - offset,
            length <= LogConfiguration.recordBytesMax
        else { return nil }
        bytes = UnsafeRawBufferPointer(rebasing: buffer[offset..<(offset + length)])
        guard flags <= RecordFormat.sealedFlag, payloadCount <= length, sealedCount <= length,
            RecordFormat.recordSize(payload: payloadCount, sealed: sealedCount) == length,
            (sealedCount > 0) == (flags & RecordFormat.sealedFlag != 0), time < RecordFormat.timeEnd
        else { return nil }
    }

    private func load<T: FixedWidthInteger>(_ offset: Int, as type: T.Type) -> T {
        T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
    }

    package var type: UInt16 { load(4, as: UInt16.self) }
    package var schemaVersion: UInt8 { load(6, as: UInt8.self) }
    var flags: UInt8 { load(7, as: UInt8.self) }
    package var position: LogPosition { LogPosition(load(8, as: UInt64.self)) }
    /// UTC nanoseconds since 1970.
    package var time: UInt64 { load(16, as: UInt64.self) }
    package var client: LogPosition { LogPosition(load(24, as: UInt64.self)) }
    package var conversation: LogPosition { LogPosition(load(32, as: UInt64.self)) }
    package var message: LogPosition { LogPosition(load(40, as: UInt64.self)) }
    package var subject: LogPosition { LogPosition(load(48, as: UInt64.self)) }
    private var payloadCount: Int { Int(load(56, as: UInt32.self)) }
    private var sealedCount: Int { Int(load(60, as: UInt32.self)) }

    package var storedDigest: Digest { Digest(bytes, at: RecordFormat.digestOffset) }

    package var payload: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[RecordFormat.headerSize..<(RecordFormat.headerSize + payloadCount)])
    }

    package var sealed: UnsafeRawBufferPointer {
        let start = RecordFormat.headerSize + payloadCount
        return UnsafeRawBufferPointer(rebasing: bytes[start..<(start + sealedCount)])
    }

    /// Zeros between the sealed section and the next multiple of 8.
    var padding: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[(RecordFormat.headerSize + payloadCount + sealedCount)...])
    }

    /// Recomputes the entry digest from the bytes.
    package var computedDigest: Digest {
        EntryDigest.compute(bytes, payload: payloadCount, sealed: sealedCount)
    }
}

/// A record copied out of the log, for callers that keep it past the read.
package struct StoredRecord: Sendable {
    package let bytes: [UInt8]

    init(_ view: RecordView) { bytes = [UInt8](view.bytes) }

    package func withView<T>(_ body: (RecordView) throws -> T) rethrows -> T {
        try bytes.withUnsafeBytes { buffer in
            // The bytes were taken from a valid view, so they are one.
            guard let view = RecordView(buffer, at: 0) else { preconditionFailure("a stored record lost its shape") }
            return try body(view)
        }
    }
}
