/// The key of one thing that can be destroyed: a message, a secret, a customer's identifiers.
package struct LeafKey: Sendable {
    private let bytes: [UInt8]

    package init(_ node: Digest) { bytes = node.bytes }

    /// `SHA-256("waybill key commitment v1" ‖ key)`: stored beside what the key sealed, so that a receipt can show later
    /// which key was destroyed. The key has 256 bits of entropy, so its hash says nothing about it.
    package var commitment: Digest { digest(label: "waybill key commitment v1", []) }

    /// `SHA-256("waybill subkey v1" ‖ key ‖ purpose ‖ position)`, one for each part of each record.
    func subkey(_ purpose: SealedPurpose, position: LogPosition) -> [UInt8] {
        let place = withUnsafeBytes(of: position.rawValue.littleEndian) { [UInt8]($0) }
        return digest(label: "waybill subkey v1", [purpose.rawValue] + place).bytes
    }

    private func digest(label: StaticString, _ suffix: [UInt8]) -> Digest {
        var hash = SHA256Stream()
        hash.update(UnsafeRawBufferPointer(start: label.utf8Start, count: label.utf8CodeUnitCount))
        bytes.withUnsafeBytes { hash.update($0) }
        suffix.withUnsafeBytes { hash.update($0) }
        return hash.finish()
    }
}
