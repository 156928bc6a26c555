import Glibc
import Log
import Testing

/// Guarantee G6: one writing process for each data directory, whatever somebody does to its files by hand.
@Suite(.timeLimit(.minutes(10))) struct DirectoryLockTests {
    private let directory = LogDirectory()
    private var path: String { directory.path }

    private func openDurably() async throws -> EventLog {
        let log = try directory.open()
        try await log.appendDurably([.plain(0)])
        return log
    }

    /// The next record is not confirmed, and nothing is accepted after it.
    private func expectStop(_ log: EventLog) async {
        await #expect(throws: LogError(.directoryLost, "")) { try await log.appendDurably([.plain(1)]) }
        #expect(log.failure?.code == .directoryLost)
        #expect(throws: LogError(.directoryLost, "")) { try log.admitEdge() }
    }

    @Test func theFileRemovedByHandLetsNobodyIn() async throws {
        let log = try await openDurably()
        defer { log.close() }
        #expect(unlink(path + "/lock") == 0)
        #expect(throws: LogError(.locked, "")) { try DirectoryLock(directory: path) }
        await expectStop(log)
    }

    @Test func anotherFileInItsPlaceEndsTheWriter() async throws {
        let log = try await openDurably()
        defer { log.close() }
        #expect(rename(path + "/status", path + "/lock") == 0)
        await expectStop(log)
    }

    @Test func anotherDirectoryInItsPlaceEndsTheWriter() async throws {
        let log = try await openDurably()
        defer { log.close() }
        #expect(rename(path, path + ".away") == 0)
        #expect(mkdir(path, 0o700) == 0)
        await expectStop(log)
        #expect(rmdir(path) == 0)
        #expect(rename(path + ".away", path) == 0)
    }

    @Test func aSegmentThatIsGoneEndsTheWriter() async throws {
        let log = try await openDurably()
        defer { log.close() }
        #expect(unlink(path + "/00000000000000000001.wal") == 0)
        await expectStop(log)
    }

    @Test func whoOnlyLooksIsTold() async throws {
        let log = try await openDurably()
        defer { log.close() }
        try log.confirmPlace()
        #expect(unlink(path + "/lock") == 0)
        #expect(throws: LogError(.directoryLost, "")) { try log.confirmPlace() }
        #expect(log.failure?.code == .directoryLost)
    }

    @Test func aLinkIsNotFollowed() throws {
        let target = path + "/elsewhere"
        #expect(symlink(target, path + "/lock") == 0)
        #expect(throws: LogError(.inputOutput, "")) { try DirectoryLock(directory: path) }
        #expect(access(target, F_OK) != 0)
    }

    @Test(arguments: [0o755, 0o750, 0o770, 0o704, 0o702, 0o720] as [mode_t])
    func aDirectoryThatIsOpenToOthersIsRefused(_ mode: mode_t) throws {
        #expect(mkdir(path + "/inside", 0o700) == 0 && chmod(path, mode) == 0)
        #expect(throws: LogError(.openToOthers, "")) { try directory.open().close() }
        #expect(access(path + "/lock", F_OK) != 0)
        // Nobody can have read or put there anything.
        #expect(rmdir(path + "/inside") == 0)
        try PrivateDirectory.check(path)
        try PrivateDirectory.claim(path)
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o700)
        #expect(chmod(path, 0o700) == 0)
        try directory.open().close()
    }

    @Test func aKeyFileThatOthersMayReplaceIsRefused() throws {
        let file = KeyFile.backup(path: path + "/key")
        #expect(chmod(path, 0o722) == 0)
        #expect(throws: LogError(.openToOthers, "")) { try file.load() }
        // As /tmp.
        #expect(chmod(path, 0o1722) == 0)
        #expect(try file.load() == nil)
        #expect(chmod(path, 0o700) == 0)
    }
}
