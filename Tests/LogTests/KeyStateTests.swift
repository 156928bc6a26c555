import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// What stays of the key state on disk and of the root keys, whatever stops the process or the machine.
@Suite(.timeLimit(.minutes(30))) struct KeyStateTests {
    private func options(_ seed: UInt64) -> CrashOptions {
        CrashOptions(lostSectors: [.old, .garbage, .stale][Int(seed % 3)])
    }

    /// The error that `body` throws, if any.
    private func failure(_ body: () throws -> Void) -> LogError? {
        do {
            try body()
            return nil
        } catch {
            return error as? LogError ?? LogError(.corrupt, "\(error)")
        }
    }

    // MARK: Crash

    /// The seed of an epoch must be on the medium before a key of it goes out.
    @Test func aKeyThatWasIssuedSurvivesEveryCrash() throws {
        for seed in UInt64(0)..<200 {
            var machine = KeyMachine()
            var issued: [IssuedKey] = []
            for round in UInt64(0)..<4 {
                let store = try machine.open(logIsEmpty: round == 0)
                #expect(store.problem(issued) == nil, "seed \(seed)")
                issued += try store.issueKeys(client: 1, 1)
                machine = machine.crash(seed: seed << 8 | round, options(seed))
            }
        }
    }

    @Test func aCrashWhileTheFirstStateIsMadeIsNoHarm() throws {
        let machine = KeyMachine()
        let problems = try machine.everyCrash(seeds: 12) { image in
            do {
                let store = try image.open(logIsEmpty: true)
                let issued = try store.issueKeys(client: 1, 2)
                if let problem = try image.open().problem(issued) { return problem }
                return image.root.held == [store.generation] ? nil : "root keys \(image.root.held)"
            } catch {
                return "\(error)"
            }
        } during: {
            _ = try machine.open(logIsEmpty: true)
        }
        #expect(problems == [])
    }

    @Test func aCrashWhileOpeningLosesNoEarlierKey() throws {
        for seed in UInt64(0)..<200 {
            let world = try KeyWorld(seed: seed)
            let image = try world.machine.crashing(at: Int(seed % 10), seed: seed, options(seed)) {
                _ = try world.machine.open()
            }
            #expect(world.problem(with: image) == nil, "seed \(seed)")
        }
    }

    @Test func aCrashDuringADestroyLeavesTheStateBeforeOrAfter() throws {
        for seed in UInt64(0)..<300 {
            var world = try KeyWorld(seed: seed)
            let doom = world.doom()
            let image = try world.machine.crashing(at: Int(seed % 15), seed: seed, options(seed)) {
                _ = try world.store.destroy(doom.targets)
            }
            #expect(world.problem(with: image, doom) == nil, "seed \(seed)")
        }
    }

    /// Both sides are met: before the root page is written all is there, and behind it all is gone.
    @Test func aDestroyTakesEffectAtOneStep() throws {
        var outcomes: [Bool] = []
        for call in 0..<20 {
            var world = try KeyWorld(seed: 1)
            let doom = world.doom()
            let image = try world.machine.crashing(at: call, seed: 1, CrashOptions()) {
                _ = try world.store.destroy(doom.targets)
            }
            let store = try image.open()
            outcomes.append(store.problem(world.issued, without: world.destroyed.union(doom.references)) == nil)
        }
        #expect(outcomes.first == false)
        #expect(outcomes.last == true)
        #expect(zip(outcomes, outcomes.dropFirst()).count { $0 != $1 } == 1)
    }

    @Test func aFinishedDestroySurvivesEveryCrash() throws {
        for seed in UInt64(0)..<150 {
            var world = try KeyWorld(seed: seed)
            let doom = world.doom()
            let generations = try world.store.destroy(doom.targets)
            #expect(world.machine.root.held == [generations.after])
            let store = try world.machine.crash(seed: seed, options(seed)).open()
            #expect(store.problem(world.issued, without: world.destroyed.union(doom.references)) == nil, "seed \(seed)")
        }
    }

    @Test func aCrashWhileRestartingAfterACrashLosesNothing() throws {
        for seed in UInt64(0)..<300 {
            var world = try KeyWorld(seed: seed)
            let doom = world.doom()
            let first = try world.machine.crashing(at: Int(seed % 13), seed: seed, options(seed)) {
                _ = try world.store.destroy(doom.targets)
            }
            let second = try first.crashing(at: Int(seed / 13 % 10), seed: seed, options(seed / 2)) {
                _ = try first.open()
            }
            #expect(world.problem(with: second, doom) == nil, "seed \(seed)")
        }
    }

    /// A process that ends between writing and syncing leaves what the next one can read and a crash can still take away.
    @Test func aCrashWhileRestartingAfterAFailedCallLosesNothing() throws {
        for call in 0..<100 {
            var world = try KeyWorld(seed: 2)
            let doom = world.doom()
            let name = world.machine.failing(call, EIO) { _ = failure { _ = try world.store.destroy(doom.targets) } }
            guard let name else { return #expect(call > 10) }
            let known = world
            let problems = try world.machine.everyCrash(seeds: 6) { image in
                known.problem(with: image, doom)
            } during: {
                _ = try known.machine.open()
            }
            #expect(problems == [], "after a failed \(name)")
        }
    }

    // MARK: Failing calls

    @Test(arguments: [EIO, ENOSPC])
    func whicheverCallFailsADestroyIsWholeOrNothing(_ number: Int32) throws {
        for call in 0..<100 {
            var world = try KeyWorld(seed: 3)
            let doom = world.doom()
            var thrown: LogError?
            let name = world.machine.failing(call, number) {
                thrown = failure { _ = try world.store.destroy(doom.targets) }
            }
            guard let name else { return #expect(call > 10) }
            // The copy of the root page is not needed.
            if thrown == nil { #expect(name.hasPrefix("write"), "\(name)") }
            let code = thrown?.code
            let crashed = world.machine.crash(seed: UInt64(call))
            if code == .diskFull { expectAsItWas(world, doom, name) }
            #expect(world.problem(with: crashed, doom) == nil, "a crash after a failed \(name)")
            #expect(world.problem(with: world.machine, doom) == nil, "a restart after a failed \(name)")
        }
    }

    /// After a full disk the same process goes on, and can do later what it could not do now.
    private func expectAsItWas(_ world: KeyWorld, _ doom: KeyWorld.Doom, _ name: String) {
        #expect(world.store.problem(world.issued, without: world.destroyed) == nil, "\(name)")
        #expect(world.machine.root.held == [world.store.generation], "\(name)")
        #expect(throws: Never.self, "\(name)") { try world.store.destroy(doom.targets) }
        let gone = world.destroyed.union(doom.references)
        #expect(world.store.problem(world.issued, without: gone) == nil, "\(name)")
    }

    @Test(arguments: [EIO, ENOSPC])
    func whicheverCallFailsOpeningLosesNothing(_ number: Int32) throws {
        for call in 0..<100 {
            let world = try KeyWorld(seed: 4)
            var thrown: LogError?
            let name = world.machine.failing(call, number) { thrown = failure { _ = try world.machine.open() } }
            guard let name else { return #expect(call > 10) }
            #expect(thrown != nil || name.hasPrefix("write"), "\(name)")
            #expect(
                world.problem(with: world.machine.crash(seed: UInt64(call))) == nil,
                "a crash after a failed \(name)"
            )
            let problems = try world.machine.everyCrash(seeds: 6) {
                world.problem(with: $0)
            } during: {
                _ = try world.machine.open()
            }
            #expect(problems == [], "a crash while restarting after a failed \(name)")
            #expect(world.problem(with: world.machine) == nil, "a restart after a failed \(name)")
        }
    }

    @Test func aFullDiskRefusesADestroyUntilThereIsRoom() throws {
        var world = try KeyWorld(seed: 5)
        let doom = world.doom()
        world.machine.storage.setRoom(world.machine.storage.contents.values.reduce(0) { $0 + $1.count })
        for _ in 0..<3 {
            #expect(throws: LogError(.diskFull, "")) { try world.store.destroy(doom.targets) }
            #expect(world.machine.root.held == [world.store.generation])
            #expect(world.store.problem(world.issued, without: world.destroyed) == nil)
            #expect(try world.machine.openForReading().problem(world.issued, without: world.destroyed) == nil)
            #expect(throws: LogError(.diskFull, "")) { try world.machine.open() }
        }
        world.machine.storage.setRoom(nil)
        let before = world.store.generation
        #expect(try world.store.destroy(doom.targets).after == before + 1)
        let gone = world.destroyed.union(doom.references)
        #expect(world.store.problem(world.issued, without: gone) == nil)
        #expect(try world.machine.open().problem(world.issued, without: gone) == nil)
    }

    /// Whichever call cannot have a descriptor, the same destroy goes through once there are some, without a restart.
    @Test func aDestroyThatLacksADescriptorIsDoneWhenThereIsOne() throws {
        var failed: String? = ""
        var number = 0
        while failed != nil {
            var world = try KeyWorld(seed: 5)
            let last = try #require(world.issued.last)
            // Not all of a client's: those of whom nothing is left get no more keys.
            let doom = KeyWorld.Doom(last.reference)
            var error: LogError?
            failed = world.machine.failing(number, EMFILE) {
                error = failure { _ = try world.store.destroy(doom.targets) }
            }
            // The others were called for something else: they write, and a lack of descriptors is none of their errors.
            if let failed, failed.hasPrefix("return") || isWriting(failed) {
                number += 1
                continue
            }
            #expect(failed == nil || error?.isTransient == true, "\(failed ?? "")")
            #expect(world.store.failure == nil, "\(failed ?? "")")
            _ = try world.store.destroy(doom.targets)
            let gone = world.destroyed.union(doom.references)
            #expect(world.store.problem(world.issued, without: gone) == nil, "after \(failed ?? "")")
            #expect(world.machine.root.held == [world.store.generation], "after \(failed ?? "")")
            try world.issue(3)
            #expect(try world.machine.open().problem(world.issued, without: gone) == nil, "after \(failed ?? "")")
            number += 1
        }
        #expect(number > 5)
    }

    private func isWriting(_ call: String) -> Bool {
        ["write", "sync", "truncate", "inspect", "read"].contains { call.hasPrefix($0 + " ") }
    }

    // MARK: The end of an epoch

    /// A store whose next key begins an epoch.
    private func worldWithFullEpoch() throws -> KeyWorld {
        var world = try KeyWorld(seed: 6)
        let left = KeyStore.leavesPerEpoch - world.issued.count { $0.reference.epoch == world.store.epoch }
        world.issued += try world.store.issueKeys(client: 9, left).suffix(20)
        return world
    }

    @Test(arguments: [EIO, ENOSPC])
    func whicheverCallFailsAtTheEndOfAnEpochNothingIsLost(_ number: Int32) throws {
        for call in 0..<100 {
            var world = try worldWithFullEpoch()
            let epoch = world.store.epoch
            var thrown: LogError?
            let name = world.machine.failing(call, number) {
                thrown = failure { _ = try world.store.issueKeys(client: 9, 1) }
            }
            guard let name else {
                #expect(world.store.epoch == epoch + 1)
                return #expect(call > 4)
            }
            if thrown == nil { #expect(name.hasPrefix("write"), "\(name)") }
            let code = thrown?.code
            #expect(
                world.problem(with: world.machine.crash(seed: UInt64(call))) == nil,
                "a crash after a failed \(name)"
            )
            if code == .diskFull {
                let known = world
                let problems = try world.machine.everyCrash(seeds: 8) {
                    known.problem(with: $0)
                } during: {
                    world.issued += try world.store.issueKeys(client: 9, 3)
                }
                #expect(problems == [], "a crash while an epoch begins that could not after a failed \(name)")
                #expect(world.store.epoch == epoch + 1)
            }
            #expect(world.problem(with: world.machine) == nil, "a restart after a failed \(name)")
        }
    }

    // MARK: Writing the file anew

    private static let firstPage = 3 * 65_536

    /// Destroys most of some thousand keys, one at a time, and looks at the size of the file.
    @Test func thousandsOfDestroysKeepTheFileSmall() throws {
        let machine = KeyMachine()
        let store = try machine.open(logIsEmpty: true)
        let issued = try store.issueKeys(client: 1, 3000)
        var gone: [KeyReference] = []
        for key in issued where key.reference.leaf % 16 != 5 {
            _ = try store.destroy([.leaf(key.reference)])
            gone.append(key.reference)
            let path = try #require(machine.storage.paths.first)
            #expect(machine.storage.paths.count == 1)
            guard gone.count % 50 == 0 else { continue }
            let size = try machine.storage.open(path, .read).size
            let left = try #require(PuncturedTree(seed: .zero).puncturing(gone.map(\.path)))
            // The page of the epoch and the index page above it, each as long as its plaintext and 28 bytes.
            let state = left.encoded.count + 28 + 56 + 28
            #expect(size <= Self.firstPage + (1 << 20) + 5 * state + 2 * 4096)
        }
        let name = try #require(machine.storage.paths.first)
        let number = try #require(name.split(separator: "-").last.flatMap { Int($0) })
        #expect(number > 5)
        #expect(store.problem(issued, without: Set(gone)) == nil)
        #expect(try machine.openForReading().problem(issued, without: Set(gone)) == nil)
        #expect(try machine.open().problem(issued, without: Set(gone)) == nil)
    }

    /// A key state whose file the next change writes anew.
    private func worldWithFullFile() throws -> KeyWorld {
        var world = try KeyWorld(seed: 7)
        let keys = try world.store.issueKeys(client: 9, 4000).map(\.reference)
        let survivors = try world.store.issueKeys(client: 9, 20)
        world.issued += survivors
        _ = try world.store.destroy(keys.filter { $0.leaf % 2 == 0 }.map(KeyStore.Target.leaf))
        for reference in keys where reference.leaf % 2 == 1 {
            if try world.isWrittenAnewNext() { return world }
            _ = try world.store.destroy([.leaf(reference)])
        }
        Issue.record("the file is never written anew")
        return world
    }

    @Test func aCrashWhileTheFileIsWrittenAnewLeavesTheStateBeforeOrAfter() throws {
        var world = try worldWithFullFile()
        let doom = world.doom()
        let known = world
        let problems = try world.machine.everyCrash(seeds: 8) {
            known.problem(with: $0, doom)
        } during: {
            _ = try world.store.destroy(doom.targets)
        }
        #expect(problems == [])
        #expect(world.machine.storage.paths == ["/keys/keys-2"])
        #expect(world.store.problem(world.issued, without: world.destroyed.union(doom.references)) == nil)
    }

    @Test func aCrashWhileAnEpochIsBegunInANewFileLosesNothing() throws {
        let world = try worldWithFullFile()
        let problems = try world.machine.everyCrash(seeds: 8) {
            world.problem(with: $0)
        } during: {
            _ = try world.machine.open()
        }
        #expect(problems == [])
        #expect(world.machine.storage.paths == ["/keys/keys-2"])
    }

    @Test(arguments: [EIO, ENOSPC])
    func whicheverCallFailsWhileTheFileIsWrittenAnewNothingIsLost(_ number: Int32) throws {
        let world = try worldWithFullFile()
        for call in 0..<100 {
            let machine = world.machine.crash(seed: UInt64(call), CrashOptions())
            var thrown: LogError?
            let name = machine.failing(call, number) { thrown = failure { _ = try machine.open() } }
            guard let name else { return #expect(call > 15) }
            #expect(thrown != nil || name.hasPrefix("write"), "\(name)")
            #expect(world.problem(with: machine.crash(seed: UInt64(call))) == nil, "a crash after a failed \(name)")
            let problems = try machine.everyCrash(seeds: 1) {
                world.problem(with: $0)
            } during: {
                _ = try machine.open()
            }
            #expect(problems == [], "a crash while restarting after a failed \(name)")
            #expect(world.problem(with: machine) == nil, "a restart after a failed \(name)")
        }
    }

    @Test func aFullDiskWhileTheFileIsWrittenAnewLeavesTheStateAsItWas() throws {
        let world = try worldWithFullFile()
        let doom = KeyWorld.Doom(try #require(world.issued.last).reference)
        let size = world.machine.storage.contents.values.reduce(0) { $0 + $1.count }
        // No room for a second file; for its slots; for some of its pages.
        for room in [0, Self.firstPage, Self.firstPage + 20_000] {
            world.machine.storage.setRoom(size + room)
            #expect(throws: LogError(.diskFull, "")) { try world.store.destroy(doom.targets) }
            #expect(world.machine.root.held == [world.store.generation])
            #expect(world.store.problem(world.issued, without: world.destroyed) == nil)
            #expect(try world.machine.openForReading().problem(world.issued, without: world.destroyed) == nil)
        }
        let image = world.machine.crash(seed: 1)
        image.storage.setRoom(nil)
        #expect(world.problem(with: image, doom) == nil)
        world.machine.storage.setRoom(nil)
        _ = try world.store.destroy(doom.targets)
        #expect(world.machine.storage.paths == ["/keys/keys-2"])
        #expect(world.store.problem(world.issued, without: world.destroyed.union(doom.references)) == nil)
    }

    // MARK: Somebody who kept a copy

    @Test func filesFromBeforeADestroyAreWorthlessUnderTheRootKeyFromAfter() throws {
        var world = try KeyWorld(seed: 8)
        let files = try world.machine.copyOfFiles()
        _ = try world.store.destroy(world.doom().targets)
        let thief = KeyMachine(storage: files, root: world.machine.root)
        #expect(throws: LogError(.keyUnavailable, "")) { try thief.openForReading() }
        #expect(throws: LogError(.keyUnavailable, "")) { try thief.open() }
    }

    /// The old pages are still in the file: it is the root key alone that keeps them shut.
    @Test func oldRootPagesInThePresentFileAreWorthlessUnderTheRootKeyFromAfter() throws {
        var world = try KeyWorld(seed: 9)
        let before = try #require(world.machine.storage.contents["/keys/keys-1"])
        let oldRoot = world.machine.root.copy()
        _ = try world.store.destroy(world.doom().targets)
        let files = try world.machine.copyOfFiles()
        try files.open("/keys/keys-1", .readWrite).writeAll(Array(before[..<Self.firstPage]), at: 0)
        let thief = KeyMachine(storage: files, root: world.machine.root)
        #expect(throws: LogError(.keyUnavailable, "")) { try thief.openForReading() }
        let owner = KeyMachine(storage: files, root: oldRoot)
        #expect(try owner.openForReading().problem(world.issued, without: world.destroyed) == nil)
    }

    /// What destroying cannot reach: a copy of the files together with a copy of the root key.
    @Test func filesFromBeforeOpenUnderTheRootKeyFromBefore() throws {
        var world = try KeyWorld(seed: 10)
        let copy = KeyMachine(storage: try world.machine.copyOfFiles(), root: world.machine.root.copy())
        _ = try world.store.destroy(world.doom().targets)
        #expect(try copy.openForReading().problem(world.issued, without: world.destroyed) == nil)
        // But not what came after.
        let mixed = KeyMachine(storage: try world.machine.copyOfFiles(), root: copy.root)
        #expect(throws: LogError(.keyUnavailable, "")) { try mixed.openForReading() }
    }

    // MARK: Changed bytes

    private enum Reading: Equatable {
        case right
        /// As damaged, or as not belonging to this root key.
        case refused
        case wrong(String)
    }

    /// What the keys of `world` look like in these files.
    private func reading(_ world: KeyWorld, _ machine: KeyMachine) -> Reading {
        do throws(LogError) {
            let store = try machine.openForReading()
            for key in world.issued {
                let expected = world.destroyed.contains(key.reference) ? nil : key.commitment
                let found = try store.find(key.reference)?.commitment
                if found != expected { return .wrong("\(key.reference)") }
            }
            return .right
        } catch {
            return error.code == .keyUnavailable ? .refused : .wrong(error.description)
        }
    }

    @Test func noChangedByteGivesAWrongKey() throws {
        let world = try KeyWorld(seed: 11, epochs: 2, keys: 2, holes: 1)
        let files = try world.machine.copyOfFiles()
        let machine = KeyMachine(storage: files, root: world.machine.root)
        let bytes = try #require(files.contents["/keys/keys-1"])
        var refused: Set<Int> = []
        for index in bytes.indices where bytes[index] != 0 || index % 997 == 0 || index % 65_536 < 256 {
            files.damage("/keys/keys-1", at: index) { $0[0] ^= 1 << UInt8(index % 8) }
            switch reading(world, machine) {
            case .right: break
            case .refused: refused.insert(index)
            case .wrong(let problem): Issue.record("byte \(index): \(problem)")
            }
            files.damage("/keys/keys-1", at: index) { $0[0] ^= 1 << UInt8(index % 8) }
        }
        // Of the root page there are two copies; of everything else there is one.
        #expect(refused.allSatisfy { $0 >= Self.firstPage })
        #expect(refused.count > 3000)
    }

    @Test func aKeyStateWithoutAWholeRootPageIsRefused() throws {
        let world = try KeyWorld(seed: 12)
        let files = try world.machine.copyOfFiles()
        let machine = KeyMachine(storage: files, root: world.machine.root)
        // Head (32), and the box with the place and the key of one index page (28 + 48).
        for index in 0..<108 {
            for slot in 0..<3 { files.damage("/keys/keys-1", at: slot * 65_536 + index) { $0[0] ^= 0x10 } }
            #expect(throws: LogError(.keyUnavailable, ""), "byte \(index)") { try machine.openForReading() }
            for slot in 0..<3 { files.damage("/keys/keys-1", at: slot * 65_536 + index) { $0[0] ^= 0x10 } }
        }
        #expect(reading(world, machine) == .right)
    }

    /// An old root page under the same root key cannot be passed off as a newer one.
    @Test func aRootPageIsBoundToItsPlaceInTheSequence() throws {
        var world = try KeyWorld(seed: 13)
        let before = try #require(world.machine.storage.contents["/keys/keys-1"])
        world.store = try world.machine.open()
        try world.issue(6)
        let files = try world.machine.copyOfFiles()
        var slot = Array(before[..<65_536])
        slot[24] += 100
        let length = 20 + Int(slot[12]) + Int(slot[13]) << 8
        let checksum = slot.withUnsafeBytes { Checksum.crc32c($0, 12..<(12 + length)) }
        for byte in 0..<4 { slot[8 + byte] = UInt8(truncatingIfNeeded: checksum >> UInt32(8 * byte)) }
        // Where it does not lie over the only whole copy, and where it does.
        try files.open("/keys/keys-1", .readWrite).writeAll(slot, at: 0)
        let machine = KeyMachine(storage: files, root: world.machine.root)
        #expect(reading(world, machine) == .right)
        for place in [65_536, 131_072] { try files.open("/keys/keys-1", .readWrite).writeAll(slot, at: place) }
        #expect(throws: LogError(.keyUnavailable, "")) { try machine.openForReading() }
    }

    @Test func aKeyStateThatIsCutOffIsRefused() throws {
        let world = try KeyWorld(seed: 14)
        let size = try #require(world.machine.storage.contents["/keys/keys-1"]).count
        for count in [0, 1, 31, 65_535, 65_536, Self.firstPage, Self.firstPage + 1, size - 4096, size - 1] {
            let files = try world.machine.copyOfFiles()
            try files.open("/keys/keys-1", .readWrite).truncate(to: count)
            let machine = KeyMachine(storage: files, root: world.machine.root)
            #expect(throws: LogError(.keyUnavailable, ""), "\(count) bytes") { try machine.openForReading() }
        }
    }
}

// MARK: - Help

/// A disk and root keys, which crash together.
final class KeyMachine: Sendable {
    private static let directory = "/keys"
    let storage: SimulatedStorage
    let root: MemoryRoot

    init(
        storage: SimulatedStorage = SimulatedStorage(directory: "/keys"),
        root: MemoryRoot = MemoryRoot()
    ) {
        self.storage = storage
        self.root = root
    }

    func open(logIsEmpty: Bool = false) throws(LogError) -> KeyStore {
        try KeyStore.open(directory: KeyMachine.directory, root: root, logIsEmpty: logIsEmpty, storage: storage)
    }

    func openForReading() throws(LogError) -> KeyStore {
        try KeyStore.openForReading(directory: KeyMachine.directory, root: root, storage: storage)
    }

    /// The files without what may still happen to them.
    func copyOfFiles() throws -> SimulatedStorage {
        let copy = SimulatedStorage(directory: KeyMachine.directory)
        for (path, bytes) in storage.contents {
            let file = try copy.open(path, .create)
            try file.writeAll(bytes, at: 0)
            try file.sync()
        }
        try copy.syncDirectory(KeyMachine.directory)
        return copy
    }

    /// What a machine that stops now finds afterwards. This one goes on as if nothing had happened.
    func crash(seed: UInt64, _ options: CrashOptions = CrashOptions(lostSectors: .garbage)) -> KeyMachine {
        var generator = SeededGenerator(seed: seed)
        return KeyMachine(storage: storage.crash(using: &generator, options), root: root.copy())
    }

    /// Crashes just before one call that changes something, counted from 0, while `body` runs; or else after it.
    func crashing(
        at number: Int,
        seed: UInt64,
        _ options: CrashOptions,
        during body: () throws -> Void
    ) rethrows -> KeyMachine {
        let image = Mutex<KeyMachine?>(nil)
        let count = Mutex(0)
        watch { [self] name, changes in
            guard changes else { return nil }
            let now = count.withLock { count in
                count += 1
                return count - 1
            }
            if now == number {
                let crashed = crash(seed: seed, options)
                image.withLock { $0 = crashed }
            }
            return nil
        }
        defer { unwatch() }
        try body()
        return image.withLock { $0 } ?? crash(seed: seed, options)
    }

    /// Shows `check` what crashes just before every call that changes something, and after the last, would leave; several
    /// different ones each time. The value is what it found wrong.
    func everyCrash(
        seeds: UInt64,
        _ check: @escaping @Sendable (KeyMachine) -> String?,
        during body: () throws -> Void
    ) rethrows -> [String] {
        let problems = Mutex<[String]>([])
        let count = Mutex(UInt64(0))
        let look: @Sendable (String) -> Void = { [self] name in
            let number = count.withLock { count in
                count += 1
                return count
            }
            for seed in 0..<seeds {
                let options = CrashOptions(lostSectors: [.garbage, .old, .stale][Int((seed + number) % 3)])
                guard let problem = check(crash(seed: number << 8 | seed, options)) else { continue }
                problems.withLock { $0.append("crashed before \(name): \(problem)") }
            }
        }
        watch { name, changes in
            if changes { look(name) }
            return nil
        }
        defer { unwatch() }
        try body()
        look("the end")
        return problems.withLock { $0 }
    }

    /// Lets one call, counted from 0, fail while `body` runs. The value says which it was; nil when there were fewer.
    func failing(_ number: Int, _ error: Int32, during body: () throws -> Void) rethrows -> String? {
        let failed = Mutex<String?>(nil)
        let count = Mutex(0)
        watch { name, _ in
            let now = count.withLock { count in
                count += 1
                return count - 1
            }
            guard now == number else { return nil }
            failed.withLock { $0 = name }
            return error
        }
        defer { unwatch() }
        try body()
        return failed.withLock { $0 }
    }

    /// `hook` is told the name of each call, and whether it changes something, and returns an error number to fail with.
    private func watch(_ hook: @escaping @Sendable (String, Bool) -> Int32?) {
        storage.setHook { call, _ in hook("\(call)", call.changesSomething) }
        root.setHook(hook)
    }

    private func unwatch() {
        storage.setHook(nil)
        root.setHook(nil)
    }
}

/// Root keys in memory. Each change is durable at once; there is room for two, as in a `RootKeyFile`.
final class MemoryRoot: RootKeyHolder {
    /// Told of each call, and of each change once more when it is done; returns an error number to fail with.
    typealias Hook = @Sendable (String, Bool) -> Int32?

    private struct State {
        var keys: [UInt64: [UInt8]] = [:]
        var hook: Hook?
    }

    private let state: Mutex<State>

    convenience init() { self.init(keys: [:]) }

    private init(keys: [UInt64: [UInt8]]) { state = Mutex(State(keys: keys)) }

    func setHook(_ hook: Hook?) { state.withLock { $0.hook = hook } }

    func copy() -> MemoryRoot { MemoryRoot(keys: state.withLock { $0.keys }) }

    /// As `generations`, without a hook.
    var held: [UInt64] { state.withLock { $0.keys.keys.sorted() } }

    func generations() throws(LogError) -> [UInt64] {
        try pass("root key generations")
        return held
    }

    func create(_ generation: UInt64) throws(LogError) {
        try pass("create root key", changes: true)
        let key = Crypto.randomBytes(32)
        let isMade = state.withLock { state in
            guard state.keys.count < 2, state.keys[generation] == nil else { return false }
            state.keys[generation] = key
            return true
        }
        guard isMade else { throw LogError(.keyUnavailable, "there is no room for root key \(generation)") }
        try pass("return from create root key", changes: true)
    }

    func destroy(_ generation: UInt64) throws(LogError) {
        try pass("destroy root key", changes: true)
        state.withLock { $0.keys[generation] = nil }
        try pass("return from destroy root key", changes: true)
    }

    func seal(
        _ plaintext: [UInt8],
        generation: UInt64,
        authenticated: [UInt8]
    ) throws(LogError) -> [UInt8] {
        try pass("seal under root key")
        return AEAD.seal(plaintext, key: try key(generation), authenticated: authenticated)
    }

    func open(_ box: [UInt8], generation: UInt64, authenticated: [UInt8]) throws(LogError) -> [UInt8]? {
        try pass("open under root key")
        return AEAD.open(box, key: try key(generation), authenticated: authenticated)
    }

    private func key(_ generation: UInt64) throws(LogError) -> [UInt8] {
        guard let key = state.withLock({ $0.keys[generation] }) else {
            throw LogError(.keyUnavailable, "there is no root key \(generation)")
        }
        return key
    }

    private func pass(_ name: String, changes: Bool = false) throws(LogError) {
        let hook = state.withLock { $0.hook }
        guard let number = hook?(name, changes) else { return }
        throw LogError(before: name, "(simulated)", errno: number)
    }
}

/// A key state with a history of several epochs, some of them with holes; nothing of it is in memory yet.
struct KeyWorld: Sendable {
    let machine = KeyMachine()
    var store: KeyStore
    var issued: [IssuedKey] = []
    private(set) var destroyed: Set<KeyReference> = []
    private var generator: SeededGenerator

    /// Something to be destroyed, and which of the issued keys go with it.
    struct Doom: Sendable {
        static let nothing = Doom(targets: [], references: [])

        let targets: [KeyStore.Target]
        let references: Set<KeyReference>

        init(targets: [KeyStore.Target], references: Set<KeyReference>) {
            self.targets = targets
            self.references = references
        }

        init(_ reference: KeyReference) { self.init(targets: [.leaf(reference)], references: [reference]) }
    }

    init(seed: UInt64, epochs: Int = 3, keys: Int = 8, holes: Int = 2) throws {
        generator = SeededGenerator(seed: seed)
        store = try machine.open(logIsEmpty: true)
        try issue(keys)
        for _ in 1..<epochs {
            let doomed = issued.map(\.reference).shuffled(using: &generator).prefix(holes)
            _ = try store.destroy(doomed.map(KeyStore.Target.leaf))
            destroyed.formUnion(doomed)
            store = try machine.open()
            try issue(keys)
        }
    }

    /// Issues keys to random clients, of random classes.
    mutating func issue(_ count: Int) throws {
        for _ in 0..<count {
            let client = UInt64.random(in: 1...3, using: &generator)
            let keyClass = KeyClass.allCases.randomElement(using: &generator) ?? .message
            issued += try store.issueKeys(client: client, 1, keyClass)
        }
    }

    /// Some living keys, or everything of one client.
    mutating func doom() -> Doom {
        let living = issued.map(\.reference).filter { !destroyed.contains($0) }.shuffled(using: &generator)
        if generator.chance(0.25) {
            let client = living[0].client
            return Doom(targets: [.client(LogPosition(client))], references: Set(living.filter { $0.client == client }))
        }
        let some = living.prefix(Int.random(in: 1...5, using: &generator))
        return Doom(targets: some.map(KeyStore.Target.leaf), references: Set(some))
    }

    /// Whether the next change would write the file anew, tried on a copy.
    func isWrittenAnewNext() throws -> Bool {
        let copy = KeyMachine(storage: try machine.copyOfFiles(), root: machine.root.copy())
        _ = try copy.open()
        return copy.storage.paths != machine.storage.paths
    }

    /// Restarts on what was left of this world while `doom` was being destroyed. Nil when everything else is there, that is
    /// there as a whole or gone as a whole, nothing is left lying about, and it can be destroyed now.
    func problem(with machine: KeyMachine, _ doom: Doom = .nothing) -> String? {
        do throws(LogError) {
            let store = try machine.open()
            if let before = store.problem(issued, without: destroyed),
                let after = store.problem(issued, without: destroyed.union(doom.references))
            {
                return "neither as before (\(before)) nor as after (\(after))"
            }
            guard machine.root.held == [store.generation], machine.storage.paths.count == 1 else {
                return "left over: root keys \(machine.root.held), files \(machine.storage.paths)"
            }
            let generations = try store.destroy(doom.targets)
            let stores = [store, try machine.openForReading(), try machine.open()]
            for store in stores {
                if let problem = store.problem(issued, without: destroyed.union(doom.references)) {
                    return "destroyed again: " + problem
                }
            }
            return machine.root.held == [generations.after] ? nil : "root keys \(machine.root.held) at the end"
        } catch {
            return error.description
        }
    }
}
