extension RecordDraft {
    /// Writes the record into memory of exactly `encodedSize` bytes and returns its entry digest.
    ///
    /// - Parameter sealer: for a section that is not sealed yet.
    @discardableResult
    package func encode(
        position: LogPosition,
        time: UInt64,
        sealer: borrowing BoxSealer,
        into output: UnsafeMutableRawBufferPointer
    ) -> Digest {
        let sealedCount = section.count
        precondition(output.count == RecordFormat.recordSize(payload: payload.count, sealed: sealedCount))
        func store<T: FixedWidthInteger>(_ value: T, at offset: Int) {
            output.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
        }
        store(UInt32(output.count), at: 0)
        store(type, at: 4)
        store(schemaVersion, at: 6)
        store(sealedCount == 0 ? 0 : RecordFormat.sealedFlag, at: 7)
        store(position.rawValue, at: 8)
        store(time, at: 16)
        store(client.rawValue, at: 24)
        store(conversation.rawValue, at: 32)
        store(message.rawValue, at: 40)
        store(subject.rawValue, at: 48)
        store(UInt32(payload.count), at: 56)
        store(UInt32(sealedCount), at: 60)
        let sealedAt = RecordFormat.headerSize + payload.count
        UnsafeMutableRawBufferPointer(rebasing: output[RecordFormat.headerSize..<sealedAt]).copyBytes(from: payload)
        let sealed = UnsafeMutableRawBufferPointer(rebasing: output[sealedAt..<(sealedAt + sealedCount)])
        switch section {
        case .none: break
        case .sealed(let bytes): sealed.copyBytes(from: bytes)
        case .unsealed(let section): section.seal(at: position, sealer, into: sealed)
        }
        for offset in (sealedAt + sealedCount)..<output.count { output[offset] = 0 }
        let digest = EntryDigest.compute(
            UnsafeRawBufferPointer(rebasing: output[..<sealedAt]),
            sealed: UnsafeRawBufferPointer(sealed)
        )
        let place = RecordFormat.digestOffset..<(RecordFormat.digestOffset + Digest.size)
        withUnsafeBytes(of: digest) { UnsafeMutableRawBufferPointer(rebasing: output[place]).copyMemory(from: $0) }
        return digest
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
        let fixed = UnsafeRawBufferPointer(rebasing: envelope[..<RecordFormat.digestedHeaderSize])
        let payload = UnsafeRawBufferPointer(rebasing: envelope[RecordFormat.headerSize...])
        let head = UnsafeRawBufferPointer(rebasing: sealed.prefix(SealedSection.headSize))
        let boxes = sealed.isEmpty ? nil : SHA256Stream.hash(UnsafeRawBufferPointer(rebasing: sealed[head.count...]))
        let count = fixed.count + payload.count + head.count + (boxes == nil ? 0 : Digest.size)
        guard count <= SHA256Stream.shortMax else { return stream(fixed, payload, head, boxes) }
        return SHA256Stream.short(count, isPublic: true) { message in
            message.copyMemory(from: fixed)
            UnsafeMutableRawBufferPointer(rebasing: message[fixed.count...]).copyMemory(from: payload)
            let headAt = fixed.count + payload.count
            UnsafeMutableRawBufferPointer(rebasing: message[headAt...]).copyMemory(from: head)
            if let boxes { message.storeBytes(of: boxes, toByteOffset: headAt + head.count, as: Digest.self) }
        }
    }

    private static func stream(
        _ fixed: UnsafeRawBufferPointer,
        _ payload: UnsafeRawBufferPointer,
        _ head: UnsafeRawBufferPointer,
        _ boxes: Digest?
    ) -> Digest {
        var hash = SHA256Stream()
        hash.update(fixed)
        hash.update(payload)
        hash.update(head)
        if let boxes { hash.update(boxes) }
        return hash.finish()
    }
}
