/// The encrypted part of a record: which key, a commitment to it, and one box per part.
///
/// Layout: 0 client (8), 8 leaf index (8), 16 epoch (4), 20 class (1), 21 zeros (3), 24 key commitment (32), then per part
/// purpose (1), zeros (3), box length (4), box (see `AEAD`). Each part has a subkey of its own, made from the leaf, the
/// purpose and the position of the record it lies in, so destroying the one leaf shreds every part in every record.
package struct SealedSection: Sendable {
    static let headSize = 56
    private static let partHeadSize = 8

    package let reference: KeyReference
    package let commitment: Digest
    package let boxes: [(purpose: SealedPurpose, box: [UInt8])]

    /// Encodes the sealed section of the record at `position`.
    package static func seal(
        _ parts: [(purpose: SealedPurpose, plaintext: [UInt8])],
        reference: KeyReference,
        leaf: LeafKey,
        position: LogPosition
    ) -> [UInt8] {
        var output = reference.bytes + leaf.commitment.bytes
        for part in parts {
            let key = leaf.subkey(part.purpose, position: position)
            let authenticated = SealedSection.authenticated(part.purpose, reference, position)
            let box = AEAD.seal(part.plaintext, key: key, authenticated: authenticated)
            output += [part.purpose.rawValue, 0, 0, 0]
            withUnsafeBytes(of: UInt32(box.count).littleEndian) { output.append(contentsOf: $0) }
            output += box
        }
        return output
    }

    /// Nil when the bytes are not a sealed section.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= SealedSection.headSize, let reference = KeyReference(bytes) else { return nil }
        var boxes: [(SealedPurpose, [UInt8])] = []
        var offset = SealedSection.headSize
        while offset < bytes.count {
            guard bytes.count - offset >= SealedSection.partHeadSize,
                bytes[offset + 1] | bytes[offset + 2] | bytes[offset + 3] == 0,
                let purpose = SealedPurpose(rawValue: bytes[offset])
            else { return nil }
            let length = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)))
            offset += SealedSection.partHeadSize
            guard length <= bytes.count - offset else { return nil }
            boxes.append((purpose, [UInt8](bytes[offset..<(offset + length)])))
            offset += length
        }
        self.reference = reference
        self.commitment = Digest(bytes, at: KeyReference.size)
        self.boxes = boxes
    }

    /// The plaintext of one part, or nil when it is absent or does not open under `leaf`.
    package func open(_ purpose: SealedPurpose, leaf: LeafKey, position: LogPosition) -> [UInt8]? {
        guard leaf.commitment == commitment, let part = boxes.first(where: { $0.purpose == purpose }) else {
            return nil
        }
        let key = leaf.subkey(purpose, position: position)
        let authenticated = SealedSection.authenticated(purpose, reference, position)
        return AEAD.open(part.box, key: key, authenticated: authenticated)
    }

    /// Binds a box to its place: moved to another record, part or key it does not open.
    private static func authenticated(
        _ purpose: SealedPurpose,
        _ reference: KeyReference,
        _ position: LogPosition
    ) -> [UInt8] {
        var bytes = reference.bytes
        bytes.append(purpose.rawValue)
        withUnsafeBytes(of: position.rawValue.littleEndian) { bytes.append(contentsOf: $0) }
        return bytes
    }
}

/// What a sealed part is; the number is part of the format.
package enum SealedPurpose: UInt8, Sendable, CaseIterable {
    /// Structured content of a message, a secret, or settings that hold one.
    case content = 1
    /// The provider's own bytes of this one item.
    case providerBytes = 2
    /// The exact bytes of a webhook.
    case rendering = 3
    /// The start of an endpoint's or provider's answer.
    case responseExcerpt = 4
    /// A customer's identifiers.
    case identifiers = 5
}
