import ArgumentParser
import Log

struct Prove: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a proof that a record is in the log of the latest checkpoint (C2SP tlog-proof)."
    )

    @Option(help: "The data directory.")
    var data: String
    @Option(help: "The record's position.")
    var position: UInt64

    func run() throws {
        // The checkpoint first: whatever it covers is in the log by now.
        let checkpoint = try CheckpointCommand.stored(in: data)
        let log = try ReadOnlyLog(directory: data)
        let file = log.id.map { TileFile(directory: data, id: $0, isReadOnly: true) }
        let proof = try InclusionProof.make(
            position: LogPosition(position),
            checkpoint: checkpoint,
            log.reader,
            TileStore(log.reader, file: file)
        )
        Output.write(proof.encoded, to: 1)
    }
}
