import Foundation
import Gateway
import Glibc
import Log
import Projections
import TestSupport
import Testing

/// Backups and restores inside one process, with what goes wrong between their steps.
@Suite(.timeLimit(.minutes(30)))
struct BackupTests {
    private let scene = BackupScene()

    private func openAndClose() async throws {
        let ledger = try await scene.open()
        await ledger.close(reason: "test")
    }

    // MARK: One writer

    @Test func aRestoreBesideAWriterIsRefusedByItsPid() async throws {
        let ledger = try await scene.open()
        _ = try await scene.backUp(ledger)
        let before = scene.names("data")
        let refusal = await scene.refusal(try scene.restore(to: "data"))
        #expect(refusal.hasPrefix("log_locked"))
        #expect(refusal.contains("process \(getpid()) "))
        #expect(scene.names("data") == before)
        await ledger.close(reason: "test")
    }

    @Test func ofTwoRestoresIntoOneDirectoryTheSecondIsRefused() async throws {
        _ = try await scene.backedUp(1)
        #expect(mkdir(scene.path("new"), 0o700) == 0)
        var first: DirectoryLock? = try DirectoryLock(directory: scene.path("new"))
        let refusal = await scene.refusal(try scene.restore())
        #expect(refusal.hasPrefix("log_locked"))
        #expect(refusal.contains("process \(getpid()) "))
        #expect(scene.names("new") == ["lock"])
        withExtendedLifetime(first) {}
        first = nil
        let later = await scene.refusal(try scene.restore())
        #expect(later == "")
        #expect(!scene.names("new").contains("restoring"))
    }

    // MARK: Interrupted

    /// Ends a restore in the middle: the directory of its root key is not there.
    private func interrupt(_ root: String) async throws {
        let refusal = await scene.refusal(try scene.restore(root: root))
        #expect(refusal.contains("missing"))
        #expect(scene.names("new").contains("restoring"))
        #expect(scene.names("new").contains { $0.hasSuffix(".wal") })
    }

    @Test func anotherBackupBeginsAnewWhereARestoreWasInterrupted() async throws {
        // More segments than the other has, which must not be taken for its own.
        for _ in 0..<3 { try await openAndClose() }
        _ = try await scene.backedUp(2)
        let other = BackupScene()
        let (_, messages) = try await other.backedUp(5)
        try await interrupt(scene.path("missing/root.key"))
        let outcome = try await scene.restore(of: other).run(progress: { _ in })
        #expect(outcome.isWholeLog)
        #expect(try scene.state().inbox.messages.keys.sorted() == messages)
        let segments = scene.names("new").filter { $0.hasSuffix(".wal") }
        let copied = other.names("backup").filter { $0.hasSuffix(".wal") }
        #expect(segments.dropLast() == copied[...])
        #expect(!scene.names("new").contains("restoring"))
    }

    @Test(arguments: ["notes.txt", "00000000000000000001.txt", "media2", "checkpoint.old"])
    func whatNoRestoreMadeIsLeftAlone(_ name: String) async throws {
        _ = try await scene.backedUp(2)
        let root = scene.path("missing/root.key")
        try await interrupt(root)
        try scene.write("mine", to: "new/" + name)
        let before = scene.names("new")
        let refusal = await scene.refusal(try scene.restore(root: root))
        #expect(refusal.contains(name))
        #expect(scene.names("new") == before)
        #expect(scene.text("new/" + name) == "mine")
    }

    /// Who sees that the root key's medium was not there, and puts it there, must not lose the key that is on it.
    @Test func aRootKeyThatNoRestoreMadeIsLeftAlone() async throws {
        _ = try await scene.backedUp(2)
        let root = scene.path("missing/root.key")
        try await interrupt(root)
        #expect(mkdir(scene.path("missing"), 0o700) == 0)
        for generation in UInt64(1)...2 {
            let file = RootKeyFile(path: root)
            try file.create(generation)
            let refusal = await scene.refusal(try scene.restore(root: root))
            #expect(refusal.contains(root))
            #expect(try file.generations() == [generation])
            try file.destroy(generation)
        }
        let later = await scene.refusal(try scene.restore(root: root))
        #expect(later == "")
    }

