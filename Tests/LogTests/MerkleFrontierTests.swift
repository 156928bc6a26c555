import Log
import TestSupport
import Testing

@Suite struct MerkleFrontierTests {
    @Test func anEmptyTreeHasTheHashOfNothing() {
        #expect(
            Hex.encode(MerkleFrontier().root.bytes)
                == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        )
    }

    @Test func agreesWithTheRecursiveDefinition() {
        let entries = randomEntries(71)
        var frontier = MerkleFrontier()
        for size in 0...70 {
            #expect(frontier.size == UInt64(size))
            #expect(frontier.root == treeHash(entries[0..<size]), "size \(size)")
            #expect(frontier.subtrees.count == size.nonzeroBitCount)
            frontier.append(entry: entries[size])
        }
    }

    @Test func goesOnFromWhatASegmentHeaderKept() throws {
        let entries = randomEntries(70)
        for cut in 0...70 {
            var first = MerkleFrontier()
            for entry in entries[..<cut] { first.append(entry: entry) }
            var second = try #require(MerkleFrontier(size: first.size, subtrees: first.subtrees))
            #expect(second == first)
            for entry in entries[cut...] { second.append(entry: entry) }
            #expect(second.root == treeHash(entries[...]))
        }
    }

    @Test func refusesSubtreesThatDoNotFitTheSize() {
        #expect(MerkleFrontier(size: 0, subtrees: [.zero]) == nil)
        #expect(MerkleFrontier(size: 3, subtrees: [.zero]) == nil)
        #expect(MerkleFrontier(size: 4, subtrees: [.zero, .zero]) == nil)
        #expect(MerkleFrontier(size: .max, subtrees: Array(repeating: .zero, count: 64)) != nil)
    }

    @Test func everyEntryAndItsPlaceDecideTheRoot() {
        let entries = randomEntries(13)
        let root = self.root(entries)
        for index in entries.indices {
            var changed = entries
            changed[index].word0 ^= 1
            #expect(self.root(changed) != root)
            var swapped = entries
            swapped.swapAt(index, (index + 1) % entries.count)
            #expect(self.root(swapped) != root)
        }
    }

    private func root(_ entries: [Digest]) -> Digest {
        var frontier = MerkleFrontier()
        for entry in entries { frontier.append(entry: entry) }
        return frontier.root
    }

    private func randomEntries(_ count: Int) -> [Digest] {
        var generator = SeededGenerator(seed: 4)
        return (0..<count).map { _ in Digest(generator.bytes(32)) ?? .zero }
    }

    /// RFC 6962 section 2.1, word for word.
    private func treeHash(_ entries: ArraySlice<Digest>) -> Digest {
        guard let first = entries.first else { return digest([]) }
        if entries.count == 1 { return digest([0] + first.bytes) }
        var split = 1
        while split * 2 < entries.count { split *= 2 }
        let left = treeHash(entries.prefix(split))
        let right = treeHash(entries.dropFirst(split))
        return digest([1] + left.bytes + right.bytes)
    }

    private func digest(_ bytes: [UInt8]) -> Digest { Digest(Crypto.sha256(bytes)) ?? .zero }
}
