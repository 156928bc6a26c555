import Foundation
import Log
import TestSupport
import Testing

extension KeyStore {
    /// Writes what is left of the keys in this moment.
    fileprivate func archive<Value: Sendable>(
        to path: String,
        key: [UInt8],
        at moment: () -> Value
    ) throws(LogError) -> Value {
        let (keys, value) = try snapshot(at: moment)
        try keys.write(to: path, key: key)
        return value
    }
}

@Suite struct KeyArchiveTests {
    private let directory = TemporaryDirectory()
    private let key = [UInt8](repeating: 7, count: 32)
    private var path: String { directory.path + "/keys.backup" }

    /// A store whose keys are issued over three epochs, with some destroyed.
    private func makeStore() throws -> (store: KeyStore, issued: [IssuedKey], gone: Set<KeyReference>) {
        var issued: [IssuedKey] = []
        var gone: Set<KeyReference> = []
        var store = try open(logIsEmpty: true)
        for round in 0..<3 {
            if round > 0 { store = try open() }
            let fresh = try store.issueKeys(client: 1, 20) + store.issueKeys(client: 2, 20, .secret)
            issued += fresh
            if round < 2 {
                let some = fresh.prefix(3).map(\.reference)
                _ = try store.destroy(some.map { .leaf($0) })
                gone.formUnion(some)
            }
        }
        return (store, issued, gone)
    }

    private func open(logIsEmpty: Bool = false) throws -> KeyStore {
        let root = RootKeyFile(path: directory.path + "/root.key")
        return try KeyStore.open(directory: directory.path, root: root, logIsEmpty: logIsEmpty, storage: PosixStorage())
    }

    /// Restores into a directory of its own.
    private func restored(
        _ archive: KeyArchive,
        without targets: [KeyStore.Target] = [],
        age: KeyStore.Age = KeyStore.Age(),
        in target: TemporaryDirectory
    ) throws -> KeyStore {
        let root = RootKeyFile(path: target.path + "/root.key")
        try archive.install(in: target.path, root: root, without: targets, age: age)
        return try KeyStore.open(
            directory: target.path,
            root: root,
            logIsEmpty: false,
            age: age,
            storage: PosixStorage()
        )
    }

    @Test func everyLivingKeyComesBackAndNoOther() throws {
        let (store, issued, gone) = try makeStore()
        let moment = try store.archive(to: path, key: key) { 42 }
        #expect(moment == 42)
        let archive = try KeyArchive.read(path, key: key)
        #expect(archive.newest == 3)
        #expect((1...3).allSatisfy { archive.knows($0) } && !archive.knows(4) && !archive.knows(0))
        let target = TemporaryDirectory()
        let copy = try restored(archive, in: target)
        #expect(copy.problem(issued, without: gone) == nil)
        #expect(try Set(copy.issueKeys(client: 1, 50).map(\.reference)).isDisjoint(with: issued.map(\.reference)))
    }

    @Test func whatTheHistorySaysIsPurgedDoesNotComeBack() throws {
        let (store, issued, gone) = try makeStore()
        try store.archive(to: path, key: key) {}
        let archive = try KeyArchive.read(path, key: key)
        let purged = Set(issued.filter { $0.reference.client == 2 }.prefix(9).map(\.reference))
        let target = TemporaryDirectory()
        let copy = try restored(archive, without: purged.map { .leaf($0) }, in: target)
        #expect(copy.problem(issued, without: gone.union(purged)) == nil)
        let other = TemporaryDirectory()
        let second = try restored(archive, without: [.client(LogPosition(1))], in: other)
        let client = Set(issued.filter { $0.reference.client == 1 }.map(\.reference))
        #expect(second.problem(issued, without: gone.union(client)) == nil)
    }

    @Test func noEpochAndNoGenerationOfTheHistoryComesTwice() throws {
        let (store, _, _) = try makeStore()
        try store.archive(to: path, key: key) {}
        let target = TemporaryDirectory()
        let age = KeyStore.Age(generation: 70, epoch: 90)
        let copy = try restored(try KeyArchive.read(path, key: key), age: age, in: target)
        #expect(copy.epoch == 91)
        #expect(copy.generation == 71)
        #expect(try copy.find(KeyReference(client: 1, leaf: 0, epoch: 90, keyClass: .message)) == nil)
    }

    @Test func aRootKeyThatIsThereIsNotTouched() throws {
        let (store, issued, gone) = try makeStore()
        try store.archive(to: path, key: key) {}
        let archive = try KeyArchive.read(path, key: key)
        let root = RootKeyFile(path: directory.path + "/root.key")
        let before = try root.generations()
        let target = TemporaryDirectory()
        #expect(throws: LogError(.keyUnavailable, "")) {
            try archive.install(in: target.path, root: root, without: [], age: KeyStore.Age())
        }
        #expect(try root.generations() == before)
        #expect(store.problem(issued, without: gone) == nil)
    }

    @Test func aStateWhoseRootKeyIsLostIsReplaced() throws {
        let (store, issued, gone) = try makeStore()
        try store.archive(to: path, key: key) {}
        try FileManager.default.removeItem(atPath: directory.path + "/root.key")
        let archive = try KeyArchive.read(path, key: key)
        let root = RootKeyFile(path: directory.path + "/root.key")
        try archive.install(in: directory.path, root: root, without: [], age: KeyStore.Age())
        #expect(try open().problem(issued, without: gone) == nil)
    }

    @Test func anyChangedByteIsRefused() throws {
        let (store, _, _) = try makeStore()
        try store.archive(to: path, key: key) {}
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        for index in bytes.indices where index < 64 || index % 13 == 0 || index > bytes.count - 40 {
            var changed = bytes
            changed[index] ^= 1
            try Data(changed).write(to: URL(fileURLWithPath: path))
            #expect(throws: LogError(.keyUnavailable, ""), "byte \(index)") { try KeyArchive.read(path, key: key) }
        }
        for count in bytes.indices where count < 64 || count % 13 == 0 || count > bytes.count - 40 {
            try Data(bytes[..<count]).write(to: URL(fileURLWithPath: path))
            #expect(throws: LogError(.keyUnavailable, ""), "\(count) bytes") { try KeyArchive.read(path, key: key) }
        }
        try Data(bytes + [0]).write(to: URL(fileURLWithPath: path))
        #expect(throws: LogError(.keyUnavailable, "")) { try KeyArchive.read(path, key: key) }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        #expect(throws: LogError(.keyUnavailable, "")) {
            try KeyArchive.read(path, key: [UInt8](repeating: 8, count: 32))
        }
        #expect(try KeyArchive.read(path, key: key).newest == 3)
    }

    @Test func chunksCannotBeMovedOrLeftOut() throws {
        let (store, _, _) = try makeStore()
        try store.archive(to: path, key: key) {}
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        var chunks: [[UInt8]] = []
        var offset = 24
        while offset < bytes.count {
            let size = 4 + bytes[offset..<(offset + 4)].reversed().reduce(0) { $0 << 8 | Int($1) }
            chunks.append([UInt8](bytes[offset..<(offset + size)]))
            offset += size
        }
        #expect(chunks.count == 4)
        let orders = [[1, 0, 2, 3], [0, 1, 2], [0, 1, 3], [1, 2, 3], [3], [0, 1, 2, 2, 3], [0, 1, 2, 3, 3]]
        for order in orders {
            try Data(bytes[..<24] + order.flatMap { chunks[$0] }).write(to: URL(fileURLWithPath: path))
            #expect(throws: LogError(.keyUnavailable, ""), "\(order)") { try KeyArchive.read(path, key: key) }
        }
    }
}
