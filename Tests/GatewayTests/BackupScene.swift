import Foundation
import Gateway
import Log
import Projections
import TestSupport

/// A log with some messages in a directory of its own, what is backed up of it, and what is restored from that.
struct BackupScene: Sendable {
    private let directory = TemporaryDirectory()

    var data: String { path("data") }
    /// Where the root key of the log is.
    var root: String { path("root.key") }

    func path(_ name: String) -> String { directory.path + "/" + name }

    func names(_ directory: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path(directory))) ?? []).sorted()
    }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path(name)) }

    /// Makes a file, and the directories above it.
    func write(_ text: String, to name: String) throws {
        let url = URL(fileURLWithPath: path(name))
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(),
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )
        try Data(text.utf8).write(to: url)
    }

    func text(_ name: String) -> String? { try? String(contentsOfFile: path(name), encoding: .utf8) }

    // MARK: The log

    func open() async throws -> Ledger { try await GatewayProbe.openLedger(directory) }

    func addClient(_ ledger: Ledger) async throws -> LogPosition {
        try await ledger.commit { _, context in
            var created = ClientCreated()
            created.plan = .business
            created.addon = .active
            var connected = ChannelConnected()
            connected.platform = .sms
            let client = context.next
            let events = [
                NewEvent(
                    .clientCreated(created),
                    client: client,
                    bodies: [SealedPart(.content, [1])],
                    seal: .newKey(.secret)
                ),
                NewEvent(.channelConnected(connected), client: client),
            ]
            return (events, client)
        }.value
    }

    /// Messages of as many customers, each in a group of its own; the value is where they are.
    func receive(_ count: UInt64, _ ledger: Ledger, _ client: LogPosition) async throws -> [LogPosition] {
        let known = try await ledger.read { $0.inbox.messages.keys.sorted() }
        for number in 0..<count {
            let message = InboundMessage(
                client: client,
                platform: .sms,
                duplicateKey: LookupHash(high: 4, low: UInt64(known.count) + number + 1),
                customer: LookupHash(high: 1, low: UInt64(known.count) + number + 1),
                account: LookupHash(high: 5, low: 5)
            )
            _ = try await ledger.commit { [ids = ledger.ids] state, context in
                (state.decide(message, ids: ids, context), ())
            }
        }
        return try await ledger.read { $0.inbox.messages.keys.sorted() }.filter { !known.contains($0) }
    }

    /// Asks for a purge, which nobody carries out.
    func purge(_ message: LogPosition, _ ledger: Ledger, _ client: LogPosition) async throws {
        _ = try await ledger.commit { [ids = ledger.ids] state, context in
            (try state.decidePurge(message, client: client, reason: "client", ids: ids, context), ())
        }
    }

    /// A log that was closed in order, with as many messages, and its backup.
    func backedUp(_ messages: UInt64) async throws -> (backup: String, messages: [LogPosition]) {
        let ledger = try await open()
        let received = try await receive(messages, ledger, try await addClient(ledger))
        let backup = try await backUp(ledger)
        await ledger.close(reason: "test")
        return (backup, received)
    }

    // MARK: Backup and restore

    /// The directory of the backup.
    func backUp(_ ledger: Ledger, keyFile: String? = nil) async throws -> String {
        let backup = try Backup(of: data, to: path("backup"), keyFile: keyFile ?? path("backup.key"), days: 30)
        let begun = try await BackupControl(ledger).begin(in: backup.target, key: backup.key, horizon: backup.horizon)
        _ = try backup.finish(begun, progress: { _ in })
        return backup.target
    }

    /// A restore into a directory of this scene, with a root key beside it, of this scene's backup or another one's.
    func restore(
        to name: String = "new",
        of other: BackupScene? = nil,
        root: String? = nil,
        logKey: String? = nil,
        acceptsLoss: Bool = false
    ) throws -> Restore {
        let source = other ?? self
        var log = LogConfiguration()
        log.segmentBytes = 1 << 20
        return try Restore(
            from: source.path("backup"),
            to: path(name),
            keyRoot: root ?? path(name + ".root.key"),
            logKey: logKey ?? path(name + ".log.key"),
            keyFile: source.path("backup.key"),
            acceptsLoss: acceptsLoss,
            log: log
        )
    }

    /// Why a restore was refused; empty when it was not.
    func refusal(_ restore: Restore) async -> String {
        do {
            _ = try await restore.run(progress: { _ in })
            return ""
        } catch let error as LogError {
            return error.description
        } catch {
            return "\(error)"
        }
    }

    /// What is restored, folded.
    func state(_ name: String = "new") throws -> LogState {
        let log = try ReadOnlyLog(directory: path(name))
        var state = LogState()
        try state.catchUp(log.reader, through: log.end)
        return state
    }
}
