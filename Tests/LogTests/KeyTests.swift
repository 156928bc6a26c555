import Glibc
import Log
import TestSupport
import Testing

@Suite struct KeyTreeTests {
    private static let seed = Digest([UInt8](repeating: 0x3C, count: 32)) ?? .zero
    private static let tree = KeyTree(epoch: 1, seed: seed)

    private func path(_ leaf: UInt64, client: UInt64 = 0x1234_5678_9ABC_DEF0, _ keyClass: KeyClass = .secret) -> KeyPath
    {
        KeyReference(client: client, leaf: leaf, epoch: 1, keyClass: keyClass).path
    }

    private func cursor() -> LeafCursor {
        LeafCursor(subtree: Self.tree.node(path(0), depth: KeyPath.clientBits + KeyPath.classBits))
    }

    private func commitment(_ leaf: UInt64) -> Digest {
        LeafKey(Self.tree.node(path(leaf), depth: KeyPath.depth)).commitment
    }

    @Test func aLeafIsWhatThePathSays() throws {
        let places: [(UInt64, UInt64, KeyClass)] = [
            (0, 0, .message), (.max, 0xFFFF_FFFF, .conversation), (77, 5, .secret),
        ]
        for (client, leaf, keyClass) in places {
            var bits = (0..<64).reversed().map { UInt8(client >> UInt64($0) & 1) }
            bits += (0..<4).reversed().map { keyClass.rawValue >> UInt8($0) & 1 }
            bits += (0..<32).reversed().map { UInt8(leaf >> UInt64($0) & 1) }
            var node = Self.seed.bytes
            for bit in bits { node = Crypto.sha256([UInt8]("waybill ggm v1".utf8) + [bit] + node) }
            #expect(Self.tree.node(path(leaf, client: client, keyClass), depth: 100).bytes == node)
            let commitment = Crypto.sha256([UInt8]("waybill key commitment v1".utf8) + node)
            #expect(LeafKey(try #require(Digest(node))).commitment.bytes == commitment)
        }
    }

    @Test func theCursorAgreesWithTheTreeInOrder() {
        var cursor = cursor()
        for leaf in UInt64(0)..<300 { #expect(cursor.key(leaf: leaf).commitment == commitment(leaf)) }
    }

    @Test func theCursorAgreesWithTheTreeAnywhere() {
        var cursor = cursor()
        var generator = SeededGenerator(seed: 6)
        for _ in 0..<300 {
            let leaf = UInt64(UInt32.random(in: 0...(.max), using: &generator))
            #expect(cursor.key(leaf: leaf).commitment == commitment(leaf))
        }
    }

    @Test func theCursorAgreesWithTheTreeAtTheEdges() {
        let edges: [UInt64] = [
            0, 0xFFFF_FFFF, 0, 1, 0, 0, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF, 2,
        ]
        var shared = cursor()
        for leaf in edges {
            var fresh = cursor()
            #expect(shared.key(leaf: leaf).commitment == commitment(leaf))
            #expect(fresh.key(leaf: leaf).commitment == commitment(leaf))
        }
    }

    @Test func clientsClassesAndLeavesHaveKeysOfTheirOwn() {
        var keys: Set<Digest> = []
        for client in [UInt64(0), 1, 1 << 63] {
            for keyClass in KeyClass.allCases {
                for leaf in UInt64(0)..<4 {
                    keys.insert(Self.tree.node(path(leaf, client: client, keyClass), depth: 100))
                }
            }
        }
        #expect(keys.count == 3 * KeyClass.allCases.count * 4)
    }
}

@Suite struct KeyStoreTests {
    private let directory = TemporaryDirectory()

    private var rootPath: String { directory.path + "/root.key" }

    private func openStore(logIsEmpty: Bool = false) throws -> KeyStore {
        try KeyStore.open(
            directory: directory.path,
            root: KeyFile.root(path: rootPath),
            logIsEmpty: logIsEmpty,
            storage: PosixStorage()
        )
    }

    @Test func noKeyIsIssuedTwiceAlsoAfterReopening() throws {
        var references: Set<KeyReference> = []
        var commitments: Set<Digest> = []
        for round in 0..<6 {
            let store = try openStore(logIsEmpty: round == 0)
            for client in UInt64(1)...3 {
                for _ in 0..<40 {
                    let (reference, key) = store.issue(client: LogPosition(client), .message)
                    references.insert(reference)
                    commitments.insert(key.commitment)
                }
            }
        }
        #expect(references.count == 6 * 3 * 40)
        #expect(commitments.count == references.count)
    }

    @Test func noKeyIsIssuedTwiceToConcurrentCallers() async throws {
        let store = try openStore(logIsEmpty: true)
        let references = await withTaskGroup(of: [KeyReference].self) { group in
            for _ in 0..<8 {
                group.addTask { (0..<200).map { _ in store.issue(client: LogPosition(1), .message).reference } }
            }
            return await group.reduce(into: Set<KeyReference>()) { $0.formUnion($1) }
        }
        #expect(references.count == 8 * 200)
    }

    @Test func aKeyIsFoundAgainAfterReopening() throws {
        let first = try openStore(logIsEmpty: true)
        let issued = KeyClass.allCases.map { first.issue(client: LogPosition(9), $0) }
        let stores = [
            first, try openStore(), try openStore(),
            try KeyStore.openForReading(
                directory: directory.path,
                root: KeyFile.root(path: rootPath),
                storage: PosixStorage()
            ),
        ]
        for store in stores {
            for (reference, key) in issued {
                let found = try #require(store.find(reference))
                #expect(found.commitment == key.commitment)
            }
        }
        #expect(first.epoch < stores[2].epoch)
    }

