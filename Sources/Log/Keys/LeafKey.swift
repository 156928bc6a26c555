/// The key of one thing that can be destroyed: a message, a secret, a customer's identifiers.
package struct LeafKey: Sendable {
    private let node: Digest

    package init(_ node: Digest) { self.node = node }

    /// `SHA-256("waybill key commitment v1" ‖ key)`: stored beside what the key sealed, so that a receipt can show later
    /// which key was destroyed. The key has 256 bits of entropy, so its hash says nothing about it.
    package var commitment: Digest { hash("waybill key commitment v1", suffix: 0) { _ in } }

    /// `SHA-256("waybill subkey v1" ‖ key ‖ purpose ‖ position)`, one for each part of each record.
    func subkey(_ purpose: SealedPurpose, position: LogPosition) -> Digest {
        hash("waybill subkey v1", suffix: 9) { suffix in
            suffix[0] = purpose.rawValue
            suffix.storeBytes(of: position.rawValue.littleEndian, toByteOffset: 1, as: UInt64.self)
        }
    }

    /// Label, key, and `suffix` more bytes.
    private func hash(
        _ label: StaticString,
        suffix: Int,
        _ write: (UnsafeMutableRawBufferPointer) -> Void
    ) -> Digest {
        let count = label.utf8CodeUnitCount + Digest.size
        return SHA256Stream.short(count + suffix) { message in
            message.copyLabel(label)
            message.storeBytes(of: node, toByteOffset: label.utf8CodeUnitCount, as: Digest.self)
            write(UnsafeMutableRawBufferPointer(rebasing: message[count...]))
        }
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Puts a label at the start.
    func copyLabel(_ label: StaticString) {
        copyMemory(from: UnsafeRawBufferPointer(start: label.utf8Start, count: label.utf8CodeUnitCount))
    }
}
