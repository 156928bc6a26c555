/// Proofs about the Merkle tree: where a leaf stands in it, and that a larger tree continues a smaller one.
///
/// Making a proof is naming ranges of leaves (RFC 6962, sections 2.1.1 and 2.1.2) and hashing each range. Checking one follows the
/// algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2, which need no tree.
package enum MerkleProof {
    /// The ranges whose roots prove that leaf `index` is in the tree of the first `size` leaves, lowest first.
    package static func inclusionRanges(index: UInt64, size: UInt64) -> [Range<UInt64>] {
        precondition(index < size)
        return descend(to: index, in: size) { $0.count == 1 }.siblings.reversed()
    }

    /// The ranges whose roots prove that the tree of `new` leaves continues the tree of `old`, lowest first.
    package static func consistencyRanges(old: UInt64, new: UInt64) -> [Range<UInt64>] {
        precondition(old <= new)
        guard old > 0, old < new else { return [] }
        let (siblings, last) = descend(to: old - 1, in: new) { $0.upperBound == old }
        // A subtree from leaf 0 on is the old tree itself, whose root the checker knows.
        return (last.lowerBound > 0 ? siblings + [last] : siblings).reversed()
    }

    /// Goes down from the root towards a leaf until a subtree is the one wanted; returns it, and what was passed by.
    private static func descend(
        to leaf: UInt64,
        in size: UInt64,
        until isWanted: (Range<UInt64>) -> Bool
    ) -> (siblings: [Range<UInt64>], subtree: Range<UInt64>) {
        var siblings: [Range<UInt64>] = []
        var subtree = 0..<size
        while !isWanted(subtree) {
            let split = subtree.lowerBound + largestPowerOfTwo(below: UInt64(subtree.count))
            let (left, right) = (subtree.lowerBound..<split, split..<subtree.upperBound)
            siblings.append(leaf < split ? right : left)
            subtree = leaf < split ? left : right
        }
        return (siblings, subtree)
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

    /// Whether `proof` shows that the tree of `new` entries begins with the tree of `old` entries.
    package static func verifyConsistency(
        old: UInt64,
        oldRoot: Digest,
        new: UInt64,
        newRoot: Digest,
        proof: [Digest]
    ) -> Bool {
        if old == new { return proof.isEmpty && oldRoot == newRoot }
        if old == 0 { return proof.isEmpty && oldRoot == MerkleFrontier().root }
        guard old < new else { return false }
        // A whole subtree from leaf 0 on is the old tree itself; its root is not repeated in the proof.
        var path = old.nonzeroBitCount == 1 ? ([oldRoot] + proof)[...] : proof[...]
        guard let first = path.popFirst() else { return false }
        var climb = Climb(position: old - 1, last: new - 1)
        climb.rise((~(old - 1)).trailingZeroBitCount)
        var oldNode = first
        var newNode = first
        for sibling in path {
            switch climb.step() {
            case .left:
                oldNode = MerkleFrontier.node(sibling, oldNode)
                newNode = MerkleFrontier.node(sibling, newNode)
            case .right: newNode = MerkleFrontier.node(newNode, sibling)
            case nil: return false
            }
        }
        return climb.isAtRoot && oldNode == oldRoot && newNode == newRoot
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

/// Hashes ranges of leaves in one pass over all entries, in memory that grows with the number of ranges only.
package struct RangeRoots {
    private let ranges: [Range<UInt64>]
    private var frontiers: [MerkleFrontier]
    private var index: UInt64 = 0

    package init(_ ranges: [Range<UInt64>]) {
        self.ranges = ranges
        frontiers = Array(repeating: MerkleFrontier(), count: ranges.count)
    }

    /// Takes the next entry, from entry 0 on.
    package mutating func append(entry: Digest) {
        for (number, range) in ranges.enumerated() where range.contains(index) {
            frontiers[number].append(entry: entry)
        }
        index += 1
    }

    /// Nil unless every range was seen whole.
    package var roots: [Digest]? {
        for (range, frontier) in zip(ranges, frontiers) where frontier.size != UInt64(range.count) { return nil }
        return frontiers.map(\.root)
    }
}
