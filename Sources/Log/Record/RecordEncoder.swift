extension RecordDraft {
    /// Writes the record into zeroed memory of exactly `encodedSize` bytes and returns its entry digest.
    package func encode(position: LogPosition, time: UInt64, into output: UnsafeMutableRawBufferPointer) -> Digest {
        precondition(output.count == encodedSize)
        func store<T: FixedWidthInteger>(_ value: T, at offset: Int) {
            output.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
        }
        store(UInt32(output.count), at: 0)
        store(type, at: 4)
        store(schemaVersion, at: 6)
        store(sealed.isEmpty ? 0 : RecordFormat.sealedFlag, at: 7)
        store(position.rawValue, at: 8)
        store(time, at: 16)
        store(client.rawValue, at: 24)
        store(conversation.rawValue, at: 32)
        store(message.rawValue, at: 40)
        store(subject.rawValue, at: 48)
        store(UInt32(payload.count), at: 56)
        store(UInt32(sealed.count), at: 60)
        copy(payload, to: output, at: RecordFormat.headerSize)
        copy(sealed, to: output, at: RecordFormat.headerSize + payload.count)
        let sealedAt = RecordFormat.headerSize + payload.count
        let digest = EntryDigest.compute(
            UnsafeRawBufferPointer(rebasing: output[..<sealedAt]),
            sealed: UnsafeRawBufferPointer(rebasing: output[sealedAt..<(sealedAt + sealed.count)])
        )
        let place = RecordFormat.digestOffset..<(RecordFormat.digestOffset + Digest.size)
        withUnsafeBytes(of: digest) { UnsafeMutableRawBufferPointer(rebasing: output[place]).copyMemory(from: $0) }
        return digest
    }

    private func copy(_ bytes: [UInt8], to output: UnsafeMutableRawBufferPointer, at offset: Int) {
        UnsafeMutableRawBufferPointer(rebasing: output[offset..<(offset + bytes.count)]).copyBytes(from: bytes)
    }
}

/// The entry of a record in the Merkle tree.
///
/// `SHA-256(header[0..<64] ‖ payload)` for a record without a sealed section, else
/// `SHA-256(header[0..<64] ‖ payload ‖ key reference and commitment ‖ SHA-256(boxes))`. Hashing the boxes on their own lets
/// the ciphertext of a purged body be dropped one day while the entry, and every proof over it, still holds.
enum EntryDigest {
    /// - Parameter envelope: the record's fixed fields and payload.
    static func compute(_ envelope: UnsafeRawBufferPointer, sealed: UnsafeRawBufferPointer) -> Digest {
        var hash = SHA256Stream()
        hash.update(UnsafeRawBufferPointer(rebasing: envelope[..<RecordFormat.digestedHeaderSize]))
        hash.update(UnsafeRawBufferPointer(rebasing: envelope[RecordFormat.headerSize...]))
        if !sealed.isEmpty {
            let head = min(SealedSection.headSize, sealed.count)
            hash.update(UnsafeRawBufferPointer(rebasing: sealed[..<head]))
            var boxes = SHA256Stream()
            boxes.update(UnsafeRawBufferPointer(rebasing: sealed[head...]))
            hash.update(boxes.finish())
        }
        return hash.finish()
    }
}
