import Log
import TestSupport
import Testing

@Suite struct KeyTreeTests {
    private static let reference = KeyReference(
        client: 0x1234_5678_9ABC_DEF0,
        leaf: 0xABCD_EF01,
        epoch: 1,
        keyClass: .secret
    )

    private func path(_ leaf: UInt64) -> KeyPrefix {
        KeyReference(client: Self.reference.client, leaf: leaf, epoch: 1, keyClass: Self.reference.keyClass).path
    }

    /// Derived from the seed, without a cursor.
    private func commitment(_ path: KeyPrefix) -> Digest {
        LeafKey(KeyTree.descend(from: HashChain.seed, to: path)).commitment
    }

    /// A cursor below the node at some depth of the way to `reference`.
    private func cursor(_ depth: Int) -> LeafCursor {
        let branches = HashChain.branches(Self.reference).prefix(depth)
        return LeafCursor(below: KeyNode(prefix: HashChain.prefix(branches), key: HashChain.node(branches)))
    }

    @Test func aLeafIsWhatThePathSays() {
        let places: [(UInt64, UInt64, KeyClass)] = [
            (0, 0, .message), (.max, 0xFFFF_FFFF, .conversation), (77, 5, .secret),
            (1 << 63, 1 << 31, .purgeModeMessage),
        ]
        for (client, leaf, keyClass) in places {
            let reference = KeyReference(client: client, leaf: leaf, epoch: 1, keyClass: keyClass)
            let branches = HashChain.branches(reference)
            let expected = HashChain.node(branches)
            #expect(reference.path == HashChain.prefix(branches))
            #expect(KeyTree.descend(from: HashChain.seed, to: reference.path) == expected)
            #expect(KeyNode.seed(HashChain.seed).leaf(reference.path).commitment == HashChain.commitment(expected))
        }
    }

    @Test(arguments: [0, 1, 63, 64, 65, 67, 68, 99, 100])
    func aNodeOnTheWayIsWhatThePathSays(_ depth: Int) {
        let branches = HashChain.branches(Self.reference)
        let prefix = HashChain.prefix(branches.prefix(depth))
        let node = KeyTree.descend(from: HashChain.seed, to: prefix)
        #expect(node == HashChain.node(branches.prefix(depth)))
        let leaf = HashChain.node(branches)
        #expect(KeyTree.descend(from: node, depth: depth, to: Self.reference.path) == leaf)
        let below = KeyNode(prefix: prefix, key: node).leaf(Self.reference.path)
        #expect(below.commitment == HashChain.commitment(leaf))
    }

    @Test func theKeysOfAClientLieBelowItsNumber() {
        let branches = HashChain.branches(Self.reference)
        #expect(KeyPrefix.client(Self.reference.client) == HashChain.prefix(branches.prefix(64)))
        #expect(KeyPrefix.client(.max) == HashChain.prefix([UInt8](repeating: 1, count: 64)))
    }

    @Test func theCursorAgreesWithTheTreeInOrder() {
        var cursor = cursor(68)
        for leaf in UInt64(0)..<300 { #expect(cursor.key(path(leaf)).commitment == commitment(path(leaf))) }
    }

    @Test func theCursorAgreesWithTheTreeAnywhere() {
        var cursor = cursor(68)
        var generator = SeededGenerator(seed: 6)
        for _ in 0..<300 {
            let path = path(UInt64(UInt32.random(in: 0...(.max), using: &generator)))
            #expect(cursor.key(path).commitment == commitment(path))
        }
    }

    @Test func theCursorAgreesWithTheTreeAtTheEdges() {
        let edges: [UInt64] = [
            0, 0xFFFF_FFFF, 0, 1, 0, 0, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF, 2,
        ]
        var shared = cursor(68)
        for leaf in edges {
            var fresh = cursor(68)
            #expect(shared.key(path(leaf)).commitment == commitment(path(leaf)))
            #expect(fresh.key(path(leaf)).commitment == commitment(path(leaf)))
        }
    }

    /// The living node above a leaf is the seed at first and lies anywhere once something was destroyed.
    @Test(arguments: [0, 1, 63, 64, 67, 68, 99, 100])
    func theCursorAgreesWithTheTreeBelowAnyNode(_ depth: Int) {
        var cursor = cursor(depth)
        var generator = SeededGenerator(seed: UInt64(depth))
        var branches = HashChain.branches(Self.reference)
        for _ in 0..<200 {
            if depth < branches.count { branches[Int.random(in: depth..<branches.count, using: &generator)] ^= 1 }
            let path = HashChain.prefix(branches)
            #expect(cursor.key(path).commitment == commitment(path))
        }
    }

    @Test func clientsClassesAndLeavesHaveKeysOfTheirOwn() {
        var keys: Set<Digest> = []
        for client in [UInt64(0), 1, 1 << 63] {
            for keyClass in KeyClass.allCases {
                for leaf in UInt64(0)..<4 {
                    keys.insert(commitment(KeyReference(client: client, leaf: leaf, epoch: 1, keyClass: keyClass).path))
                }
            }
        }
        #expect(keys.count == 3 * KeyClass.allCases.count * 4)
    }
}

/// The tree of keys from its definition alone: one SHA-256 for each branch.
enum HashChain {
    static let seed = Digest([UInt8](repeating: 0x3C, count: 32)) ?? .zero

    /// Client, class and leaf, most significant bit first.
    static func branches(_ reference: KeyReference) -> [UInt8] {
        var bits = (0..<64).reversed().map { UInt8(reference.client >> UInt64($0) & 1) }
        bits += (0..<4).reversed().map { reference.keyClass.rawValue >> UInt8($0) & 1 }
        bits += (0..<32).reversed().map { UInt8(reference.leaf >> UInt64($0) & 1) }
        return bits
    }

    /// The node at the end of some branches.
    static func node(_ branches: some Sequence<UInt8>, below seed: Digest = HashChain.seed) -> Digest {
        var node = seed.bytes
        for bit in branches { node = Crypto.sha256([UInt8]("waybill ggm v1".utf8) + [bit] + node) }
        return Digest(node) ?? .zero
    }

    static func commitment(_ leaf: Digest) -> Digest {
        Digest(Crypto.sha256([UInt8]("waybill key commitment v1".utf8) + leaf.bytes)) ?? .zero
    }

    /// The same branches as the code under test takes them.
    static func prefix(_ branches: some Collection<UInt8>) -> KeyPrefix {
        var bits = UInt128(0)
        for (level, bit) in branches.enumerated() { bits |= UInt128(bit) << UInt128(127 - level) }
        return KeyPrefix(bits: bits, depth: branches.count)
    }
}
