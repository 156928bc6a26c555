import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// The simulated disk decides what the crash tests prove, so it is held to its own contract.
@Suite struct SimulatedStorageTests {
    private let storage = SimulatedStorage(directory: "/d")
    private let old = [UInt8](repeating: 1, count: 8192)
    private let new = [UInt8](repeating: 2, count: 8192)

    /// A file with `old` on the medium and `new` in the cache.
    private func fileWithUnsyncedBytes() throws -> any StorageFile {
        let file = try storage.open("/d/file", .create)
        try write(old, to: file, at: 0)
        try file.sync()
        try storage.syncDirectory("/d")
        try write(new, to: file, at: 0)
        return file
    }

    private func write(_ bytes: [UInt8], to file: any StorageFile, at offset: Int) throws {
        try bytes.withUnsafeBytes { try file.write($0, at: offset) }
    }

    private func images(_ options: CrashOptions = CrashOptions()) -> [SimulatedStorage] {
        (UInt64(0)..<300).map { seed in
            var generator = SeededGenerator(seed: seed)
            return storage.crash(using: &generator, options)
        }
    }

    @Test func unsyncedSectorsSurviveInAnyCombination() throws {
        _ = try fileWithUnsyncedBytes()
        var patterns: Set<[UInt8]> = []
        for image in images() {
            let bytes = try #require(image.contents["/d/file"])
            let sectors = stride(from: 0, to: bytes.count, by: 512).map { Array(bytes[$0..<($0 + 512)]) }
            #expect(sectors.allSatisfy { Set($0).count == 1 && (1...2).contains($0[0]) })
            patterns.insert(sectors.map { $0[0] })
        }
        #expect(patterns.count > 50)
        #expect(patterns.contains([UInt8](repeating: 1, count: 16)))
        #expect(patterns.contains([UInt8](repeating: 2, count: 16)))
    }

    @Test func syncedBytesAlwaysSurvive() throws {
        try fileWithUnsyncedBytes().sync()
        for options in [CrashOptions(), CrashOptions(lostSectors: .garbage), CrashOptions(lostSectors: .stale)] {
            #expect(images(options).allSatisfy { $0.contents["/d/file"] == new })
        }
    }

    @Test func aFailedSyncMarksSectorsCleanThatAreNotOnTheMedium() throws {
        let file = try fileWithUnsyncedBytes()
        storage.setHook { call, _ in call.kind == .sync ? EIO : nil }
        #expect(throws: LogError(.inputOutput, "")) { try file.sync() }
        storage.setHook(nil)
        try file.sync()
        #expect(try storage.bytes(of: "/d/file") == new)
        #expect(images().contains { $0.contents["/d/file"] == old })
        // Only writing them again brings them to the medium.
        try write(new, to: file, at: 0)
        try file.sync()
        #expect(images().allSatisfy { $0.contents["/d/file"] == new })
    }

    @Test func aFailedWriteLeavesHalf() throws {
        let file = try fileWithUnsyncedBytes()
        storage.setHook { call, _ in call.kind == .write ? EIO : nil }
        let third = [UInt8](repeating: 3, count: 8192)
        #expect(throws: LogError(.inputOutput, "")) { try write(third, to: file, at: 0) }
        #expect(try storage.bytes(of: "/d/file") == third.prefix(4096) + new.suffix(4096))
    }

    @Test func directoryChangesAreVolatileUntilTheDirectoryIsSynced() throws {
        try fileWithUnsyncedBytes().sync()
        try storage.rename("/d/file", to: "/d/renamed")
        let names = Set(images().map(\.paths))
        #expect(names == [["/d/file"], ["/d/renamed"]])
        try storage.syncDirectory("/d")
        #expect(images().allSatisfy { $0.paths == ["/d/renamed"] })
        try storage.remove("/d/renamed")
        #expect(Set(images().map(\.paths)) == [[], ["/d/renamed"]])
    }

    @Test func aRenameReplacesItsTargetAtomically() throws {
        try fileWithUnsyncedBytes().sync()
        let other = try storage.open("/d/other", .create)
        try write([9], to: other, at: 0)
        try other.sync()
        try storage.syncDirectory("/d")
        try storage.rename("/d/other", to: "/d/file")
        #expect(Set(images().map { $0.contents["/d/file"]?.count }) == [8192, 1])
    }

    @Test func aNewDirectoryNeedsItsParentSynced() throws {
        try storage.makeDirectory("/d/sub")
        _ = try storage.open("/d/sub/file", .create)
        try storage.syncDirectory("/d/sub")
        #expect(Set(images().map(\.paths)) == [[], ["/d/sub/file"]])
        try storage.syncDirectory("/d")
        #expect(images().allSatisfy { $0.paths == ["/d/sub/file"] })
    }

    @Test func aTruncationIsVolatileAsAWhole() throws {
        let file = try fileWithUnsyncedBytes()
        try file.sync()
        try file.truncate(to: 4096)
        #expect(Set(images().map { $0.contents["/d/file"] }) == [new, Array(new.prefix(4096))])
        try file.sync()
        #expect(images().allSatisfy { $0.contents["/d/file"] == Array(new.prefix(4096)) })
    }

    @Test func aMapShowsLaterWrites() throws {
        let file = try fileWithUnsyncedBytes()
        let region = try file.map(length: 8192)
        try write([7], to: file, at: 100)
        #expect(region.bytes[100] == 7)
        #expect(region.bytes[101] == 2)
    }

    @Test func aFullDiskTakesWhatFitsAndNoMore() throws {
        storage.setRoom(10_000)
        let file = try fileWithUnsyncedBytes()
        #expect(throws: LogError(.diskFull, "")) { try write(new, to: file, at: 8192) }
        #expect(try file.size == 10_000)
        try write(new, to: file, at: 0)
        try storage.remove("/d/file")
        let other = try storage.open("/d/other", .create)
        try write(new, to: other, at: 0)
    }

    @Test func anImageAndItsOriginalGoSeparateWays() throws {
        let file = try fileWithUnsyncedBytes()
        try file.sync()
        let image = try #require(images().first)
        try write([7], to: file, at: 0)
        #expect(try image.bytes(of: "/d/file") == new)
        image.damage("/d/file", at: 1) { $0[0] = 8 }
        #expect(try storage.bytes(of: "/d/file") == [7] + new.dropFirst())
    }

    /// On both kinds of storage: what has a name keeps it.
    @Test func aNewNameNeverReplacesAFile() throws {
        let directory = TemporaryDirectory()
        let storages: [(any Storage, String)] = [
            (SimulatedStorage(directory: "/d"), "/d"), (PosixStorage(), directory.path),
        ]
        for (storage, path) in storages {
            for (name, byte) in [("a", UInt8(1)), ("b", 2)] {
                try storage.open(path + "/" + name, .create).writeAll([byte], at: 0)
            }
            #expect(throws: LogError(.inputOutput, "")) { try storage.renameNew(path + "/a", to: path + "/b") }
            #expect(try storage.bytes(of: path + "/b") == [2])
            try storage.renameNew(path + "/a", to: path + "/c")
            #expect(try storage.bytes(of: path + "/c") == [1])
            #expect(try storage.list(path).sorted() == ["b", "c"])
        }
    }
}
