import ArgumentParser
import Log
import Projections

struct Prove: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a proof that a record is in the log of the latest checkpoint (C2SP tlog-proof)."
    )

    @Option(help: "The data directory.")
    var data: String
    @Option(help: "The record's position.")
    var position: UInt64
    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        // The checkpoint first: whatever it covers is in the log by now.
        let checkpoint = try CheckpointCommand.stored(in: data)
        let log = try ReadOnlyLog(directory: data)
        let proof = try InclusionProof.make(
            position: LogPosition(position),
            checkpoint: checkpoint,
            log.reader,
            log.tiles(in: data)
        )
        guard json else { return Output.write(proof.encoded, to: 1) }
        Output.line(
            Output.object { json in
                json.number("index", proof.index)
                json.array("hashes") { json in
                    for hash in proof.hashes { json.element { $0.string(Hex.encode(hash.bytes)) } }
                }
                json.string("checkpoint", proof.checkpoint)
            }
        )
    }
}
