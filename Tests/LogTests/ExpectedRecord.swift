import Log

/// What a record must look like, written a second time from the format's table and independent of the encoder.
enum ExpectedRecord {
    /// The 64 bytes of the header that the entry digest covers.
    static func header(_ draft: RecordDraft, position: LogPosition, time: UInt64) -> [UInt8] {
        let length = (96 + draft.payload.count + draft.sealed.count + 7) / 8 * 8
        var bytes: [UInt8] = []
        bytes += little(UInt32(length))
        bytes += little(draft.type)
        bytes += [draft.schemaVersion, draft.sealed.isEmpty ? 0 : 1]
        let numbers =
            [position.rawValue, time]
            + [draft.client, draft.conversation, draft.message, draft.subject].map(\.rawValue)
        for number in numbers { bytes += little(number) }
        return bytes + little(UInt32(draft.payload.count)) + little(UInt32(draft.sealed.count))
    }

    static func digest(_ draft: RecordDraft, position: LogPosition, time: UInt64) -> Digest {
        digest(header: header(draft, position: position, time: time), draft)
    }

    static func digest(header: [UInt8], _ draft: RecordDraft) -> Digest {
        var hashed = header + draft.payload
        if !draft.sealed.isEmpty {
            hashed += draft.sealed.prefix(56)
            hashed += Crypto.sha256(Array(draft.sealed.dropFirst(56)))
        }
        return Digest(Crypto.sha256(hashed)) ?? .zero
    }

    private static func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { [UInt8]($0) }
    }
}

extension RecordDraft {
    /// The section of a draft that holds a ready one or none.
    var sealed: [UInt8] { if case .sealed(let bytes) = section { bytes } else { [] } }
}
