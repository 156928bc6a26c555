import Log
import TestSupport
import Testing

@Suite struct PuncturedTreeTests {
    private static let whole = PuncturedTree(seed: HashChain.seed)

    private func path(_ leaf: UInt64, client: UInt64 = 7, _ keyClass: KeyClass = .message) -> KeyPrefix {
        KeyReference(client: client, leaf: leaf, epoch: 1, keyClass: keyClass).path
    }

    /// The whole tree without some leaves of one client and class.
    private func tree(without leaves: [UInt64]) throws -> PuncturedTree {
        try #require(Self.whole.puncturing(leaves.map { path($0) }))
    }

    /// Whether a leaf is derivable, and if it is, as the key that it always had.
    private func isLiving(_ path: KeyPrefix, in tree: PuncturedTree) -> Bool {
        guard let found = tree.node(above: path)?.leaf(path) else { return false }
        let expected = LeafKey(KeyTree.descend(from: HashChain.seed, to: path))
        #expect(found.commitment == expected.commitment)
        return true
    }

    // MARK: What is destroyed

    @Test func aWholeTreeHasEveryLeaf() {
        #expect(Self.whole.count == 1)
        for leaf in [0, 1, 77, 0xFFFF_FFFF] as [UInt64] {
            #expect(isLiving(path(leaf, client: leaf << 32), in: Self.whole))
        }
        #expect(Self.whole.puncturing([]) == nil)
    }

    @Test func anySetOfLeavesIsDestroyedAndNothingElse() throws {
        let world = try SmallWorld(bits: 4)
        #expect(world.tree.count == 1)
        #expect(world.problem(world.tree, without: []) == nil)
        for bits in 1..<(1 << 16) {
            let destroyed = world.leaves.filter { bits >> $0 & 1 == 1 }
            guard let tree = world.tree.puncturing(destroyed.map { world.paths[$0] }) else {
                Issue.record("nothing was destroyed for \(destroyed)")
                return
            }
            if let problem = world.problem(tree, without: Set(destroyed)) {
                Issue.record("leaf \(problem) is wrong without \(destroyed)")
                return
            }
        }
    }

