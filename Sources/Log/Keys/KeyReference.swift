/// What kind of thing a leaf key belongs to. Each class is a subtree of its own, so that things that are destroyed
/// together lie together and their remains collapse.
package enum KeyClass: UInt8, Sendable, CaseIterable {
    case message = 1
    /// Messages that arrive while Inbound Body Purge is on.
    case purgeModeMessage = 2
    /// Provider tokens, webhook secrets, endpoint settings.
    case secret = 3
    /// A customer's identifiers, one leaf per conversation.
    case conversation = 4
}

/// The address of a leaf in the key forest: which epoch's tree, and the path in it (client, class, leaf).
///
/// Bytes, little-endian: client (8), leaf (8), epoch (4), class (1), zeros (3).
package struct KeyReference: Hashable, Sendable {
    static let size = 24

    package let client: UInt64
    package let leaf: UInt64
    package let epoch: UInt32
    package let keyClass: KeyClass

    package init(client: UInt64, leaf: UInt64, epoch: UInt32, keyClass: KeyClass) {
        self.client = client
        self.leaf = leaf
        self.epoch = epoch
        self.keyClass = keyClass
    }

    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= KeyReference.size, bytes[21] | bytes[22] | bytes[23] == 0,
            let keyClass = KeyClass(rawValue: bytes[20])
        else { return nil }
        // A number with more bits would run into those of the class, and name another key.
        guard bytes.integer(12, as: UInt32.self) == 0 else { return nil }
        client = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
        leaf = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        epoch = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt32.self))
        self.keyClass = keyClass
    }

    package var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: KeyReference.size) { output, count in
            encode(into: UnsafeMutableRawBufferPointer(output))
            count = KeyReference.size
        }
    }

    /// Fills the first 24 bytes of `output`.
    func encode(into output: UnsafeMutableRawBufferPointer) {
        var writer = LittleEndianWriter(output)
        writer.write(client, at: 0)
        writer.write(leaf, at: 8)
        writer.write(epoch, at: 16)
        writer.write(UInt32(keyClass.rawValue), at: 20)
    }

    /// The path from the epoch's seed to the leaf.
    package var path: KeyPrefix {
        KeyPrefix(bits: UInt128(client) << 64 | UInt128(keyClass.rawValue) << 60 | UInt128(leaf) << 28)
    }
}

/// The first `depth` branches of a path, most significant bit first: 64 of client, 4 of class, 32 of leaf.
package struct KeyPrefix: Hashable, Sendable {
    package static let clientBits = 64
    package static let leafBits = 32
    /// Where the leaves lie.
    package static let leafDepth = 100

    /// Left-aligned; what lies below `depth` is zero.
    package let bits: UInt128
    package let depth: Int

    package init(bits: UInt128, depth: Int = KeyPrefix.leafDepth) {
        self.bits = bits
        self.depth = depth
    }

    package static let root = KeyPrefix(bits: 0, depth: 0)

    /// All keys of one client.
    package static func client(_ client: UInt64) -> KeyPrefix {
        KeyPrefix(bits: UInt128(client) << 64, depth: clientBits)
    }

    package func child(_ bit: UInt8) -> KeyPrefix {
        KeyPrefix(bits: bits | UInt128(bit) << UInt128(127 - depth), depth: depth + 1)
    }

    package func covers(_ other: KeyPrefix) -> Bool {
        depth <= other.depth && (depth == 0 || (bits ^ other.bits) >> UInt128(128 - depth) == 0)
    }

    /// The branch taken at `level`, counted from the root.
    func bit(_ level: Int) -> UInt8 { UInt8(truncatingIfNeeded: bits >> UInt128(127 - level)) & 1 }
}
