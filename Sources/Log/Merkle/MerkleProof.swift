/// Proofs of where a leaf stands in the Merkle tree.
///
/// Making a proof is naming ranges of leaves (RFC 6962, section 2.1.1) and hashing each range. Checking one follows the
/// algorithm of RFC 9162, section 2.1.3.2, which needs no tree.
package enum MerkleProof {
    /// The ranges whose roots prove that leaf `index` is in the tree of the first `size` leaves, lowest first.
    package static func inclusionRanges(index: UInt64, size: UInt64) -> [Range<UInt64>] {
        precondition(index < size)
        var siblings: [Range<UInt64>] = []
        var subtree = 0..<size
        while subtree.count > 1 {
            let split = subtree.lowerBound + largestPowerOfTwo(below: UInt64(subtree.count))
            let (left, right) = (subtree.lowerBound..<split, split..<subtree.upperBound)
            siblings.append(index < split ? right : left)
            subtree = index < split ? left : right
        }
        return siblings.reversed()
    }

    /// Whether `proof` shows that `entry` is entry `index` of the tree of `size` entries with this root.
    package static func verifyInclusion(
        entry: Digest,
        index: UInt64,
        size: UInt64,
        proof: [Digest],
        root: Digest
    ) -> Bool {
        guard index < size else { return false }
        var node = MerkleFrontier.leaf(entry)
        var climb = Climb(position: index, last: size - 1)
        for sibling in proof {
            switch climb.step() {
            case .left: node = MerkleFrontier.node(sibling, node)
            case .right: node = MerkleFrontier.node(node, sibling)
            case nil: return false
            }
        }
        return climb.isAtRoot && node == root
    }

    /// The way up from a node to the root, by the numbers that RFC 9162 calls fn and sn.
    private struct Climb {
        enum Side {
            case left
            case right
        }

        /// The node's number in its level, and that of the level's last.
        var position: UInt64
        var last: UInt64

        var isAtRoot: Bool { last == 0 }

        mutating func rise(_ levels: Int) {
            position >>= UInt64(levels)
            last >>= UInt64(levels)
        }

        /// On which side the next sibling of the path stands; nil at the root.
        mutating func step() -> Side? {
            if isAtRoot { return nil }
            let isRight = position & 1 == 1
            let side: Side = isRight || position == last ? .left : .right
            // The last node of a level has no sibling there and rises alone until it has one.
            if side == .left, !isRight, position != 0 { rise(position.trailingZeroBitCount) }
            rise(1)
            return side
        }
    }

    private static func largestPowerOfTwo(below count: UInt64) -> UInt64 {
        1 << UInt64(63 - (count - 1).leadingZeroBitCount)
    }
}