    /// All at once, one by one, or some at a time: what is left is the same to the last byte.
    @Test func theOrderOfDestructionDoesNotMatter() throws {
        let world = try SmallWorld(bits: 6)
        for seed in UInt64(0)..<150 {
            var generator = SeededGenerator(seed: seed)
            let count = Int.random(in: 1...world.leaves.count, using: &generator)
            let destroyed = Array(world.leaves.shuffled(using: &generator).prefix(count))
            let paths = destroyed.map { world.paths[$0] }
            let atOnce = try #require(world.tree.puncturing(paths))
            var oneByOne = world.tree
            for path in paths { oneByOne = try #require(oneByOne.puncturing([path])) }
            var inParts = world.tree
            var rest = paths.shuffled(using: &generator)[...]
            while !rest.isEmpty {
                let part = rest.prefix(Int.random(in: 1...8, using: &generator))
                inParts = try #require(inParts.puncturing(Array(part)))
                rest = rest.dropFirst(part.count)
            }
            #expect(world.problem(atOnce, without: Set(destroyed)) == nil, "seed \(seed)")
            #expect(oneByOne.encoded == atOnce.encoded, "seed \(seed)")
            #expect(inParts.encoded == atOnce.encoded, "seed \(seed)")
            #expect(atOnce.puncturing(paths.shuffled(using: &generator)) == nil, "seed \(seed)")
        }
    }

    /// Leaves and inner nodes, nested ones and repeated ones too, against a model that compares every pair.
    @Test func anyNodesAreDestroyedAndNothingElse() throws {
        for seed in UInt64(0)..<100 {
            var generator = SeededGenerator(seed: seed)
            let leaves = relatedLeaves(40, using: &generator)
            var tree = Self.whole
            var destroyed: [[UInt8]] = []
            for _ in 0..<4 {
                let batch = (0..<Int.random(in: 0...6, using: &generator)).map { _ in
                    let depth = generator.chance(0.6) ? 100 : Int.random(in: 40...100, using: &generator)
                    return Array((leaves.randomElement(using: &generator) ?? []).prefix(depth))
                }
                let new = batch.filter { node in !destroyed.contains { node.starts(with: $0) } }
                let next = tree.puncturing((batch + batch.prefix(1)).map { HashChain.prefix($0) })
                if new.isEmpty { #expect(next == nil, "seed \(seed)") }
                if new.contains(where: { $0.count == 100 }) { #expect(next != nil, "seed \(seed)") }
                tree = next ?? tree
                destroyed += batch
                for leaf in leaves {
                    let isDestroyed = destroyed.contains { leaf.starts(with: $0) }
                    #expect(isLiving(HashChain.prefix(leaf), in: tree) == !isDestroyed, "seed \(seed)")
                }
            }
        }
    }

    /// Paths that part from one another at random levels.
    private func relatedLeaves(_ count: Int, using generator: inout SeededGenerator) -> [[UInt8]] {
        var leaves = [HashChain.branches(KeyReference(client: 7, leaf: 9, epoch: 1, keyClass: .message))]
        while leaves.count < count {
            var leaf = leaves.randomElement(using: &generator) ?? []
            leaf[Int.random(in: (generator.chance(0.5) ? 90 : 0)..<100, using: &generator)] ^= 1
            leaves.append(leaf)
        }
        return leaves
    }

    @Test func destroyingTwiceChangesNothing() throws {
        let tree = try tree(without: [5, 6, 9])
        #expect(tree.puncturing([path(5)]) == nil)
        #expect(tree.puncturing([path(9), path(6), path(5), path(5)]) == nil)
        let more = try #require(tree.puncturing([path(5), path(7)]))
        #expect(!isLiving(path(7), in: more))
        #expect(isLiving(path(7), in: tree))
    }

    @Test func aClientIsDestroyedWithAllItsKeysAndNoOtherClient() throws {
        let tree = try #require(Self.whole.puncturing([.client(7)]))
        // The siblings on the way down.
        #expect(tree.count == KeyPrefix.clientBits)
        for keyClass in KeyClass.allCases {
            for leaf in [0, 1, 1 << 31, 0xFFFF_FFFF] as [UInt64] {
                #expect(!isLiving(path(leaf, keyClass), in: tree))
                for client in [0, 6, 8, 7 | 1 << 63, .max] as [UInt64] {
                    #expect(isLiving(path(leaf, client: client, keyClass), in: tree))
                }
            }
        }
        #expect(tree.puncturing([.client(7), path(3)]) == nil)
    }

    @Test func aClientIsDestroyedAlsoWhereSomeOfItIsGone() throws {
        let before = try tree(without: [1, 3, 5])
        let after = try #require(before.puncturing([path(9, .secret), .client(7), path(11)]))
        #expect(after.encoded == Self.whole.puncturing([.client(7)])?.encoded)
    }

    @Test func nothingIsLeftOfATreeThatIsDestroyed() throws {
        let root = HashChain.prefix([UInt8]())
        let tree = try #require(Self.whole.puncturing([root]))
        #expect(tree.count == 0)
        #expect(!isLiving(path(0), in: tree))
        #expect(tree.puncturing([root, path(0)]) == nil)
        #expect(tree.encoded == [1, 0, 0, 0, 0])
    }

    // MARK: What is stored

    /// No key that is stored is one from which a destroyed leaf follows, and all of them are keys of the tree.
    @Test func whatIsStoredTellsNothingOfWhatIsDestroyed() throws {
        for seed in UInt64(0)..<10 {
            var generator = SeededGenerator(seed: seed)
            let destroyed = relatedLeaves(12, using: &generator)
            let tree = try #require(Self.whole.puncturing(destroyed.map { HashChain.prefix($0) }))
            let stored = StoredNodes(tree.encoded)
            #expect(stored.paths.count == tree.count)
            let keys = Dictionary(uniqueKeysWithValues: zip(stored.paths, stored.keys))
            let known = Set(stored.keys)
            for leaf in destroyed {
                var node = HashChain.seed
                for depth in 0...100 {
                    #expect(keys[Array(leaf.prefix(depth))] == nil, "seed \(seed)")
                    #expect(!known.contains(node), "seed \(seed)")
                    if depth < 100 { node = HashChain.node([leaf[depth]], below: node) }
                }
            }
            for (path, key) in keys { #expect(key == HashChain.node(path), "seed \(seed)") }
        }
    }

    @Test func neighboursThatAreDestroyedCollapse() throws {
        var tree = Self.whole
        for leaf in UInt64(0)..<1024 {
            tree = try #require(tree.puncturing([path(leaf)]))
            #expect(tree.count <= 100)
            // With what it takes to point to it, a page of the disk.
            #expect(tree.encoded.count <= 4096 - 256)
        }
        // They hang together at depth 90.
        #expect(tree.count == 90)
        #expect(!isLiving(path(1023), in: tree))
        #expect(isLiving(path(1024), in: tree))
    }

    @Test func everySecondLeafCostsAtMostANodeForEachLivingOne() throws {
        let tree = try tree(without: Array(stride(from: 0, to: 4096, by: 2)))
        #expect(tree.count <= 2048 + 100)
        for leaf in UInt64(0)..<4096 where leaf % 97 == 0 { #expect(isLiving(path(leaf), in: tree) == (leaf % 2 == 1)) }
    }

    // MARK: Bytes

    @Test func aTreeIsReadAsItWasWritten() throws {
        for seed in UInt64(0)..<50 {
            var generator = SeededGenerator(seed: seed)
            let leaves = relatedLeaves(30, using: &generator)
            let destroyed = leaves.prefix(Int(seed) % 30 + 1).map { HashChain.prefix($0) }
            let tree = try #require(Self.whole.puncturing(destroyed))
            let read = try #require(PuncturedTree(tree.encoded))
            #expect(read.count == tree.count)
            #expect(read.encoded == tree.encoded)
            for leaf in leaves.map({ HashChain.prefix($0) }) {
                #expect(isLiving(leaf, in: read) == !destroyed.contains(leaf))
            }
            let more = path(UInt64(seed), client: 99)
            #expect(read.puncturing([more])?.encoded == tree.puncturing([more])?.encoded)
        }
    }

    @Test func aWholeTreeAndAnEmptyOneAreRead() throws {
        #expect(Self.whole.encoded == [1, 0, 0, 0, 1] + HashChain.seed.bytes)
        let whole = try #require(PuncturedTree(Self.whole.encoded))
        #expect(isLiving(path(3), in: whole))
        let empty = try #require(PuncturedTree([1, 0, 0, 0, 0]))
        #expect(empty.count == 0)
        #expect(!isLiving(path(3), in: empty))
    }

    @Test func aTreeThatIsCutOffOrTooLongIsRefused() throws {
        for bytes in [Self.whole.encoded, try tree(without: [0, 7, 8]).encoded, [1, 0, 0, 0, 0]] {
            for count in bytes.indices { #expect(PuncturedTree(Array(bytes[..<count])) == nil, "\(count) bytes") }
            #expect(PuncturedTree(bytes + [0]) == nil)
            #expect(PuncturedTree(bytes + [UInt8](repeating: 0, count: 32)) == nil)
        }
    }

    @Test func aWrongNumberOfMarksIsRefused() throws {
        let bytes = try tree(without: [0, 7, 8]).encoded
        let count = Int(bytes[0]) | Int(bytes[1]) << 8
        for wrong in [0, 1, count - 4, count - 1, count + 1, count + 2, count + 4, 65_535] {
            let head = [UInt8(wrong & 255), UInt8(wrong >> 8), 0, 0]
            #expect(PuncturedTree(head + bytes[4...]) == nil, "\(wrong) marks")
        }
        #expect(PuncturedTree([255, 255, 255, 255] + bytes[4...]) == nil)
        // A root with two children, with none, with one, and with three.
        let key = HashChain.seed.bytes
        #expect(PuncturedTree([3, 0, 0, 0, 0b01_0010] + key) != nil)
        #expect(PuncturedTree([1, 0, 0, 0, 0b10]) == nil)
        #expect(PuncturedTree([2, 0, 0, 0, 0b0110] + key) == nil)
        #expect(PuncturedTree([4, 0, 0, 0, 0b01_0010] + key) == nil)
    }

    @Test func aMarkThatMeansNothingIsRefused() {
        let key = HashChain.seed.bytes
        #expect(PuncturedTree([1, 0, 0, 0, 3] + key) == nil)
        #expect(PuncturedTree([3, 0, 0, 0, 0b01_1110] + key) == nil)
    }

    @Test func nothingLiesBelowALeaf() {
        let leaves = marks([UInt8](repeating: 2, count: 100) + [1] + [UInt8](repeating: 0, count: 100))
        #expect(PuncturedTree(leaves + HashChain.seed.bytes)?.count == 1)
        let deeper = marks([UInt8](repeating: 2, count: 101) + [1] + [UInt8](repeating: 0, count: 101))
        #expect(PuncturedTree(deeper + HashChain.seed.bytes) == nil)
        let endless = marks([UInt8](repeating: 2, count: 10_000))
        #expect(PuncturedTree(endless) == nil)
    }

    /// The head of a tree's bytes: the number of marks, and the marks.
    private func marks(_ marks: [UInt8]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: (marks.count + 3) / 4)
        for (index, mark) in marks.enumerated() { bytes[index / 4] |= mark << UInt8(index % 4 * 2) }
        return [UInt8(marks.count & 255), UInt8(marks.count >> 8), 0, 0] + bytes
    }

    @Test func bytesThatAreNoTreeDoNoHarm() throws {
        var generator = SeededGenerator(seed: 11)
        let valid = try tree(without: [0, 7, 8]).encoded
        let leaf = path(3)
        for round in 0..<20_000 {
            var bytes = generator.bytes(Int.random(in: 0...80, using: &generator))
            if round % 2 == 0 {
                bytes = valid
                for _ in 0...(round % 3) { bytes[Int.random(in: 0..<60, using: &generator)] ^= generator.bytes(1)[0] }
            } else if bytes.count >= 4 {
                bytes.replaceSubrange(0..<4, with: [UInt8.random(in: 0...20, using: &generator), 0, 0, 0])
            }
            guard let tree = PuncturedTree(bytes) else { continue }
            _ = tree.node(above: leaf)?.leaf(leaf)
            #expect(tree.encoded.count <= bytes.count)
        }
    }
}

/// Leaves that differ in their last branches only, in a tree that has nothing else.
private struct SmallWorld {
    let tree: PuncturedTree
    let paths: [KeyPrefix]
    private let commitments: [Digest]

    var leaves: Range<Int> { paths.indices }

    init(bits: Int) throws {
        let reference = KeyReference(client: 7, leaf: 0xABCD_EF00, epoch: 1, keyClass: .message)
        let top = Array(HashChain.branches(reference).prefix(100 - bits))
        let siblings = top.indices.map { HashChain.prefix(Array(top[..<$0]) + [top[$0] ^ 1]) }
        tree = try #require(PuncturedTree(seed: HashChain.seed).puncturing(siblings))
        let key = HashChain.node(top)
        let ways = (0..<(1 << bits)).map { number in (0..<bits).reversed().map { UInt8(number >> $0 & 1) } }
        paths = ways.map { HashChain.prefix(top + $0) }
        commitments = ways.map { HashChain.commitment(HashChain.node($0, below: key)) }
    }

    /// The first leaf that is there and should not be, or is not and should be, or has another key.
    func problem(_ tree: PuncturedTree, without destroyed: Set<Int>) -> Int? {
        leaves.first { leaf in
            let found = tree.node(above: paths[leaf])?.leaf(paths[leaf]).commitment
            return found != (destroyed.contains(leaf) ? nil : commitments[leaf])
        }
    }
}

/// What the bytes of a tree store, read as their format says.
private struct StoredNodes {
    private(set) var paths: [[UInt8]] = []
    private(set) var keys: [Digest] = []
    private var marks: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) {
        let count = Int(bytes[0]) | Int(bytes[1]) << 8 | Int(bytes[2]) << 16
        marks = (0..<count).map { bytes[4 + $0 / 4] >> UInt8($0 % 4 * 2) & 3 }[...]
        walk([])
        let start = 4 + (count + 3) / 4
        keys = paths.indices.compactMap { Digest(Array(bytes[(start + $0 * 32)..<(start + $0 * 32 + 32)])) }
    }

    private mutating func walk(_ place: [UInt8]) {
        switch marks.popFirst() {
        case 1: paths.append(place)
        case 2:
            walk(place + [0])
            walk(place + [1])
        default: break
        }
    }
}
