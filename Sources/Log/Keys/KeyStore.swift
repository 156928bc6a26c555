import Synchronization

/// Issues, finds and destroys leaf keys.
///
/// Leaf numbers are only counted in memory: every open begins a new epoch, whose seed is durable before a key of it is issued,
/// so a number can never come up again in an epoch that no later process continues. An epoch also ends when it is full, so
/// that what a purge has to write stays bounded.
///
/// Lock order: `durable`, then `state`. Nothing waits for a disk while it holds `state`.
package final class KeyStore: Sendable {
    /// How many leaves an epoch has. Half of them times 32 bytes is the most that its page can take.
    package static let leavesPerEpoch = 65_536
    /// Opened beside a writer, which alone may change anything.
    private let isReadOnly: Bool
    private let durable: Mutex<KeyState>
    private let state: Mutex<State>

    private init(_ durable: consuming KeyState, isReadOnly: Bool = false) {
        self.isReadOnly = isReadOnly
        state = Mutex(
            State(
                directory: durable.directory,
                file: durable.pages.file,
                current: durable.directory.newest
            )
        )
        self.durable = Mutex(durable)
    }

    // MARK: Open

    /// How far the history says that the keys had come.
    package struct Age: Sendable {
        package let generation: UInt64
        package let epoch: UInt32

        package init(generation: UInt64 = 0, epoch: UInt32 = 0) {
            self.generation = generation
            self.epoch = epoch
        }
    }

    /// Opens the key state in `directory` and begins a new epoch.
    ///
    /// - Parameter age: an older state is refused. It holds keys that were destroyed since, lacks those of later epochs, and
    ///   would give the numbers of those to new ones.
    /// - Parameter logIsEmpty: a fresh log may make its root key; for any other a missing key is an error, because making
    ///   a new one would silently lose every body.
    package static func open(
        directory: String,
        root: any RootKeyHolder,
        logIsEmpty: Bool,
        age: Age = Age(),
        storage: any Storage
    ) throws(LogError) -> KeyStore {
        var durable: KeyState
        let hasState = try !KeyPages.numbers(storage, directory).isEmpty
        if logIsEmpty {
            durable = try KeyState.create(storage, directory, root: root)
            try durable.removeLeftovers()
        } else {
            try requireRoot(root)
            guard hasState else {
                throw LogError(.keyUnavailable, "the key state is missing in \(directory); restore it from a backup")
            }
            durable = try KeyState.load(storage, directory, root: root, .readWrite)
            guard durable.generation >= age.generation, durable.directory.newest >= age.epoch else {
                throw LogError(
                    .keyUnavailable,
                    "the key state is older than the history, which has had purges and starts since; put back the newest one"
                )
            }
            try durable.removeLeftovers()
        }
        try durable.beginEpoch()
        return KeyStore(durable)
    }

    /// Opens the key state beside a running writer: existing keys can be found, none can be issued or destroyed.
    package static func openForReading(
        directory: String,
        root: any RootKeyHolder,
        storage: any Storage
    ) throws(LogError) -> KeyStore {
        try requireRoot(root)
        // The writer may begin a new generation between two of our reads.
        for _ in 0..<4 {
            if let state = try? KeyState.load(storage, directory, root: root, .read) {
                return KeyStore(state, isReadOnly: true)
            }
        }
        return KeyStore(try KeyState.load(storage, directory, root: root, .read), isReadOnly: true)
    }

    private static func requireRoot(_ root: any RootKeyHolder) throws(LogError) {
        guard try root.generations().isEmpty else { return }
        throw LogError(
            .keyUnavailable,
            "the root key is missing; without it no body can be read. Point --key-root at it"
        )
    }

    /// The number of the epoch that new keys belong to.
    package var epoch: UInt32 { state.withLock { $0.current } }

    /// The generation of the root key.
    package var generation: UInt64 { durable.withLock { $0.generation } }

    /// Why no key can be destroyed any more before a restart.
    package var failure: LogError? { durable.withLock { $0.failure } }

    /// The bytes of all pages in use; what the root page takes comes on top.
    package var stateBytes: Int { state.withLock { $0.directory.pageBytes } }

    // MARK: Issue and find

    /// A key that was never issued before, and its address.
    package func issue(
        client: LogPosition,
        _ keyClass: KeyClass
    ) throws(LogError) -> (reference: KeyReference, key: LeafKey) {
        try requireWriter()
        while true {
            let subtree = Subtree(client: client.rawValue, keyClass: keyClass)
            switch state.withLock({ $0.issue(subtree) }) {
            case .issued(let reference, let key): return (reference, key)
            case .full: try beginEpoch()
            case .destroyed:
                throw LogError(.keyDestroyed, "the keys of client \(client) are destroyed; it has no others")
            }
        }
    }

    private func requireWriter() throws(LogError) {
        if isReadOnly {
            throw LogError(.keyUnavailable, "the keys were opened for reading; only the writer may do this")
        }
    }

    private func beginEpoch() throws(LogError) {
        try change { durable throws(LogError) in
            // Another caller may have been first.
            guard state.withLock({ $0.isFull }) else { return [] }
            return try durable.beginEpoch()
        }
    }

    /// The key at an address, or nil when it is destroyed or its epoch is unknown.
    package func find(_ reference: KeyReference) throws(LogError) -> LeafKey? {
        switch state.withLock({ $0.remains(of: reference.epoch) }) {
        case nil: return nil
        case .seed(let seed): return KeyNode.seed(seed).leaf(reference.path)
        case .tree(let tree): return tree.node(above: reference.path)?.leaf(reference.path)
        case .page(let lookup):
            let tree = try KeyStore.read(lookup)
            state.withLock { $0.keep(tree, of: reference.epoch, lookup.version) }
            return tree.node(above: reference.path)?.leaf(reference.path)
        }
    }

    /// The tree on a page.
    static func read(_ lookup: Lookup) throws(LogError) -> PuncturedTree {
        var bytes = try KeyPages.open(lookup.file, lookup.place, key: lookup.key)
        defer { Crypto.erase(&bytes) }
        guard let tree = PuncturedTree(bytes) else { throw KeyPages.damaged }
        return tree
    }

    // MARK: Archive

    /// What is left of the keys as of one moment, in which no epoch begins and nothing is destroyed. New keys belong to a new
    /// epoch from then on: whoever has the snapshot, and so the seed of the epoch that was current, opens nothing more.
    ///
    /// Purges wait for this as they wait for one another, and not for the snapshot to be written.
    ///
    /// - Parameter moment: asked in that moment. A record that is durable by then has its key in the snapshot.
    package func snapshot<Value: Sendable>(
        at moment: () -> Value
    ) throws(LogError) -> (keys: KeySnapshot, value: Value) {
        try requireWriter()
        let result = durable.withLock { durable in
            Result { () throws(LogError) -> (keys: KeySnapshot, value: Value) in
                let keys = KeySnapshot(durable.directory, durable.pages.file)
                let value = moment()
                let changes = try durable.beginEpoch()
                state.withLock { $0.follow(durable, changes) }
                return (keys, value)
            }
        }
        return try result.get()
    }

    // MARK: Destroy

    /// What can be destroyed.
    package enum Target: Sendable, Hashable {
        case leaf(KeyReference)
        /// Every key that a client has or ever had.
        case client(LogPosition)
    }

    /// Targets by the epoch whose tree they are in.
    struct Prefixes {
        private let clients: [KeyPrefix]
        private var leaves: [UInt32: [KeyPrefix]] = [:]

        init(_ targets: [Target]) {
            clients = targets.compactMap {
                if case .client(let client) = $0 { KeyPrefix.client(client.rawValue) } else { nil }
            }
            for case .leaf(let reference) in targets { leaves[reference.epoch, default: []].append(reference.path) }
        }

        /// The epochs that are touched, ascending; nil for every one.
        var epochs: [UInt32]? { clients.isEmpty ? leaves.keys.sorted() : nil }

        func of(_ epoch: UInt32) -> [KeyPrefix] { leaves[epoch, default: []] + clients }
    }

    /// Destroys keys and seals what is left under a new root key. Destroying what is destroyed already is no error, so a
    /// caller that does not know whether it was done may do it again.
    ///
    /// - Returns: the generations of the root key before and after.
    /// - Throws: after a failed write nothing is destroyed any more before a restart, which completes what was begun. What failed for
    ///   want of a descriptor, of memory or of room may be asked for again.
    package func destroy(_ targets: [Target]) throws(LogError) -> (before: UInt64, after: UInt64) {
        try requireWriter()
        // A tree is punctured by a function that calls itself once for each of a hundred levels.
        defer { Crypto.eraseStack(128 << 10) }
        var generations: (before: UInt64, after: UInt64) = (0, 0)
        try change { durable throws(LogError) in
            generations.before = durable.generation
            let changes = try changes(destroying: targets, durable.directory)
            try durable.commit(changes, underNewRoot: true)
            generations.after = durable.generation
            return changes
        }
        return generations
    }

    private func changes(
        destroying targets: [Target],
        _ directory: EpochDirectory
    ) throws(LogError) -> [KeyState.Change] {
        var changes: [KeyState.Change] = []
        let prefixes = Prefixes(targets)
        for number in prefixes.epochs ?? directory.entries.map(\.number) {
            guard let tree = try tree(of: number), let left = tree.puncturing(prefixes.of(number)) else { continue }
            changes.append(KeyState.Change(number: number, content: .tree(left)))
        }
        return changes
    }

    /// What is left of an epoch, or nil when it is unknown.
    private func tree(of number: UInt32) throws(LogError) -> PuncturedTree? {
        switch state.withLock({ $0.remains(of: number) }) {
        case nil: nil
        case .seed(let seed): PuncturedTree(seed: seed)
        case .tree(let tree): tree
        case .page(let lookup): try KeyStore.read(lookup)
        }
    }

    /// Changes what is durable, then what is in memory.
    private func change(_ body: (inout KeyState) throws(LogError) -> [KeyState.Change]) throws(LogError) {
        let result = durable.withLock { durable in
            Result { () throws(LogError) -> Void in
                let changes = try body(&durable)
                state.withLock { $0.follow(durable, changes) }
                // In memory it is gone; whoever asked for it asks again, which removes it from the disk.
                if let unfinished = durable.unfinished { throw unfinished }
            }
        }
        try result.get()
    }
}

extension KeyState {
    /// Adds an epoch with a new seed, durable when this returns.
    @discardableResult
    fileprivate mutating func beginEpoch() throws(LogError) -> [Change] {
        let changes = [Change(number: directory.newest + 1, content: .seed(.random()))]
        try commit(changes, underNewRoot: false)
        return changes
    }
}
