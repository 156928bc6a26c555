/// Proofs about the Merkle tree: where a leaf stands in it, and that a larger tree continues a smaller one.
///
/// Making a proof is naming ranges of leaves (RFC 6962, sections 2.1.1 and 2.1.2) and hashing each range. Checking one follows the
/// algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2, which need no tree.
package enum MerkleProof {
    /// The ranges whose roots prove that leaf `index` is in the tree of the first `size` leaves, lowest first.
    package static func inclusionRanges(index: UInt64, size: UInt64) -> [Range<UInt64>] {
        precondition(index < size)
        var ranges: [Range<UInt64>] = []
        var whole = 0..<size
        while whole.count > 1 {
            let split = whole.lowerBound + largestPowerOfTwo(below: UInt64(whole.count))
            if index < split {
                ranges.append(split..<whole.upperBound)
                whole = whole.lowerBound..<split
            } else {
                ranges.append(whole.lowerBound..<split)
                whole = split..<whole.upperBound
            }
        }
        return ranges.reversed()
    }

    /// The ranges whose roots prove that the tree of `new` leaves continues the tree of `old`, lowest first.
    package static func consistencyRanges(old: UInt64, new: UInt64) -> [Range<UInt64>] {
        precondition(old <= new)
        guard old > 0, old < new else { return [] }
        var ranges: [Range<UInt64>] = []
        var whole = 0..<new
        // Whether what is left of the old tree is one whole subtree that began at leaf 0: its root is known to the checker.
        while whole.upperBound != old {
            let split = whole.lowerBound + largestPowerOfTwo(below: UInt64(whole.count))
            if old <= split {
                ranges.append(split..<whole.upperBound)
                whole = whole.lowerBound..<split
            } else {
                ranges.append(whole.lowerBound..<split)
                whole = split..<whole.upperBound
            }
        }
        if whole.lowerBound > 0 { ranges.append(whole) }
        return ranges.reversed()
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
        var position = index
        var last = size - 1
        for sibling in proof {
            if last == 0 { return false }
            if position & 1 == 1 || position == last {
                node = MerkleFrontier.node(sibling, node)
                let zeros = position.trailingZeroBitCount
                if position & 1 == 0, position != 0 {
                    position >>= UInt64(zeros)
                    last >>= UInt64(zeros)
                }
            } else {
                node = MerkleFrontier.node(node, sibling)
            }
            position >>= 1
            last >>= 1
        }
        return last == 0 && node == root
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
        var path = proof[...]
        // A whole subtree from leaf 0 on is the old tree itself; its root is not repeated in the proof.
        if old.nonzeroBitCount == 1 { path = ([oldRoot] + proof)[...] }
        guard let first = path.popFirst() else { return false }
        var position = old - 1
        var last = new - 1
        let ones = (~position).trailingZeroBitCount
        position >>= UInt64(ones)
        last >>= UInt64(ones)
        var oldNode = first
        var newNode = first
        for sibling in path {
            if last == 0 { return false }
            if position & 1 == 1 || position == last {
                oldNode = MerkleFrontier.node(sibling, oldNode)
                newNode = MerkleFrontier.node(sibling, newNode)
                if position & 1 == 0, position != 0 {
                    let zeros = UInt64(position.trailingZeroBitCount)
                    position >>= zeros
                    last >>= zeros
                }
            } else {
                newNode = MerkleFrontier.node(newNode, sibling)
            }
            position >>= 1
            last >>= 1
        }
        return last == 0 && oldNode == oldRoot && newNode == newRoot
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
