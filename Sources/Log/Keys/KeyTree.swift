/// The tree of keys: a GGM construction (Goldreich, Goldwasser, Micali, "How to construct random functions", 1986).
///
/// Every node is 32 bytes; its children are `SHA-256("waybill ggm v1" ‖ bit ‖ node)`. A leaf costs no storage: it is derived
/// from the epoch's seed along its path. Because a node tells nothing about its ancestors or siblings, one leaf can be
/// destroyed by replacing the seed with the siblings along that leaf's path (`PuncturedTree`).
package enum KeyTree {
    static func child(of node: Digest, bit: UInt8) -> Digest {
        let label: StaticString = "waybill ggm v1"
        let count = label.utf8CodeUnitCount
        return SHA256Stream.short(count + 1 + Digest.size) { message in
            message.copyLabel(label)
            message[count] = bit
            message.storeBytes(of: node, toByteOffset: count + 1, as: Digest.self)
        }
    }

    /// The node at the end of `path`, from the `node` at its first `depth` branches.
    package static func descend(from node: Digest, depth: Int = 0, to path: KeyPrefix) -> Digest {
        (depth..<path.depth).reduce(node) { node, level in child(of: node, bit: path.bit(level)) }
    }
}

/// Derives leaves below one node in order, remembering the path of the last one.
///
/// Neighbouring leaves share all but their last branches, so a run of new keys costs about two hashes each instead of 100.
package struct LeafCursor: Sendable {
    private let base: KeyNode
    private var last = UInt128(0)
    /// From the child of `base` down to the last leaf.
    private var nodes: [Digest] = []

    package init(below base: KeyNode) { self.base = base }

    func covers(_ path: KeyPrefix) -> Bool { base.prefix.covers(path) }

    package mutating func key(_ path: KeyPrefix) -> LeafKey {
        let shared = nodes.isEmpty ? 0 : (last ^ path.bits).leadingZeroBitCount - base.prefix.depth
        nodes.removeLast(nodes.count - min(max(shared, 0), nodes.count))
        for level in (base.prefix.depth + nodes.count)..<path.depth {
            nodes.append(KeyTree.child(of: nodes.last ?? base.key, bit: path.bit(level)))
        }
        last = path.bits
        return LeafKey(nodes.last ?? base.key)
    }
}

/// A living node of a tree: whoever has it can derive everything below `prefix`.
package struct KeyNode: Sendable {
    package let prefix: KeyPrefix
    package let key: Digest

    package init(prefix: KeyPrefix, key: Digest) {
        self.prefix = prefix
        self.key = key
    }

    /// The seed of a whole epoch.
    package static func seed(_ key: Digest) -> KeyNode { KeyNode(prefix: .root, key: key) }

    /// The key of a leaf below this node.
    package func leaf(_ path: KeyPrefix) -> LeafKey {
        LeafKey(KeyTree.descend(from: key, depth: prefix.depth, to: path))
    }
}
