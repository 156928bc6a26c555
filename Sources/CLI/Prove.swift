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
        let proof = try InclusionProof.make(
            position: LogPosition(position),
            checkpoint: try CheckpointCommand.stored(in: data),
            try ReadOnlyLog(directory: data).reader
        )
        Output.write(proof.encoded, to: 1)
    }
}