    @Test func anUnknownEpochHasNoKey() throws {
        let store = try openStore(logIsEmpty: true)
        let reference = KeyReference(client: 1, leaf: 0, epoch: store.epoch + 1, keyClass: .message)
        #expect(store.find(reference) == nil)
    }

    @Test func openingForReadingBeginsNoEpoch() throws {
        let store = try openStore(logIsEmpty: true)
        for _ in 0..<3 {
            let reader = try KeyStore.openForReading(
                directory: directory.path,
                root: KeyFile.root(path: rootPath),
                storage: PosixStorage()
            )
            #expect(reader.epoch == store.epoch)
        }
    }

    @Test func aMissingRootKeyIsRefusedOnceThereIsALog() throws {
        _ = try openStore(logIsEmpty: true)
        #expect(unlink(rootPath) == 0)
        #expect(throws: LogError(.keyUnavailable, "")) { try openStore() }
        #expect(access(rootPath, F_OK) != 0)
    }

    @Test func aMissingKeyStateIsRefusedOnceThereIsALog() throws {
        _ = try openStore(logIsEmpty: true)
        #expect(unlink(directory.path + "/epochs.key") == 0)
        #expect(throws: LogError(.keyUnavailable, "")) { try openStore() }
    }

    @Test(arguments: [0o644, 0o640, 0o604, 0o601, 0o660] as [mode_t])
    func aRootKeyThatOthersCanOpenIsRefused(_ mode: mode_t) throws {
        _ = try openStore(logIsEmpty: true)
        #expect(chmod(rootPath, mode) == 0)
        #expect(throws: LogError(.keyUnavailable, "")) { try openStore() }
        #expect(chmod(rootPath, 0o600) == 0)
        _ = try openStore()
    }

    @Test func theRootKeyIsMadeForItsOwnerOnly() throws {
        _ = try openStore(logIsEmpty: true)
        var status = stat()
        #expect(stat(rootPath, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test func anotherRootKeyIsRefusedAndChangesNothing() throws {
        _ = try openStore(logIsEmpty: true)
        let state = try PosixStorage().bytes(of: directory.path + "/epochs.key")
        let other = directory.path + "/other.key"
        _ = try KeyFile.root(path: other).create()
        #expect(throws: LogError(.keyUnavailable, "")) {
            try KeyStore.open(
                directory: directory.path,
                root: KeyFile.root(path: other),
                logIsEmpty: false,
                storage: PosixStorage()
            )
        }
        #expect(try PosixStorage().bytes(of: directory.path + "/epochs.key") == state)
    }

    @Test(arguments: ["", "00", String(repeating: "zz", count: 32), String(repeating: "a", count: 63)])
    func aRootKeyFileOfAnotherShapeIsRefused(_ text: String) throws {
        let file = try PosixStorage().open(rootPath, .create)
        try [UInt8](text.utf8).withUnsafeBytes { try file.write($0, at: 0) }
        #expect(throws: LogError(.keyUnavailable, "")) { try KeyFile.root(path: rootPath).load() }
    }

    @Test func everyChangedByteOfTheKeyStateIsRefused() throws {
        let storage = SimulatedStorage(directory: "/keys")
        let root = FixedRootKey()
        _ = try KeyStore.open(directory: "/keys", root: root, logIsEmpty: true, storage: storage)
        let size = try #require(storage.contents["/keys/epochs.key"]).count
        for index in 0..<size {
            storage.damage("/keys/epochs.key", at: index) { $0[0] ^= 1 }
            #expect(throws: LogError(.keyUnavailable, "")) {
                try KeyStore.openForReading(directory: "/keys", root: root, storage: storage)
            }
            storage.damage("/keys/epochs.key", at: index) { $0[0] ^= 1 }
        }
    }

    /// The seed of an epoch must be on the medium before a key of it goes out.
    @Test func aKeyThatWasIssuedSurvivesEveryCrash() throws {
        let root = FixedRootKey()
        for seed in UInt64(0)..<200 {
            var generator = SeededGenerator(seed: seed)
            var storage = SimulatedStorage(directory: "/keys")
            var issued: [(reference: KeyReference, key: LeafKey)] = []
            for round in 0..<4 {
                let store = try KeyStore.open(directory: "/keys", root: root, logIsEmpty: round == 0, storage: storage)
                for (reference, key) in issued {
                    #expect(store.find(reference)?.commitment == key.commitment, "seed \(seed)")
                }
                issued.append(store.issue(client: LogPosition(1), .message))
                storage = storage.crash(using: &generator, CrashOptions(lostSectors: .garbage))
            }
        }
    }

    @Test func aCrashWhileOpeningLosesNoEarlierKey() throws {
        let root = FixedRootKey()
        for seed in UInt64(0)..<200 {
            var generator = SeededGenerator(seed: seed)
            let storage = SimulatedStorage(directory: "/keys")
            let first = try KeyStore.open(directory: "/keys", root: root, logIsEmpty: true, storage: storage)
            let (reference, key) = first.issue(client: LogPosition(1), .message)
            let crash = CrashPoint(after: Int.random(in: 0..<10, using: &generator), seed: seed)
            storage.setHook(crash.hook)
            _ = try KeyStore.open(directory: "/keys", root: root, logIsEmpty: false, storage: storage)
            let image = crash.image ?? storage.crash(using: &generator)
            let again = try KeyStore.open(directory: "/keys", root: root, logIsEmpty: false, storage: image)
            #expect(again.find(reference)?.commitment == key.commitment, "seed \(seed)")
        }
    }
}

/// A root key that no file holds, for key state on a simulated disk.
private struct FixedRootKey: RootKeyHolder {
    func load() throws(LogError) -> [UInt8]? { [UInt8](repeating: 0x11, count: 32) }
    func create() throws(LogError) -> [UInt8] { [UInt8](repeating: 0x11, count: 32) }
}