    /// A generation says nothing: every log counts them from 1. What tells a key is what it opens.
    @Test func aRootKeyOfTheSameGenerationIsNotTakenForTheRestores() async throws {
        _ = try await scene.backedUp(2)
        let (own, root) = (scene.path("own.key"), scene.path("root/root.key"))
        try RootKeyFile(path: own).create(2)
        let seal = try RootKeyFile(path: own).seal([1, 2, 3], generation: 2, authenticated: [4])
        let marker =
            #"{"mode":"log","key_root":"\#(root)","root_generation":2,"root_seal":"\#(Hex.encode(seal))","#
            + #""next_segment":2,"segments":[]}"#
        try scene.write(marker, to: "new/restoring")
        #expect(mkdir(scene.path("root"), 0o700) == 0)
        try RootKeyFile(path: root).create(2)
        let refusal = await scene.refusal(try scene.restore(root: root))
        #expect(refusal.contains(root))
        #expect(try RootKeyFile(path: root).generations() == [2])
    }

    // MARK: Keys alone

    /// The signed checkpoint of the data directory, as if its log had been of so many records.
    private func sign(_ size: UInt64, _ root: Digest) throws {
        let signer = try #require(NoteSigner(name: "test", seed: [UInt8](repeating: 1, count: 32)))
        let note = signer.sign(Checkpoint(origin: "test", size: size, root: root).text)
        try Checkpoint.store(note, in: scene.data, storage: PosixStorage())
    }

    @Test func aLogThatIsShorterThanItsCheckpointIsNotTheSameLog() async throws {
        _ = try await scene.backedUp(2)
        let log = try ReadOnlyLog(directory: scene.data)
        #expect(unlink(scene.root) == 0)
        let end = log.end.rawValue
        try sign(end + 5, .zero)
        let refusal = await scene.refusal(try scene.restore(to: "data"))
        #expect(refusal.contains("--accept-loss"))
        #expect(refusal.contains("\(end + 5) records"))
        #expect(!scene.exists("data.root.key"))

        try sign(end, .zero)
        let other = await scene.refusal(try scene.restore(to: "data", acceptsLoss: true))
        #expect(other.contains("checkpoint"))
        #expect(!scene.exists("data.root.key"))

        try sign(end + 5, .zero)
        let outcome = try await scene.restore(to: "data", acceptsLoss: true).run(progress: { _ in })
        #expect(!outcome.isWholeLog)
        #expect(try scene.state("data").identity == outcome.logID.flatMap { Hex.decode($0) })
    }

    @Test func aLogThatReachesItsCheckpointStaysTheSame() async throws {
        _ = try await scene.backedUp(2)
        let log = try ReadOnlyLog(directory: scene.data)
        #expect(unlink(scene.root) == 0)
        try sign(log.end.rawValue, try log.reader.tree().root)
        let outcome = try await scene.restore(to: "data").run(progress: { _ in })
        #expect(outcome.logID == nil)
        #expect(try scene.state("data").identity == [])
    }

    /// A secret that another has replaced is nothing that anybody would miss.
    @Test func endedSecretsAreNotLost() async throws {
        let ledger = try await scene.open()
        let client = try await scene.addClient(ledger)
        _ = try await scene.backUp(ledger)
        for _ in 0..<3 { _ = try await ledger.rotateSecret(of: client, overlap: 0, by: .cli) }
        await ledger.close(reason: "test")
        #expect(unlink(scene.root) == 0)
        let refusal = await scene.refusal(try scene.restore(to: "data"))
        #expect(refusal.contains("1 bodies"))
        let outcome = try await scene.restore(to: "data", acceptsLoss: true).run(progress: { _ in })
        #expect(outcome.bodiesLost == 1)
    }

    // MARK: Damage

    /// Changes a byte of a record's sealed section, where it lies.
    private func damage(_ position: LogPosition) throws {
        let sealed = try ReadOnlyLog(directory: scene.data).reader.record(at: position).withView { [UInt8]($0.sealed) }
        for name in scene.names("data") where LogCopy.isSegment(name) {
            let url = URL(fileURLWithPath: scene.path("data/" + name))
            var content = try Data(contentsOf: url)
            guard let found = content.range(of: Data(sealed)) else { continue }
            content[found.lowerBound + 30] ^= 1
            try content.write(to: url)
            return
        }
        Issue.record("the record at \(position) is nowhere")
    }

