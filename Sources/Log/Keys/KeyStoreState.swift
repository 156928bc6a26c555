/// What a key store knows in memory: where each epoch's tree is, some of the trees, and what was issued.
extension KeyStore {
    /// How many nodes of punctured trees are kept in memory.
    static let cachedNodesMax = 1 << 19

    /// How many places in trees are remembered: about 3 KiB each.
    static let cursorsMax = 1024

    struct Subtree: Hashable {
        let client: UInt64
        let keyClass: KeyClass
    }

    struct State: Sendable {
        var directory: EpochDirectory
        var file: any StorageFile
        /// Counts changes, so that a page that was read before one is not kept after it.
        var version: UInt64 = 0
        var trees: [UInt32: PuncturedTree] = [:]
        /// The epoch that new keys belong to, and what was issued of it.
        var current: UInt32
        var issued = 0
        var subtrees: [Subtree: Issuing] = [:]
        var cursorCount = 0
    }

    /// How far the leaves of one subtree of the current epoch are issued.
    struct Issuing: Sendable {
        var nextLeaf: UInt64 = 0
        /// Where the last one was derived; nil when that was forgotten.
        var cursor: LeafCursor?
    }

    enum Issue {
        case issued(KeyReference, LeafKey)
        /// The epoch is used up.
        case full
        case destroyed
    }

    /// What there is of an epoch.
    enum Remains {
        /// Everything.
        case seed(Digest)
        /// What was not destroyed.
        case tree(PuncturedTree)
        /// The same, to be read first.
        case page(Lookup)
    }

    /// A page to be read without holding a lock.
    struct Lookup: Sendable {
        let file: any StorageFile
        let place: PagePlace
        let key: Digest
        let version: UInt64
    }
}

extension KeyStore.State {
    var isFull: Bool { issued >= KeyStore.leavesPerEpoch }

    mutating func issue(_ subtree: KeyStore.Subtree) -> KeyStore.Issue {
        if isFull { return .full }
        let index = place(of: subtree)
        let leaf = subtrees.values[index].nextLeaf
        let reference = KeyReference(
            client: subtree.client,
            leaf: leaf,
            epoch: current,
            keyClass: subtree.keyClass
        )
        let path = reference.path
        if subtrees.values[index].cursor?.covers(path) != true {
            guard let node = node(above: path) else { return .destroyed }
            setCursor(LeafCursor(below: node), at: index)
        }
        guard let key = subtrees.values[index].cursor?.key(path) else { return .destroyed }
        subtrees.values[index].nextLeaf = leaf + 1
        issued += 1
        return .issued(reference, key)
    }

    private mutating func place(of subtree: KeyStore.Subtree) -> Dictionary<KeyStore.Subtree, KeyStore.Issuing>.Index {
        while true {
            if let index = subtrees.index(forKey: subtree) { return index }
            subtrees[subtree] = KeyStore.Issuing()
        }
    }

    private mutating func setCursor(
        _ cursor: LeafCursor,
        at index: Dictionary<KeyStore.Subtree, KeyStore.Issuing>.Index
    ) {
        if cursorCount >= KeyStore.cursorsMax { forgetCursors() }
        if subtrees.values[index].cursor == nil { cursorCount += 1 }
        subtrees.values[index].cursor = cursor
    }

    private mutating func forgetCursors() {
        // Step by step, because a list of the indices would keep a second copy of everything.
        var index = subtrees.startIndex
        while index != subtrees.endIndex {
            subtrees.values[index].cursor = nil
            subtrees.formIndex(after: &index)
        }
        cursorCount = 0
    }

    /// The living node above a path of the current epoch, whose tree is kept in memory.
    private func node(above path: KeyPrefix) -> KeyNode? {
        switch remains(of: current) {
        case .seed(let seed): .seed(seed)
        case .tree(let tree): tree.node(above: path)
        case .page, nil: nil
        }
    }

    /// What there is of an epoch, or where to read about it; nil when it is unknown.
    func remains(of number: UInt32) -> KeyStore.Remains? {
        guard let index = directory.index(of: number) else { return nil }
        let secret = directory.secret(index)
        let entry = directory.entries[index]
        if entry.kind == .seed { return .seed(secret) }
        if let tree = trees[number] { return .tree(tree) }
        return .page(KeyStore.Lookup(file: file, place: entry.page, key: secret, version: version))
    }

    /// Keeps a tree that was read, unless it has changed since.
    mutating func keep(_ tree: PuncturedTree, of number: UInt32, _ version: UInt64) {
        guard version == self.version else { return }
        // What was used last is not worth telling apart: whatever is needed is read again.
        if trees.values.reduce(tree.count, { $0 + $1.count }) > KeyStore.cachedNodesMax {
            trees = trees.filter { $0.key == current }
        }
        // Of the current epoch it is the only place where keys are issued from.
        trees[number] = tree
    }

    /// Takes over a change. Whatever was derived from what is destroyed now goes.
    mutating func follow(_ durable: KeyState, _ changes: [KeyState.Change]) {
        version += 1
        directory = durable.directory
        file = durable.pages.file
        forgetCursors()
        for change in changes {
            trees[change.number] = nil
            if case .tree(let tree) = change.content { keep(tree, of: change.number, version) }
        }
        guard current != directory.newest else { return }
        current = directory.newest
        issued = 0
        subtrees.removeAll()
        cursorCount = 0
    }
}
