/// The key of one thing that can be destroyed: a message, a secret, a customer's identifiers.
package struct LeafKey: Sendable {
    private let node: Digest

    package init(_ node: Digest) { self.node = node }

    /// `SHA-256("waybill key commitment v1" ‖ key)`: stored beside what the key sealed, so that a receipt can show later
    /// which key was destroyed. The key has 256 bits of entropy, so its hash says nothing about it.
    package var commitment: Digest { keyed("waybill key commitment v1").finish() }

    /// `SHA-256("waybill subkey v1" ‖ key ‖ purpose ‖ position)`, one for each part of each record.
    func subkey(_ purpose: SealedPurpose, position: LogPosition) -> Digest {
        var hash = keyed("waybill subkey v1")
        hash.update(byte: purpose.rawValue)
        withUnsafeBytes(of: position.rawValue.littleEndian) { hash.update($0) }
        return hash.finish()
    }

    /// A hash that has taken the label and the key.
    private func keyed(_ label: StaticString) -> SHA256Stream {
        var hash = SHA256Stream()
        hash.update(UnsafeRawBufferPointer(start: label.utf8Start, count: label.utf8CodeUnitCount))
        hash.update(node)
        return hash
    }
}
