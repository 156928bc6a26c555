import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// A key that a store gave out: its address, and what tells it from every other.
struct IssuedKey: Sendable {
    let reference: KeyReference
    let commitment: Digest
}

extension KeyStore {
    func issueKeys(
        client: UInt64,
        _ count: Int,
        _ keyClass: KeyClass = .message
    ) throws(LogError) -> [IssuedKey] {
        var issued: [IssuedKey] = []
        for _ in 0..<count {
            let (reference, key) = try issue(client: LogPosition(client), keyClass)
            issued.append(IssuedKey(reference: reference, commitment: key.commitment))
        }
        return issued
    }

    /// The first key that is not as it should be: one of `gone` that is found, or any other that is not, or is another one.
    func problem(_ issued: [IssuedKey], without gone: Set<KeyReference> = []) -> String? {
        do throws(LogError) {
            for key in issued {
                let found = try find(key.reference)?.commitment
                if gone.contains(key.reference) {
                    if found != nil { return "found: \(key.reference)" }
                } else if found != key.commitment {
                    return (found == nil ? "lost: " : "changed: ") + "\(key.reference)"
                }
            }
            return nil
        } catch {
            return error.description
        }
    }
}

@Suite(.timeLimit(.minutes(30))) struct KeyStoreTests {
    private let directory = TemporaryDirectory()

    private var rootPath: String { directory.path + "/root.key" }
    private var root: RootKeyFile { RootKeyFile(path: rootPath) }

    private func openStore(logIsEmpty: Bool = false) throws -> KeyStore {
        try KeyStore.open(directory: directory.path, root: root, logIsEmpty: logIsEmpty, storage: PosixStorage())
    }

    private func openForReading() throws -> KeyStore {
        try KeyStore.openForReading(directory: directory.path, root: root, storage: PosixStorage())
    }

    // MARK: Issue and find

    @Test func noKeyIsIssuedTwiceAlsoAfterReopening() throws {
        var issued: [IssuedKey] = []
        for round in 0..<6 {
            let store = try openStore(logIsEmpty: round == 0)
            for client in UInt64(1)...3 { issued += try store.issueKeys(client: client, 40) }
        }
        #expect(issued.count == 6 * 3 * 40)
        #expect(Set(issued.map(\.reference)).count == issued.count)
        #expect(Set(issued.map(\.commitment)).count == issued.count)
    }

    @Test func noKeyIsIssuedTwiceToConcurrentCallers() async throws {
        let store = try openStore(logIsEmpty: true)
        let issued = try await withThrowingTaskGroup(of: [IssuedKey].self) { group in
            for _ in 0..<8 { group.addTask { try store.issueKeys(client: 1, 200) } }
            return try await group.reduce(into: [IssuedKey]()) { $0 += $1 }
        }
        #expect(Set(issued.map(\.reference)).count == 8 * 200)
        #expect(Set(issued.map(\.commitment)).count == 8 * 200)
    }

    @Test func afterAFullEpochAnotherBegins() async throws {
        let store = try openStore(logIsEmpty: true)
        let first = store.epoch
        let issued = try await withThrowingTaskGroup(of: [IssuedKey].self) { group in
            for client in UInt64(1)...4 { group.addTask { try store.issueKeys(client: client, 16_384 + 100) } }
            return try await group.reduce(into: [IssuedKey]()) { $0 += $1 }
        }
        #expect(Set(issued.map(\.reference)).count == issued.count)
        #expect(Set(issued.map(\.commitment)).count == issued.count)
        let counts = issued.reduce(into: [UInt32: Int]()) { $0[$1.reference.epoch, default: 0] += 1 }
        #expect(counts == [first: KeyStore.leavesPerEpoch, first + 1: 400])
        #expect(store.epoch == first + 1)
        let some = issued.indices.filter { $0 % 61 == 0 }.map { issued[$0] }
        for store in [store, try openForReading(), try openStore()] { #expect(store.problem(some) == nil) }
    }

    @Test func aKeyIsFoundAgainAfterReopening() throws {
        let first = try openStore(logIsEmpty: true)
        let issued = try KeyClass.allCases.flatMap { try first.issueKeys(client: 9, 2, $0) }
        let second = try openStore()
        for store in [first, second, try openStore(), try openForReading()] { #expect(store.problem(issued) == nil) }
        #expect(first.epoch < second.epoch)
    }

    @Test func anUnknownEpochHasNoKey() throws {
        let store = try openStore(logIsEmpty: true)
        for epoch in [0, store.epoch + 1, .max] {
            let reference = KeyReference(client: 1, leaf: 0, epoch: epoch, keyClass: .message)
            #expect(try store.find(reference) == nil)
            #expect(throws: Never.self) { try store.destroy([.leaf(reference)]) }
        }
    }

    @Test func openingForReadingChangesNothing() throws {
        let store = try openStore(logIsEmpty: true)
        let bytes = try PosixStorage().bytes(of: directory.path + "/keys-1")
        for _ in 0..<3 {
            let reader = try openForReading()
            #expect(reader.epoch == store.epoch)
            #expect(reader.generation == store.generation)
        }
        #expect(try PosixStorage().bytes(of: directory.path + "/keys-1") == bytes)
    }

    // MARK: Root key

    @Test func aMissingRootKeyIsRefusedOnceThereIsALog() throws {
        _ = try openStore(logIsEmpty: true)
        #expect(unlink(rootPath) == 0)
        #expect(throws: LogError(.keyUnavailable, "")) { try openStore() }
        #expect(throws: LogError(.keyUnavailable, "")) { try openForReading() }
        #expect(access(rootPath, F_OK) != 0)
    }

    @Test func aMissingKeyStateIsRefusedOnceThereIsALog() throws {
        _ = try openStore(logIsEmpty: true)
        #expect(unlink(directory.path + "/keys-1") == 0)
        #expect(throws: LogError(.keyUnavailable, "")) { try openStore() }
        #expect(throws: LogError(.keyUnavailable, "")) { try openForReading() }
        #expect(try root.generations() == [1])
    }

    @Test(arguments: [0o644, 0o640, 0o604, 0o601, 0o660] as [mode_t])
    func aRootKeyThatOthersCanOpenIsRefused(_ mode: mode_t) throws {
        _ = try openStore(logIsEmpty: true)
        #expect(chmod(rootPath, mode) == 0)
        #expect(throws: LogError(.keyUnavailable, "")) { try openStore() }
        #expect(chmod(rootPath, 0o600) == 0)
        _ = try openStore()
    }

    @Test func anotherRootKeyIsRefusedAndChangesNothing() throws {
        _ = try openStore(logIsEmpty: true)
        let bytes = try PosixStorage().bytes(of: directory.path + "/keys-1")
        let other = RootKeyFile(path: directory.path + "/other.key")
        for generation in UInt64(1)...2 { try other.create(generation) }
        #expect(throws: LogError(.keyUnavailable, "")) {
            try KeyStore.open(directory: directory.path, root: other, logIsEmpty: false, storage: PosixStorage())
        }
        #expect(try PosixStorage().bytes(of: directory.path + "/keys-1") == bytes)
        // What could be the root key of another log is not cleared away.
        #expect(try other.generations() == [1, 2])
    }

    // MARK: Destroy

    @Test func aDestroyedKeyIsFoundNowhereAndTheOthersAre() throws {
        var issued: [IssuedKey] = []
        for round in 0..<3 {
            let store = try openStore(logIsEmpty: round == 0)
            for client in UInt64(1)...3 {
                for keyClass in KeyClass.allCases { issued += try store.issueKeys(client: client, 5, keyClass) }
            }
        }
        let gone = Set(issued.indices.filter { $0 % 7 == 3 }.map { issued[$0].reference })
        let store = try openStore()
        #expect(store.problem(issued) == nil)
        _ = try store.destroy(gone.map(KeyStore.Target.leaf))
        for store in [store, try openForReading(), try openStore(), try openStore()] {
            #expect(store.problem(issued, without: gone) == nil)
        }
    }

    @Test func destroyingAgainIsNoErrorAndMakesANewRootKey() throws {
        let store = try openStore(logIsEmpty: true)
        let issued = try store.issueKeys(client: 1, 10)
        let gone = Set(issued.prefix(3).map(\.reference))
        for _ in 0..<4 {
            let before = store.generation
            #expect(try root.generations() == [before])
            let generations = try store.destroy(gone.map(KeyStore.Target.leaf))
            #expect(generations.before == before)
            #expect(generations.after == before + 1)
            #expect(store.generation == before + 1)
            #expect(try root.generations() == [before + 1])
            #expect(store.problem(issued, without: gone) == nil)
        }
        let again = try openStore()
        #expect(again.generation == store.generation)
        #expect(again.problem(issued, without: gone) == nil)
    }

    @Test func aDestroyedClientHasNoKeysAndGetsNone() throws {
        var issued: [IssuedKey] = []
        for round in 0..<3 {
            let store = try openStore(logIsEmpty: round == 0)
            for client in UInt64(1)...3 {
                for keyClass in KeyClass.allCases { issued += try store.issueKeys(client: client, 5, keyClass) }
            }
        }
        let store = try openStore()
        for client in UInt64(1)...3 { issued += try store.issueKeys(client: client, 5) }
        let gone = Set(issued.map(\.reference).filter { $0.client == 2 })
        _ = try store.destroy([.client(LogPosition(2))])
        for keyClass in KeyClass.allCases {
            #expect(throws: LogError(.keyDestroyed, "")) { try store.issue(client: LogPosition(2), keyClass) }
            for client in [UInt64(1), 3, 4] { issued += try store.issueKeys(client: client, 3, keyClass) }
        }
        #expect(Set(issued.map(\.commitment)).count == issued.count)
        for store in [store, try openForReading(), try openStore()] {
            #expect(store.problem(issued, without: gone) == nil)
        }
    }

    @Test func keysAndClientsAreDestroyedTogether() throws {
        let first = try openStore(logIsEmpty: true)
        var issued = try first.issueKeys(client: 1, 6) + first.issueKeys(client: 2, 6)
        let store = try openStore()
        issued += try store.issueKeys(client: 1, 6) + store.issueKeys(client: 2, 6)
        let leaves = [issued[0], issued[4], issued[13], issued[17]].map(\.reference)
        _ = try store.destroy([.client(LogPosition(2))] + leaves.map(KeyStore.Target.leaf))
        let gone = Set(leaves).union(issued.map(\.reference).filter { $0.client == 2 })
        for store in [store, try openStore()] { #expect(store.problem(issued, without: gone) == nil) }
    }

    /// The current epoch goes on with what is left of it, and with the number that is next.
    @Test func keysIssuedAfterADestroyAreNew() throws {
        let store = try openStore(logIsEmpty: true)
        let epoch = store.epoch
        var issued: [IssuedKey] = []
        var gone: Set<KeyReference> = []
        for round in 0..<20 {
            for client in UInt64(1)...2 { issued += try store.issueKeys(client: client, 9) }
            let doomed = [issued[issued.count - 1], issued[issued.count - 10], issued[round * 4]].map(\.reference)
            _ = try store.destroy(doomed.map(KeyStore.Target.leaf))
            gone.formUnion(doomed)
        }
        #expect(store.epoch == epoch)
        for client in UInt64(1)...2 {
            let leaves = issued.map(\.reference).filter { $0.client == client }.map(\.leaf)
            #expect(leaves == Array(UInt64(0)..<180))
        }
        #expect(Set(issued.map(\.commitment)).count == issued.count)
        for store in [store, try openStore()] { #expect(store.problem(issued, without: gone) == nil) }
    }

    @Test func anEpochAfterADestroyIsWhole() throws {
        var issued = try openStore(logIsEmpty: true).issueKeys(client: 1, 3)
        let store = try openStore()
        _ = try store.destroy([.leaf(issued[1].reference)])
        issued += try store.issueKeys(client: 1, 3)
        let next = try openStore()
        issued += try next.issueKeys(client: 1, 3)
        let gone: Set = [issued[1].reference]
        for store in [next, try openStore()] { #expect(store.problem(issued, without: gone) == nil) }
    }

    // MARK: Threads

    @Test func othersFindKeysWhileSomeAreDestroyed() async throws {
        let machine = KeyMachine()
        let first = try machine.open(logIsEmpty: true)
        let issued = try first.issueKeys(client: 1, 300)
        _ = try first.destroy([.leaf(KeyReference(client: 5, leaf: 0, epoch: 1, keyClass: .message))])
        // Reopened, so that the tree is first read from its page.
        let store = try machine.open()
        let gone = Set(issued.indices.filter { $0 % 2 == 0 }.map { issued[$0].reference })
        let isDone = Flag()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                defer { isDone.set() }
                for reference in gone {
                    _ = try store.destroy([.leaf(reference)])
                    #expect(try store.find(reference) == nil)
                    await Task.yield()
                }
            }
            for _ in 0..<3 {
                group.addTask {
                    while !isDone.isSet {
                        for key in issued {
                            let found = try store.find(key.reference)?.commitment
                            let isRight = found == key.commitment || (found == nil && gone.contains(key.reference))
                            if !isRight { Issue.record("\(key.reference) is wrong") }
                        }
                        // Tests have as few threads as the machine has cores.
                        await Task.yield()
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(store.problem(issued, without: gone) == nil)
        #expect(try machine.open().problem(issued, without: gone) == nil)
    }

    @Test func othersIssueKeysWhileSomeAreDestroyed() async throws {
        let machine = KeyMachine()
        let store = try machine.open(logIsEmpty: true)
        let old = try store.issueKeys(client: 1, 100)
        let issued = try await withThrowingTaskGroup(of: [IssuedKey].self) { group in
            for client in UInt64(1)...3 { group.addTask { try store.issueKeys(client: client, 3000) } }
            group.addTask {
                for key in old { _ = try store.destroy([.leaf(key.reference)]) }
                return []
            }
            return try await group.reduce(into: old) { $0 += $1 }
        }
        #expect(Set(issued.map(\.commitment)).count == 9100)
        let gone = Set(old.map(\.reference))
        for store in [store, try machine.open()] { #expect(store.problem(issued, without: gone) == nil) }
    }

    /// A page that was read before a destroy must not be remembered after it.
    @Test func aTreeReadBeforeADestroyIsNotKept() throws {
        let machine = KeyMachine()
        let first = try machine.open(logIsEmpty: true)
        let issued = try first.issueKeys(client: 1, 4)
        _ = try first.destroy([.leaf(issued[0].reference)])
        let store = try machine.open()
        let reads = Mutex(0)
        machine.storage.setHook { call, _ in
            guard call.kind == .read else { return nil }
            let number = reads.withLock { reads in
                reads += 1
                return reads
            }
            guard number == 1 else { return nil }
            // The page is about to be read for `find`, which holds no lock.
            #expect(throws: Never.self) { try store.destroy([.leaf(issued[1].reference)]) }
            return nil
        }
        defer { machine.storage.setHook(nil) }
        _ = try store.find(issued[1].reference)
        #expect(reads.withLock { $0 } >= 1)
        #expect(store.problem(issued, without: [issued[0].reference, issued[1].reference]) == nil)
    }
}

/// Tells concurrent tasks that it is time to end.
private final class Flag: Sendable {
    private let value = Mutex(false)

    var isSet: Bool { value.withLock { $0 } }

    func set() { value.withLock { $0 = true } }
}
