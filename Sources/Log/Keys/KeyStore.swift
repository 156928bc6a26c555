import Synchronization

/// Issues and finds leaf keys.
///
/// The state on disk is the list of epochs with their seeds, sealed under the root key, in one small file that is replaced
/// atomically. Every open starts a new epoch and makes its seed durable before a key of it is issued; leaf numbers are
/// only counted in memory, because a number can never come up again in an epoch that no later process continues.
package final class KeyStore: Sendable {
    private struct Subtree: Hashable {
        let client: UInt64
        let keyClass: KeyClass
    }

    private struct State: Sendable {
        var nextLeaf: [Subtree: UInt64] = [:]
        var cursors: [Subtree: LeafCursor] = [:]
    }

    private let trees: [UInt32: KeyTree]
    private let current: KeyTree
    private let state = Mutex(State())

    private init(trees: [UInt32: KeyTree], current: KeyTree) {
        self.trees = trees
        self.current = current
    }

    /// Opens the key state in `directory` and begins a new epoch.
    ///
    /// - Parameter logIsEmpty: a fresh log may make its root key; for any other a missing key is an error, because making
    ///   a new one would silently lose every body.
    package static func open(
        directory: String,
        root: any RootKeyHolder,
        logIsEmpty: Bool,
        storage: any Storage
    ) throws(LogError) -> KeyStore {
        let rootKey = try loadRoot(root, logIsEmpty: logIsEmpty)
        let path = directory + "/epochs.key"
        var epochs: [KeyTree.Epoch] = []
        if try storage.list(directory).contains("epochs.key") {
            epochs = try EpochFile.open(try storage.readAll(path), root: rootKey)
        } else if !logIsEmpty {
            throw LogError(.keyUnavailable, "the key state \(path) is missing; restore it from a backup")
        }
        let newest = KeyTree.Epoch(number: (epochs.last?.number ?? 0) + 1, seed: Crypto.randomBytes(32))
        epochs.append(newest)
        try storage.replaceFile(path, with: EpochFile.seal(epochs, root: rootKey))
        return try make(epochs)
    }

    /// Opens the key state beside a running writer: existing keys can be found, none can be issued.
    package static func openForReading(
        directory: String,
        root: any RootKeyHolder,
        storage: any Storage
    ) throws(LogError) -> KeyStore {
        let rootKey = try loadRoot(root, logIsEmpty: false)
        return try make(try EpochFile.open(try storage.readAll(directory + "/epochs.key"), root: rootKey))
    }

    private static func loadRoot(_ root: any RootKeyHolder, logIsEmpty: Bool) throws(LogError) -> [UInt8] {
        if let key = try root.load() { return key }
        guard logIsEmpty else {
            throw LogError(
                .keyUnavailable,
                "the root key is missing; without it no body can be read. Point --key-root at it"
            )
        }
        return try root.create()
    }

    private static func make(_ epochs: [KeyTree.Epoch]) throws(LogError) -> KeyStore {
        var trees: [UInt32: KeyTree] = [:]
        for epoch in epochs {
            guard let seed = Digest(epoch.seed) else { throw EpochFile.damaged }
            trees[epoch.number] = KeyTree(epoch: epoch.number, seed: seed)
        }
        guard let last = epochs.last, let current = trees[last.number] else { throw EpochFile.damaged }
        return KeyStore(trees: trees, current: current)
    }

    /// The number of the epoch that new keys belong to.
    package var epoch: UInt32 { current.epoch }

    /// A key that was never issued before, and its address.
    package func issue(client: LogPosition, _ keyClass: KeyClass) -> (reference: KeyReference, key: LeafKey) {
        let subtree = Subtree(client: client.rawValue, keyClass: keyClass)
        return state.withLock { state in
            let leaf = state.nextLeaf[subtree, default: 0]
            precondition(
                leaf >> UInt64(KeyPath.leafBits) == 0,
                "an epoch's leaves are used up; restart to begin a new one"
            )
            state.nextLeaf[subtree] = leaf + 1
            let reference = KeyReference(
                client: subtree.client,
                leaf: leaf,
                epoch: current.epoch,
                keyClass: keyClass
            )
            let start = KeyPath.clientBits + KeyPath.classBits
            var cursor =
                state.cursors.removeValue(forKey: subtree)
                ?? LeafCursor(subtree: current.node(reference.path, depth: start))
            let key = cursor.key(leaf: leaf)
            state.cursors[subtree] = cursor
            return (reference, key)
        }
    }

    /// The key at an address, or nil when its epoch is unknown.
    package func find(_ reference: KeyReference) -> LeafKey? {
        trees[reference.epoch].map { LeafKey($0.node(reference.path, depth: KeyPath.depth)) }
    }
}

extension KeyTree {
    struct Epoch: Sendable, Equatable {
        let number: UInt32
        let seed: [UInt8]
    }
}

/// The file of epoch seeds: magic "WAYBKEY1", then one `AEAD` box under the root key, authenticated with the magic.
/// Plaintext: per epoch its number (4, little-endian) and seed (32).
enum EpochFile {
    private static let magic = [UInt8]("WAYBKEY1".utf8)
    private static let entrySize = 36

    static var damaged: LogError {
        LogError(
            .keyUnavailable,
            "the key state does not open under this root key; check --key-root or restore a backup"
        )
    }

    static func seal(_ epochs: [KeyTree.Epoch], root: [UInt8]) -> [UInt8] {
        var plaintext: [UInt8] = []
        for epoch in epochs {
            withUnsafeBytes(of: epoch.number.littleEndian) { plaintext.append(contentsOf: $0) }
            plaintext += epoch.seed
        }
        defer { Crypto.erase(&plaintext) }
        return magic + AEAD.seal(plaintext, key: root, authenticated: magic)
    }

    static func open(_ bytes: [UInt8], root: [UInt8]) throws(LogError) -> [KeyTree.Epoch] {
        guard bytes.starts(with: magic),
            var plaintext = AEAD.open(Array(bytes.dropFirst(magic.count)), key: root, authenticated: magic),
            plaintext.count % entrySize == 0
        else { throw damaged }
        defer { Crypto.erase(&plaintext) }
        return stride(from: 0, to: plaintext.count, by: entrySize).map { start in
            let number = plaintext[start..<(start + 4)].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            return KeyTree.Epoch(number: number, seed: Array(plaintext[(start + 4)..<(start + entrySize)]))
        }
    }
}
