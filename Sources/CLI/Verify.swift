import ArgumentParser
import Log
import Projections

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check every byte of the log: frames, checksums, links, digests, Merkle tree."
    )

    @Option(help: "The data directory.")
    var data: String
    @Option(help: "A checkpoint kept from earlier: the history up to it must not have changed. May be given again.")
    var checkpoint: [String] = []
    @Option(
        help: "The key that signed a checkpoint; without it, those that the history names. May be given again."
    )
    var vkey: [String] = []
    @Flag(help: "Also fold the history and check what must hold in any history.")
    var invariants = false
    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        // First, because a running writer may store a newer one that lies beyond what is checked.
        let past = try PastCheckpoints(data, files: checkpoint, verifierKeys: vkey)
        // Beside a running writer the check ends at what is durable; the rest is still being written.
        let open = try? ReadOnlyLog(directory: data)
        let limit = (open?.hasWriter ?? false) ? open?.end : nil
        let verifier = LogVerifier(directory: data, limit: limit, checkpoints: past.checkpoints)
        var history = SigningHistory()
        var report = try verifier.run(
            progress: { done, all in Output.progress("segment \(done + 1) of \(all)") },
            visit: { history.note($0) }
        )
        Output.progress("")
        if report.segments == 0, report.findings.isEmpty {
            throw LogError(.notFound, "there is no log in \(data); check --data")
        }
        var problems = past.unreadable + past.unknownKeys(history)
        let judged = past.judge(history, &report)
        problems += judged.problems
        var notes = judged.notes
        if invariants, report.findings.isEmpty { problems += try violations(&notes) }
        let result = VerifyResult(report: report, problems: problems, notes: notes)
        if json { Output.line(result.json) } else { result.print() }
        if result.state != .ok { throw ExitCode(1) }
    }

    private func violations(_ notes: inout [String]) throws -> [VerifyResult.Problem] {
        let log = try ReadOnlyLog(directory: data)
        var check = InvariantCheck()
        try log.reader.scan(from: LogPosition(1)) { check.apply($0) }
        if check.clockJumps > 0 {
            notes.append("the wall clock jumped; replay --type clock.jumped shows each of \(check.clockJumps)")
        }
        return check.violations.map {
            VerifyResult.Problem(position: $0.position.rawValue, text: $0.rule)
        }
    }
}
