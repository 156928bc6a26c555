/// The encrypted part of a record: which key, a commitment to it, and one box per part.
///
/// Layout: 0 client (8), 8 leaf index (8), 16 epoch (4), 20 class (1), 21 zeros (3), 24 key commitment (32), then per part
/// purpose (1), zeros (3), box length (4), box (see `AEAD`). Each part has a subkey of its own, made from the leaf, the
/// purpose and the position of the record it lies in, so destroying the one leaf shreds every part in every record.
package struct SealedSection: Sendable {
    static let headSize = 56
    fileprivate static let partHeadSize = 8

    package let reference: KeyReference
    package let commitment: Digest
    package let boxes: [(purpose: SealedPurpose, box: [UInt8])]

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
        var authenticated = [UInt8](repeating: 0, count: SealedSection.authenticatedSize)
        authenticated.withUnsafeMutableBytes {
            SealedSection.encodeAuthenticated(purpose, reference, position, into: $0)
        }
        return AEAD.open(part.box, key: key, authenticated: authenticated)
    }

    fileprivate static let authenticatedSize = KeyReference.size + 9

    /// Binds a box to its place: moved to another record, part or key it does not open.
    fileprivate static func encodeAuthenticated(
        _ purpose: SealedPurpose,
        _ reference: KeyReference,
        _ position: LogPosition,
        into bytes: UnsafeMutableRawBufferPointer
    ) {
        reference.encode(into: bytes)
        var writer = LittleEndianWriter(bytes)
        writer.write(purpose.rawValue, at: KeyReference.size)
        writer.write(position.rawValue, at: KeyReference.size + 1)
    }
}

/// A sealed section before it is one: the plaintext of its parts and the key they will be under.
package struct UnsealedSection: Sendable {
    private let reference: KeyReference
    private let leaf: LeafKey
    private let parts: [SealedPart]

    package init(_ parts: [SealedPart], reference: KeyReference, leaf: LeafKey) {
        self.parts = parts
        self.reference = reference
        self.leaf = leaf
    }

    /// How many bytes the sealed section has.
    package var sealedCount: Int {
        parts.reduce(SealedSection.headSize) { $0 + SealedSection.partHeadSize + $1.plaintext.count + AEAD.overhead }
    }

    /// Fills `output`, which has `sealedCount` bytes, with the sealed section of the record at `position`.
    package func seal(
        at position: LogPosition,
        _ sealer: borrowing BoxSealer,
        into output: UnsafeMutableRawBufferPointer
    ) {
        precondition(output.count == sealedCount)
        reference.encode(into: output)
        var writer = LittleEndianWriter(output)
        writer.write(leaf.commitment, at: KeyReference.size)
        var offset = SealedSection.headSize
        for part in parts {
            let boxCount = part.plaintext.count + AEAD.overhead
            writer.write(UInt32(part.purpose.rawValue), at: offset)
            writer.write(UInt32(boxCount), at: offset + 4)
            offset += SealedSection.partHeadSize
            let box = UnsafeMutableRawBufferPointer(rebasing: output[offset..<(offset + boxCount)])
            seal(part, at: position, sealer, into: box)
            offset += boxCount
        }
    }

    private func seal(
        _ part: SealedPart,
        at position: LogPosition,
        _ sealer: borrowing BoxSealer,
        into box: UnsafeMutableRawBufferPointer
    ) {
        let key = leaf.subkey(part.purpose, position: position)
        withUnsafeTemporaryAllocation(byteCount: SealedSection.authenticatedSize, alignment: 8) { authenticated in
            SealedSection.encodeAuthenticated(part.purpose, reference, position, into: authenticated)
            withUnsafeBytes(of: key) { key in
                part.plaintext.withUnsafeBytes { plaintext in
                    sealer.seal(plaintext, key: key, authenticated: UnsafeRawBufferPointer(authenticated), into: box)
                }
            }
        }
    }
}

/// One part of a sealed section, in plaintext.
package struct SealedPart: Sendable {
    package let purpose: SealedPurpose
    package let plaintext: [UInt8]

    package init(_ purpose: SealedPurpose, _ plaintext: [UInt8]) {
        self.purpose = purpose
        self.plaintext = plaintext
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
