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
        let size = parts.reduce(headSize) { $0 + partHeadSize + $1.plaintext.count + AEAD.overhead }
        return [UInt8](unsafeUninitializedCapacity: size) { output, count in
            let output = UnsafeMutableRawBufferPointer(output)
            reference.encode(into: output)
            var writer = LittleEndianWriter(output)
            writer.write(leaf.commitment, at: KeyReference.size)
            var offset = headSize
            for part in parts {
                let boxCount = part.plaintext.count + AEAD.overhead
                writer.write(UInt32(part.purpose.rawValue), at: offset)
                writer.write(UInt32(boxCount), at: offset + 4)
                offset += partHeadSize
                let box = UnsafeMutableRawBufferPointer(rebasing: output[offset..<(offset + boxCount)])
                part.plaintext.withUnsafeBytes { plaintext in
                    seal(plaintext, part.purpose, reference, leaf, position, into: box)
                }
                offset += boxCount
            }
            count = size
        }
    }

    private static func seal(
        _ plaintext: UnsafeRawBufferPointer,
        _ purpose: SealedPurpose,
        _ reference: KeyReference,
        _ leaf: LeafKey,
        _ position: LogPosition,
        into box: UnsafeMutableRawBufferPointer
    ) {
        withUnsafeBytes(of: leaf.subkey(purpose, position: position)) { key in
            withAuthenticated(purpose, reference, position) { authenticated in
                AEAD.seal(plaintext, key: key, authenticated: authenticated, into: box)
            }
        }
    }

    /// Nil when the bytes are not a sealed section.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= SealedSection.headSize, let reference = KeyReference(bytes) else { return nil }
        var boxes: [(SealedPurpose, [UInt8])] = []
        guard SealedSection.forEachBox(bytes, { boxes.append(($0, [UInt8](bytes[$1]))) }) else { return nil }
        self.reference = reference
        self.commitment = Digest(bytes, at: KeyReference.size)
        self.boxes = boxes
    }

    /// Whether the bytes are a sealed section, without copying them.
    static func isOne(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.count >= headSize && KeyReference(bytes) != nil && forEachBox(bytes) { _, _ in }
    }

    /// False when the boxes are not well-formed or known.
    private static func forEachBox(
        _ bytes: UnsafeRawBufferPointer,
        _ body: (SealedPurpose, Range<Int>) -> Void
    ) -> Bool {
        var offset = headSize
        while offset < bytes.count {
            guard bytes.count - offset >= partHeadSize,
                bytes[offset + 1] | bytes[offset + 2] | bytes[offset + 3] == 0,
                let purpose = SealedPurpose(rawValue: bytes[offset]), purpose != .media
            else { return false }
            let length = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)))
            offset += partHeadSize
            guard length <= bytes.count - offset else { return false }
            body(purpose, offset..<(offset + length))
            offset += length
        }
        return true
    }

    /// The plaintext of one part, or nil when it is absent or does not open under `leaf`.
    package func open(_ purpose: SealedPurpose, leaf: LeafKey, position: LogPosition) -> [UInt8]? {
        guard leaf.commitment == commitment, let part = boxes.first(where: { $0.purpose == purpose }) else {
            return nil
        }
        let key = leaf.subkey(purpose, position: position).bytes
        let authenticated = SealedSection.withAuthenticated(purpose, reference, position) { [UInt8]($0) }
        return AEAD.open(part.box, key: key, authenticated: authenticated)
    }

    /// Binds a box to its place: moved to another record, part or key it does not open.
    private static func withAuthenticated<T>(
        _ purpose: SealedPurpose,
        _ reference: KeyReference,
        _ position: LogPosition,
        _ body: (UnsafeRawBufferPointer) -> T
    ) -> T {
        withUnsafeTemporaryAllocation(byteCount: KeyReference.size + 9, alignment: 8) { bytes in
            reference.encode(into: bytes)
            bytes[KeyReference.size] = purpose.rawValue
            var writer = LittleEndianWriter(bytes)
            writer.write(position.rawValue, at: KeyReference.size + 1)
            return body(UnsafeRawBufferPointer(bytes))
        }
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
    /// A media file, which lies beside the log (`SealedFileWriter`): no record holds such a box.
    case media = 6
}
