import ArgumentParser
import Log
import Projections

struct CheckpointCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "checkpoint",
        abstract: "Print the latest signed checkpoint of the log (C2SP tlog-checkpoint).",
        discussion: "Keep it somewhere else: verify --checkpoint tells later whether the history before it was changed."
    )

    @Option(help: "The data directory.")
    var data: String
    @Flag(help: "Print the key that verifies it instead, as the history names it.")
    var vkey = false

    func run() throws {
        if vkey {
            guard let key = try History(data).verifierKeys().last else {
                throw LogError(.notFound, "the history names no key; waybill serve makes one")
            }
            return Output.line(key)
        }
        Output.write(try History(data).checkpoint(), to: 1)
    }
}

struct Prove: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a proof that a record is in the log of the latest checkpoint (C2SP tlog-proof)."
    )

    @Option(help: "The data directory.")
    var data: String
    @Option(help: "The record's position.")
    var position: UInt64

    func run() throws {
        let history = try History(data)
        let proof = try InclusionProof.make(
            position: LogPosition(position),
            checkpoint: try history.checkpoint(),
            history.log.reader
        )
        Output.write(proof.encoded, to: 1)
    }
}

/// A log read by an auditor's commands.
struct History {
    let directory: String
    let log: ReadOnlyLog

    init(_ directory: String) throws {
        self.directory = directory
        log = try ReadOnlyLog(directory: directory)
    }

    func checkpoint() throws -> String {
        guard let note = try Checkpoint.load(directory) else {
            throw LogError(.notFound, "no checkpoint was made yet; waybill serve makes one when it runs")
        }
        return note
    }

    /// The keys that the history says checkpoints are signed with, the newest last.
    func verifierKeys() throws -> [String] {
        var found: [String] = []
        try log.reader.scan(from: LogPosition(1)) { view in
            guard view.type == EventType.logKeyRotated.rawValue else { return }
            if case .logKeyRotated(let event) = try EventRecord(view).event { found.append(event.verifierKeyAfter) }
        }
        return found
    }
}
