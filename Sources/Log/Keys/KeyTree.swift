/// One epoch's tree of keys: a GGM construction (Goldreich, Goldwasser, Micali, "How to construct random functions", 1986).
///
/// Every node is 32 bytes; its children are `SHA-256("waybill ggm v1" ‖ bit ‖ node)`. A leaf costs no storage: it is derived
/// from the epoch's seed along its path. Because a node tells nothing about its ancestors or siblings, one leaf can be
/// destroyed by replacing the seed with the siblings along that leaf's path.
package struct KeyTree: Sendable {
    let epoch: UInt32
    private let seed: Digest

    package init(epoch: UInt32, seed: Digest) {
        self.epoch = epoch
        self.seed = seed
    }

    /// The node at the end of the first `depth` branches of `path`.
    package func node(_ path: KeyPath, depth: Int) -> Digest {
        (0..<depth).reduce(seed) { node, level in KeyTree.child(of: node, bit: path.bit(level)) }
    }

    static func child(of node: Digest, bit: UInt8) -> Digest {
        let label: StaticString = "waybill ggm v1"
        let count = label.utf8CodeUnitCount
        return SHA256Stream.short(count + 1 + Digest.size) { message in
            message.copyLabel(label)
            message[count] = bit
            message.storeBytes(of: node, toByteOffset: count + 1, as: Digest.self)
        }
    }
}

/// Derives leaves of one (client, class) subtree in order, remembering the path of the last one.
///
/// Neighbouring leaves share all but their last branches, so a run of new keys costs about two hashes each instead of 100.
package struct LeafCursor: Sendable {
    private let base: Digest
    private var leaf: UInt64 = .max
    private var nodes: [Digest] = []

    package init(subtree: Digest) { base = subtree }

    package mutating func key(leaf wanted: UInt64) -> LeafKey {
        let shared = nodes.isEmpty ? 0 : (leaf ^ wanted).leadingZeroBitCount - (64 - KeyPath.leafBits)
        nodes.removeLast(nodes.count - min(max(shared, 0), nodes.count))
        for level in nodes.count..<KeyPath.leafBits {
            let bit = UInt8(wanted >> UInt64(KeyPath.leafBits - 1 - level) & 1)
            nodes.append(KeyTree.child(of: nodes.last ?? base, bit: bit))
        }
        leaf = wanted
        return LeafKey(nodes[KeyPath.leafBits - 1])
    }
}