    @Test func aDamagedRecordOfAPurgeIsNamed() async throws {
        let ledger = try await scene.open()
        let client = try await scene.addClient(ledger)
        let messages = try await scene.receive(6, ledger, client)
        for message in messages[1...4].reversed() { try await scene.purge(message, ledger, client) }
        await ledger.close(reason: "test")
        let state = try scene.state("data")
        let whole = try PurgeReplay(state, try ReadOnlyLog(directory: scene.data).reader)
        #expect(whole.count == 4)
        #expect(whole.targets.count == 4)

        try damage(messages[3])
        let reader = try ReadOnlyLog(directory: scene.data, isSalvage: true).reader
        let error = #expect(throws: LogError(.corrupt, "")) { try PurgeReplay(state, reader) }
        #expect(error?.message.contains("positions \(messages[3]) are damaged") == true)
    }

    /// What cannot be read may be a purge, or what is purged. So no key is made, whatever is accepted.
    @Test func overADamagedLogNoKeyIsMade() async throws {
        let ledger = try await scene.open()
        let client = try await scene.addClient(ledger)
        let messages = try await scene.receive(4, ledger, client)
        _ = try await scene.backUp(ledger)
        for message in messages { try await scene.purge(message, ledger, client) }
        await ledger.close(reason: "test")
        // So that what is damaged lies before the newest segment.
        try await openAndClose()
        try damage(messages[2])
        #expect(unlink(scene.root) == 0)
        for accepts in [false, true] {
            let refusal = await scene.refusal(try scene.restore(to: "data", acceptsLoss: accepts))
            #expect(refusal.hasPrefix("log_corrupt"))
            #expect(refusal.contains("position"))
            #expect(refusal.contains("verify"))
            #expect(!scene.exists("data.root.key"))
            #expect(!scene.names("data").contains("restoring"))
        }
    }

    /// Without a writer, a log seems to end where damage of its last file begins.
    @Test func purgesBehindDamageAreNotPassedOver() async throws {
        let ledger = try await scene.open()
        let client = try await scene.addClient(ledger)
        let messages = try await scene.receive(2, ledger, client)
        _ = try await scene.backUp(ledger)
        let later = try await scene.receive(1, ledger, client)
        try await scene.purge(messages[0], ledger, client)
        await ledger.close(reason: "test")
        try damage(later[0])
        #expect(unlink(scene.root) == 0)
        let refusal = await scene.refusal(try scene.restore(to: "data", acceptsLoss: true))
        #expect(refusal.hasPrefix("log_corrupt"))
        #expect(!scene.exists("data.root.key"))
        #expect(!scene.names("data").contains("restoring"))
    }

    // MARK: Keys of other kinds

    @Test func theKeyThatSignsCheckpointsIsToldOf() async throws {
        let ledger = try await scene.open()
        var configuration = GatewayConfiguration()
        configuration.data = scene.data
        configuration.logKey = scene.path("signing.key")
        _ = try await Checkpointer.open(ledger, configuration)
        _ = try await scene.backUp(ledger)
        await ledger.close(reason: "test")

        let foreign = scene.path("foreign.key")
        _ = try KeyFile.log(path: foreign).create()
        let refusal = await scene.refusal(try scene.restore(logKey: foreign))
        #expect(refusal.contains(foreign))
        #expect(!scene.exists("new"))

        let kept = try await scene.restore(logKey: configuration.logKey).run(progress: { _ in })
        #expect(kept.signsAsBefore)
        #expect(String(decoding: kept.json, as: UTF8.self).contains(#""log_key":"kept""#))
        let fresh = try await scene.restore(to: "newer").run(progress: { _ in })
        #expect(!fresh.signsAsBefore)
    }

