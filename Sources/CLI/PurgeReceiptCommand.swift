import ArgumentParser
import Gateway
import Log
import Projections

struct PurgeReceiptCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "purge-receipt",
        abstract: "Print the receipt of a purged message: the destroyed key's commitment, both records, and proofs.",
        discussion: "It ends in the latest stored checkpoint; one that was made before the purge does not cover it yet."
    )

    @Option(help: "The data directory.")
    var data: String
    @Option(help: "The message (msg_…).")
    var message: String

    func run() throws {
        let checkpoint = try CheckpointCommand.stored(in: data)
        let log = try ReadOnlyLog(directory: data)
        var state = LogState()
        try state.catchUp(log.reader, through: log.end)
        let ids = state.ids
        guard let position = ids.decode(.message, message) else {
            throw ValidationError("--message is not a message id")
        }
        let source = PurgeReceipt.Source(
            reader: log.reader,
            tiles: log.tiles(in: data),
            ids: ids,
            checkpoint: checkpoint,
            verifierKey: state.verifierKey
        )
        let receipt = try PurgeReceipt(of: position, state)
        Output.line(String(decoding: try receipt.json(source), as: UTF8.self))
    }
}
