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
    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        if vkey {
            var history = SigningHistory()
            try ReadOnlyLog(directory: data).reader.scan(from: LogPosition(1)) { history.note($0) }
            guard let key = history.keys.last?.description else {
                throw LogError(.notFound, "the history names no key; waybill serve makes one")
            }
            return Output.line(json ? Output.object { $0.string("vkey", key) } : key)
        }
        let note = try CheckpointCommand.stored(in: data)
        guard json else { return Output.write(note, to: 1) }
        guard let checkpoint = SignedNote(note).flatMap({ Checkpoint(text: $0.text) }) else {
            throw LogError(.unknownFormat, "the checkpoint in \(data) is not one; waybill serve makes it anew")
        }
        Output.line(
            Output.object { json in
                json.string("origin", checkpoint.origin)
                json.number("size", checkpoint.size)
                json.string("root", Hex.encode(checkpoint.root.bytes))
                json.string("note", note)
            }
        )
    }

    /// The latest checkpoint, as it was signed.
    static func stored(in data: String) throws -> String {
        guard let note = try Checkpoint.load(data) else {
            // A wrong directory has a message of its own.
            _ = try ReadOnlyLog(directory: data)
            throw LogError(.notFound, "no checkpoint was made yet; waybill serve stores one every ten seconds")
        }
        return note
    }
}