    @Test func theBackupKeyMustNotLieInTheBackupWhateverLeadsThere() async throws {
        let ledger = try await scene.open()
        #expect(mkdir(scene.path("to"), 0o700) == 0)
        #expect(symlink(scene.path("to"), scene.path("link")) == 0)
        #expect(symlink(scene.path(""), scene.path("here")) == 0)
        let inside = ["to/key", "link/key", "here/to/key", "to/../to/key", "data/../link/../to/key", "link//key"]
        for key in inside {
            for target in ["to", "link", "to/", "here/link", "data/../to"] {
                let error = #expect(throws: GatewayError(.invalidRequest, "")) {
                    try Backup(of: scene.data, to: scene.path(target), keyFile: scene.path(key), days: 1)
                }
                #expect(error?.detail.contains("keep them apart") == true, "\(key) in \(target)")
            }
        }
        // Of what is not there yet.
        #expect(throws: GatewayError(.invalidRequest, "")) {
            try Backup(of: scene.data, to: scene.path("here/fresh"), keyFile: scene.path("link/../fresh/key"), days: 1)
        }
        #expect(scene.names("to") == [])
        #expect(!scene.exists("fresh"))
        await ledger.close(reason: "test")
    }

    /// The manifest names where the key was; what lies there must not come from who made the backup.
    @Test(arguments: ["elsewhere/key", "data/../elsewhere/key"])
    func aBackupKeyThatComesWithTheBackupIsNotBelieved(_ key: String) async throws {
        let ledger = try await scene.open()
        #expect(mkdir(scene.path("elsewhere"), 0o700) == 0)
        let backup = try await scene.backUp(ledger, keyFile: scene.path(key))
        await ledger.close(reason: "test")
        #expect(rename(scene.path("elsewhere/key"), backup + "/key") == 0)
        #expect(rmdir(scene.path("elsewhere")) == 0)
        #expect(symlink(backup, scene.path("elsewhere")) == 0)
        let error = #expect(throws: GatewayError(.invalidRequest, "")) {
            try Restore(
                from: backup,
                to: scene.path("new"),
                keyRoot: scene.path("new.root.key"),
                logKey: scene.path("new.log.key"),
                keyFile: nil,
                acceptsLoss: false,
                log: LogConfiguration()
            )
        }
        #expect(error?.detail.contains("inside itself") == true)
    }

    // MARK: Media

    /// Where a message's file lies below the data directory, or the backup.
    private func media(_ message: LogPosition, _ index: UInt32 = 0) -> String {
        let files = MediaFiles(directory: scene.path("x"))
        return String(files.path(message: message, index: index).dropFirst(scene.path("x/").count))
    }

    @Test func mediaComeBackExceptOfWhatIsPurged() async throws {
        let ledger = try await scene.open()
        let client = try await scene.addClient(ledger)
        let messages = try await scene.receive(4, ledger, client)
        for message in messages { try scene.write("file of \(message)", to: "data/" + media(message)) }
        try scene.write("second", to: "data/" + media(messages[1], 1))
        try scene.write("half", to: "data/" + media(messages[2], 1) + ".part")
        try scene.write("of later", to: "data/" + media(LogPosition(4_000)))
        try await scene.purge(messages[0], ledger, client)
        let backup = try await scene.backUp(ledger)
        #expect(scene.exists("backup/" + media(messages[1])))
        #expect(!scene.exists("backup/" + media(messages[2], 1) + ".part"))
        #expect(!scene.exists("backup/" + media(LogPosition(4_000))))
        let manifest = try JSONFields([UInt8](try Data(contentsOf: URL(fileURLWithPath: backup + "/backup.json"))))
        #expect(try manifest.object("media")?.integer("files", in: 0...100) == 5)
        // In the history of the log, and not in that of the backup.
        try await scene.purge(messages[3], ledger, client)
        await ledger.close(reason: "test")

        _ = try await scene.restore().run(progress: { _ in })
        #expect(!scene.exists("new/" + media(messages[0])))
        for message in messages[1...] { #expect(scene.text("new/" + media(message)) == "file of \(message)") }
        #expect(scene.text("new/" + media(messages[1], 1)) == "second")

        #expect(unlink(scene.root) == 0)
        _ = try await scene.restore(to: "data").run(progress: { _ in })
        let left = messages.filter { scene.exists("data/" + media($0)) }
        #expect(left == [messages[1], messages[2]])
        #expect(scene.text("data/" + media(messages[1], 1)) == "second")
    }

    /// They may be somebody's: only what this backup has as well can have been made by a restore of it.
    @Test func mediaThatTheBackupDoesNotHaveAreNotTakenForThoseOfAnInterruptedRestore() async throws {
        let ledger = try await scene.open()
        let messages = try await scene.receive(2, ledger, try await scene.addClient(ledger))
        for message in messages { try scene.write("file of \(message)", to: "data/" + media(message)) }
        _ = try await scene.backUp(ledger)
        await ledger.close(reason: "test")
        let other = BackupScene()
        _ = try await other.backedUp(1)
        try await interrupt(scene.path("missing/root.key"))
        #expect(scene.exists("new/" + media(messages[0])))
        await #expect(throws: GatewayError(.invalidRequest, "")) {
            _ = try await scene.restore(of: other).run(progress: { _ in })
        }
        #expect(scene.exists("new/" + media(messages[0])))
        let outcome = try await scene.restore().run(progress: { _ in })
        #expect(outcome.isWholeLog)
        for message in messages { #expect(scene.text("new/" + media(message)) == "file of \(message)") }
    }

    /// All logs have the same names: what the operator brought back from elsewhere must not be unlinked.
    @Test func aSegmentThatTheBackupDoesNotHaveIsSetAside() async throws {
        _ = try await scene.backedUp(2)
        try await interrupt(scene.path("missing/root.key"))
        let segment = try #require(scene.names("new").first { $0.hasPrefix("segment-") || LogCopy.isSegment($0) })
        try scene.write("history that somebody saved", to: "new/" + segment)
        _ = try await scene.restore().run(progress: { _ in })
        let aside = try #require(scene.names("new").first { $0.hasPrefix("set-aside-") })
        #expect(scene.text("new/\(aside)/\(segment)") == "history that somebody saved")
    }

    @Test func aBackupWhoseMediaAreNotAllThereIsRefused() async throws {
        let ledger = try await scene.open()
        let messages = try await scene.receive(2, ledger, try await scene.addClient(ledger))
        for message in messages { try scene.write("file of \(message)", to: "data/" + media(message)) }
        _ = try await scene.backUp(ledger)
        await ledger.close(reason: "test")
        try scene.write("file", to: "backup/" + media(messages[0]))
        await #expect(throws: GatewayError(.invalidRequest, "")) {
            _ = try await scene.restore().run(progress: { _ in })
        }
        #expect(unlink(scene.path("backup/" + media(messages[0]))) == 0)
        await #expect(throws: GatewayError(.invalidRequest, "")) {
            _ = try await scene.restore().run(progress: { _ in })
        }
        #expect(!scene.exists("new"))
        _ = try await scene.restore(acceptsLoss: true).run(progress: { _ in })
        #expect(scene.text("new/" + media(messages[1])) == "file of \(messages[1])")
    }

    // MARK: Failure

    /// Whether a backup that is interrupted when it has asked so often had anything left to do.
    private func interrupted(_ backup: Backup, _ begun: [UInt8], after count: Int) -> Bool {
        var asked = 0
        func isInterrupted() -> Bool {
            asked += 1
            return asked > count
        }
        do {
            _ = try backup.finish(begun, isInterrupted: isInterrupted, progress: { _ in })
            return false
        } catch {
            #expect(error as? LogError == LogError(.closed, ""))
            #expect(!scene.exists("backup/backup.json"))
            return true
        }
    }

    @Test func aBackupThatFailedLeavesNothingBehind() async throws {
        let ledger = try await scene.open()
        let messages = try await scene.receive(3, ledger, try await scene.addClient(ledger))
        for message in messages { try scene.write("file of \(message)", to: "data/" + media(message)) }
        await ledger.close(reason: "test")
        let again = try await scene.open()
        for count in 0..<100 {
            let backup = try Backup(of: scene.data, to: scene.path("backup"), keyFile: scene.path("key"), days: 1)
            let control = BackupControl(again)
            let begun = try await control.begin(in: backup.target, key: backup.key, horizon: backup.horizon)
            if interrupted(backup, begun, after: count) {
                backup.discard()
                #expect(!scene.exists("backup"))
            } else {
                // Each file of the log and of the messages, and the end.
                #expect(count > 4)
                #expect(scene.exists("backup/backup.json"))
                break
            }
        }
        await again.close(reason: "test")
        let refused = #expect(throws: GatewayError(.invalidRequest, "")) {
            try Backup(of: scene.data, to: scene.path("backup"), keyFile: scene.path("key"), days: 1)
        }
        #expect(refused?.detail.contains("directory of its own") == true)
        #expect(unlink(scene.path("backup/backup.json")) == 0)
        let half = #expect(throws: GatewayError(.invalidRequest, "")) {
            try Backup(of: scene.data, to: scene.path("backup"), keyFile: scene.path("key"), days: 1)
        }
        #expect(half?.detail.contains("never finished") == true)
    }
}
