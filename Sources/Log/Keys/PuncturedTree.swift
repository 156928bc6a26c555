/// What is left of one epoch's tree: the nodes from which exactly the living leaves can be derived.
///
/// A puncturable pseudo-random function after Green and Miers ("Forward secure asynchronous messaging from puncturable
/// encryption", 2015), on a GGM tree: destroying a leaf replaces the living node above it by the siblings along the way
/// down. Neighbours that are destroyed together share those siblings, so that what remains of them collapses.
package struct PuncturedTree: Sendable {
    /// Living nodes in the order of their paths; none lies below another.
    private let prefixes: [KeyPrefix]
    private let keys: LockedKeys

    private init(_ prefixes: [KeyPrefix], _ keys: LockedKeys) {
        self.prefixes = prefixes
        self.keys = keys
    }

    package init(seed: Digest) {
        var keys = LockedKeys()
        keys.append(seed)
        self.init([.root], keys)
    }

    /// How many keys are stored.
    package var count: Int { prefixes.count }

    /// The living node from which a leaf can be derived, or nil when the leaf is destroyed.
    package func node(above path: KeyPrefix) -> KeyNode? {
        let next = prefixes.partitionPoint { $0.bits <= path.bits }
        guard next > 0, prefixes[next - 1].covers(path) else { return nil }
        return KeyNode(prefix: prefixes[next - 1], key: keys[next - 1])
    }

    /// The tree without anything below `destroyed`; nil when nothing of that was alive.
    package func puncturing(_ destroyed: [KeyPrefix]) -> PuncturedTree? {
        var builder = Builder(capacity: count + KeyPrefix.leafDepth)
        let disjoint = PuncturedTree.disjoint(destroyed)
        for index in prefixes.indices {
            builder.keep(KeyNode(prefix: prefixes[index], key: keys[index]), without: disjoint[...])
        }
        return builder.hasChanged ? PuncturedTree(builder.prefixes, builder.keys) : nil
    }

    /// In order, without what lies below another of them: an ancestor comes before what is below it.
    private static func disjoint(_ destroyed: [KeyPrefix]) -> [KeyPrefix] {
        var kept: [KeyPrefix] = []
        for prefix in destroyed.sorted(by: { ($0.bits, $0.depth) < ($1.bits, $1.depth) })
        where kept.last?.covers(prefix) != true { kept.append(prefix) }
        return kept
    }

    private struct Builder {
        var prefixes: [KeyPrefix] = []
        var keys: LockedKeys
        var hasChanged = false

        init(capacity: Int) { keys = LockedKeys(capacity: capacity) }

        /// Keeps of a living node what none of the `destroyed`, in order and disjoint, covers.
        mutating func keep(_ node: KeyNode, without destroyed: ArraySlice<KeyPrefix>) {
            let next = destroyed.partitionPoint { $0.bits <= node.prefix.bits }
            if next > destroyed.startIndex, destroyed[next - 1].covers(node.prefix) {
                hasChanged = true
                return
            }
            let below = destroyed[destroyed.partitionPoint { $0.bits < node.prefix.bits }...]
            let inside = below[..<below.partitionPoint { node.prefix.covers($0) }]
            guard !inside.isEmpty else {
                prefixes.append(node.prefix)
                keys.append(node.key)
                return
            }
            hasChanged = true
            for bit in [UInt8(0), 1] {
                let key = KeyTree.child(of: node.key, bit: bit)
                keep(KeyNode(prefix: node.prefix.child(bit), key: key), without: inside)
            }
        }
    }
}

// MARK: Bytes

extension PuncturedTree {
    /// What the shape says at a place, two bits each.
    private enum Mark: UInt8 {
        /// Everything below is destroyed.
        case dead = 0
        /// A living node; its key follows in the list of keys.
        case living = 1
        /// Look at both children, the one of branch 0 first.
        case inner = 2
    }

    /// Number of marks (4, little-endian), marks from the root in pre-order, four to a byte from the low bits up, then the
    /// keys of the living nodes in order.
    package var encoded: [UInt8] {
        var marks: [Mark] = []
        mark(.root, prefixes.indices, into: &marks)
        let start = 4 + (marks.count + 3) / 4
        return [UInt8](unsafeUninitializedCapacity: start + count * Digest.size) { output, size in
            let bytes = UnsafeMutableRawBufferPointer(output)
            size = start + count * Digest.size
            UnsafeMutableRawBufferPointer(rebasing: bytes[..<start]).initializeMemory(as: UInt8.self, repeating: 0)
            var writer = LittleEndianWriter(bytes)
            writer.write(UInt32(marks.count), at: 0)
            for (index, mark) in marks.enumerated() { bytes[4 + index / 4] |= mark.rawValue << UInt8(index % 4 * 2) }
            for index in 0..<count {
                bytes.storeBytes(of: keys[index], toByteOffset: start + index * Digest.size, as: Digest.self)
            }
        }
    }

    private func mark(_ place: KeyPrefix, _ inside: Range<Int>, into marks: inout [Mark]) {
        guard let first = inside.first else { return marks.append(.dead) }
        if prefixes[first] == place { return marks.append(.living) }
        marks.append(.inner)
        let right = place.child(1)
        let middle = prefixes[inside].partitionPoint { $0.bits < right.bits }
        mark(place.child(0), inside.lowerBound..<middle, into: &marks)
        mark(right, middle..<inside.upperBound, into: &marks)
    }

    /// Nil when the bytes are not exactly one tree.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count >= 4 else { return nil }
        let markCount = bytes[..<4].reversed().reduce(0) { $0 << 8 | Int($1) }
        guard markCount <= bytes.count * 4 else { return nil }
        var reader = MarkReader(bytes: bytes, end: markCount)
        guard reader.read(.root), reader.next == markCount else { return nil }
        let start = 4 + (markCount + 3) / 4
        guard bytes.count == start + reader.living.count * Digest.size else { return nil }
        var keys = LockedKeys(capacity: reader.living.count)
        bytes.withUnsafeBytes { bytes in
            for index in reader.living.indices { keys.append(Digest(bytes, at: start + index * Digest.size)) }
        }
        self.init(reader.living, keys)
    }

    private struct MarkReader {
        let bytes: [UInt8]
        let end: Int
        var next = 0
        var living: [KeyPrefix] = []

        /// Reads the marks of one place and all below it. False when they are none.
        mutating func read(_ place: KeyPrefix) -> Bool {
            guard next < end, 4 + next / 4 < bytes.count,
                let mark = Mark(rawValue: bytes[4 + next / 4] >> UInt8(next % 4 * 2) & 3)
            else { return false }
            next += 1
            switch mark {
            case .dead: return true
            case .living: living.append(place)
            case .inner:
                guard place.depth < KeyPrefix.leafDepth else { return false }
                return read(place.child(0)) && read(place.child(1))
            }
            return true
        }
    }
}
