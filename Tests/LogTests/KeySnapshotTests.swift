import Dispatch
import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// What is copied of the keys while they go on changing.
@Suite(.timeLimit(.minutes(30))) struct KeySnapshotTests {
    private static let path = "/keys/keys.backup"
    private let key = [UInt8](repeating: 7, count: 32)

    private func archived(_ keys: KeySnapshot, _ machine: KeyMachine) throws -> KeyArchive {
        try keys.write(to: Self.path, key: key, storage: machine.storage)
        return try KeyArchive.read(Self.path, key: key, storage: machine.storage)
    }

    /// What a restore makes of an archive, on a disk of its own.
    private func restored(_ archive: KeyArchive, without targets: [KeyStore.Target] = []) throws -> KeyStore {
        let machine = KeyMachine()
        try archive.install(
            in: "/keys",
            root: machine.root,
            without: targets,
            age: KeyStore.Age(),
            storage: machine.storage
        )
        return try machine.open()
    }

    /// Writing takes as long as the disk takes; a purge must not wait for it. Whether the archive then opens what was purged
    /// meanwhile is the history's to say, which a restore carries out.
    @Test func aPurgeDoesNotWaitForWhatIsWritten() throws {
        var world = try KeyWorld(seed: 41)
        let doom = world.doom()
        let (keys, _) = try world.store.snapshot {}
        let inTime = Mutex<Bool?>(nil)
        let ended = DispatchSemaphore(value: 0)
        world.machine.storage.setHook { [store = world.store] call, _ in
            guard call.kind == .write, call.path.hasPrefix(Self.path) else { return nil }
            if inTime.withLock({ $0 }) != nil { return nil }
            inTime.withLock { $0 = false }
            // On another thread, for this one has whatever locks the writing has.
            DispatchQueue.global().async {
                _ = try? store.destroy(doom.targets)
                ended.signal()
            }
            let isEnded = ended.wait(timeout: .now() + 20) == .success
            inTime.withLock { $0 = isEnded }
            return nil
        }
        let archive = try archived(keys, world.machine)
        world.machine.storage.setHook(nil)
        let wasInTime = inTime.withLock { $0 }
        #expect(wasInTime == true)
        let gone = world.destroyed.union(doom.references)
        #expect(world.store.problem(world.issued, without: gone) == nil)
        #expect(try restored(archive).problem(world.issued, without: world.destroyed) == nil)
        #expect(try restored(archive, without: doom.targets).problem(world.issued, without: gone) == nil)
    }

    @Test func nothingThatIsSealedLaterOpens() throws {
        let world = try KeyWorld(seed: 42)
        let before = try world.store.issueKeys(client: 1, 5)
        let (keys, epoch) = try world.store.snapshot { world.store.epoch }
        let after = try world.store.issueKeys(client: 1, 5)
        let archive = try archived(keys, world.machine)
        #expect(keys.newest == epoch)
        #expect(archive.newest == epoch)
        #expect(before.allSatisfy { $0.reference.epoch == epoch && archive.knows($0.reference.epoch) })
        #expect(!after.contains { archive.knows($0.reference.epoch) })
        #expect(world.store.problem(world.issued + before + after, without: world.destroyed) == nil)
    }

    /// The file that the snapshot's pages are in may be written anew, and be gone, before they are read.
    @Test func itOutlivesTheFileOfItsPages() throws {
        let world = try KeyWorld(seed: 43)
        let files = world.machine.storage.paths
        let (keys, _) = try world.store.snapshot {}
        for _ in 0..<5000 where world.machine.storage.paths == files {
            let doomed = try world.store.issueKeys(client: 1, 1)
            _ = try world.store.destroy(doomed.map { .leaf($0.reference) })
        }
        #expect(world.machine.storage.paths != files, "the file was not written anew")
        let archive = try archived(keys, world.machine)
        #expect(try restored(archive).problem(world.issued, without: world.destroyed) == nil)
    }

    @Test(arguments: [ENOSPC, EIO]) func whatCannotBeWrittenLeavesNothing(_ error: Int32) throws {
        for number in 0..<1000 {
            let world = try KeyWorld(seed: 44)
            let (keys, _) = try world.store.snapshot {}
            let before = world.machine.storage.paths
            let failed = world.machine.failing(number, error) {
                _ = try? keys.write(to: Self.path, key: key, storage: world.machine.storage)
            }
            guard let failed else {
                #expect(world.machine.storage.paths == (before + [Self.path]).sorted())
                return
            }
            #expect(world.machine.storage.paths == before, "\(failed)")
        }
        Issue.record("the writing never came to its end")
    }
}
