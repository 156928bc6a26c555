import ArgumentParser
import Dispatch
import Gateway
import Log
import Projections

struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Copy the history, and the keys sealed under a backup key, as of one moment.",
        discussion:
            "Works beside a running gateway too. Who holds backup and key undoes every later purge until the horizon."
    )

    @OptionGroup var settings: SettingsOptions
    @Option(help: "The directory of the backup; it must not exist or be empty.")
    var to: String
    @Option(help: "File of the backup key; made when there is none. Keep it apart from the backups.")
    var backupKey: String
    @Option(help: "Days after which every copy of the backup, or of its key, is gone. Recorded in the history.")
    var horizon: Int
    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard (1...36_500).contains(horizon) else {
            throw ValidationError("--horizon is a number of days from 1 to 36500")
        }
    }

    func run() async throws {
        let configuration = try settings.load().configuration
        let interruption = await Interruption.watch()
        let backup = try Backup(
            of: configuration.data,
            to: AbsolutePath.of(to),
            keyFile: AbsolutePath.of(backupKey),
            days: horizon
        )
        let access = WriterAccess(
            data: configuration.data,
            keyRoot: configuration.keyRoot,
            log: configuration.log,
            purpose: "backup"
        )
        let answer: [UInt8]
        do {
            // Not interrupted: a gateway that was asked writes on, whoever waits for it.
            let begun = try await access.ask("POST", "/backups", backup.request, timeout: .seconds(900)) { ledger in
                try await BackupControl(ledger).begin(in: backup.target, key: backup.key, horizon: backup.horizon)
            }
            answer = try await finish(backup, begun, interruption)
        } catch {
            backup.discard()
            throw error
        }
        Output.progress("")
        if json { return Output.line(String(decoding: answer, as: UTF8.self)) }
        if backup.isKeyNew { Output.line("made the backup key \(backupKey): keep it apart from the backups") }
        Output.line("backed up to \(to); destroy it or its key by \(RFC3339.format(backup.horizon))")
    }

    /// On a thread of its own, because it waits for the disk, and on a machine with one core signals would wait for it.
    private func finish(_ backup: Backup, _ begun: [UInt8], _ interruption: Interruption) async throws -> [UInt8] {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                let result = Result {
                    try backup.finish(
                        begun,
                        isInterrupted: { interruption.isAsked },
                        progress: { Output.progress("copied \($0.name)") }
                    )
                }
                continuation.resume(with: result)
            }
        }
    }
}

struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Bring back a log from a backup, or the keys of a log that is there.",
        discussion:
            "Carries out every purge of the history before a key is written. A log whose end is missing gets a new identity."
    )

    @OptionGroup var settings: SettingsOptions
    @Option(help: "The directory of the backup.")
    var from: String
    @Option(help: "File of the backup key; default where it was when the backup was made.")
    var backupKey: String?
    @Flag(help: "Go on although records or bodies that are known of are missing.")
    var acceptLoss = false
    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        let configuration = try settings.load().configuration
        let restore = try Restore(
            from: from,
            to: configuration.data,
            keyRoot: configuration.keyRoot,
            logKey: configuration.logKey,
            keyFile: backupKey,
            acceptsLoss: acceptLoss,
            log: configuration.log
        )
        let outcome = try await restore.run { Output.progress("copied \($0.name)") }
        Output.progress("")
        if json { return Output.line(String(decoding: outcome.json, as: UTF8.self)) }
        Output.line("restored up to position \(outcome.position); \(outcome.purges) purges carried out")
        if outcome.bodiesLost > 0 { Output.line("\(outcome.bodiesLost) bodies are lost") }
        if let id = outcome.logID {
            Output.line("this is a new log, \(id): give its checkpoint key to those who verify")
        }
        Output.line(
            outcome.signsAsBefore
                ? "checkpoints are signed with the key that is at \(configuration.logKey), as before"
                : "the first start makes a new key for checkpoints, at \(configuration.logKey)"
        )
    }
}
