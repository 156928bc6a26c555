/// The right edge of an RFC 6962 Merkle tree: enough to add leaves and to name the root, in 32 bytes per level.
package struct MerkleFrontier: Sendable, Equatable {
    /// How many leaves the tree has.
    package private(set) var size: UInt64
    /// Roots of the complete subtrees, largest first: one for each bit set in `size`.
    package private(set) var subtrees: [Digest]

    package init() {
        size = 0
        subtrees = []
    }

    /// Nil when the number of subtrees does not fit the size.
    package init?(size: UInt64, subtrees: [Digest]) {
        guard size.nonzeroBitCount == subtrees.count else { return nil }
        self.size = size
        self.subtrees = subtrees
    }

    /// Adds the leaf of one entry. Amortised two hashes.
    package mutating func append(entry: Digest) { append(subtree: MerkleFrontier.leaf(entry), height: 0) }

    /// Adds the root of a complete subtree of `2^height` entries, which the size must be a multiple of.
    mutating func append(subtree: Digest, height: Int) {
        var node = subtree
        var level = size >> UInt64(height)
        precondition(level << UInt64(height) == size, "a subtree stands where its own size divides the place")
        while level & 1 == 1 {
            node = MerkleFrontier.node(subtrees.removeLast(), node)
            level >>= 1
        }
        subtrees.append(node)
        size += 1 << UInt64(height)
    }

    /// The Merkle tree hash of all leaves so far.
    package var root: Digest {
        guard var root = subtrees.last else { return SHA256Stream().finish() }
        for subtree in subtrees.dropLast().reversed() { root = MerkleFrontier.node(subtree, root) }
        return root
    }

    package static func leaf(_ entry: Digest) -> Digest {
        SHA256Stream.short(1 + Digest.size, isPublic: true) { message in
            message[0] = 0
            message.storeBytes(of: entry, toByteOffset: 1, as: Digest.self)
        }
    }

    static func node(_ left: Digest, _ right: Digest) -> Digest {
        SHA256Stream.short(1 + 2 * Digest.size, isPublic: true) { message in
            message[0] = 1
            message.storeBytes(of: left, toByteOffset: 1, as: Digest.self)
            message.storeBytes(of: right, toByteOffset: 1 + Digest.size, as: Digest.self)
        }
    }
}
