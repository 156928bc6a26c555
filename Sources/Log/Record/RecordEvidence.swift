/// What shows, together with an inclusion proof, what a record said: everything its entry digest is made of. The boxes
/// themselves are stood for by their hash, so that evidence of a purged record holds nothing of its ciphertext.
package struct RecordEvidence: Sendable {
    /// The fixed fields (64), the payload and, where there is a sealed section, its head (56), which ends with the
    /// commitment to the key.
    package let digested: [UInt8]
    /// SHA-256 of the boxes; nil for a record without a sealed section.
    package let boxes: Digest?

    package init(_ record: RecordView) {
        var bytes = [UInt8](record.envelope[..<RecordFormat.digestedHeaderSize])
        bytes += record.payload
        let head = min(SealedSection.headSize, record.sealed.count)
        bytes += record.sealed[..<head]
        digested = bytes
        boxes =
            record.sealed.isEmpty
            ? nil : SHA256Stream.hash(UnsafeRawBufferPointer(rebasing: record.sealed[head...]))
    }
}
