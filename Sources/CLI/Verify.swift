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
    @Option(help: "The key that signed the checkpoints; without it, the one that the history itself names.")
    var vkey: String?
    @Flag(help: "Also fold the history and check what must hold in any history.")
    var invariants = false
    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        // First, because a running writer may store a newer one that lies beyond what is checked.
        let past = try PastCheckpoints(data, files: checkpoint, verifierKey: vkey)
        // Beside a running writer the check ends at what is durable; the rest is still being written.
        let open = try? ReadOnlyLog(directory: data)
        let limit = (open?.hasWriter ?? false) ? open?.end : nil
        let verifier = LogVerifier(directory: data, limit: limit, checkpoints: past.checkpoints)
        var keys = SigningKeys()
        let report = try verifier.run(
            progress: { done, all in Output.progress("segment \(done + 1) of \(all)") },
            visit: { keys.note($0) }
        )
        Output.progress("")
        if report.segments == 0, report.findings.isEmpty {
            throw LogError(.notFound, "there is no log in \(data); check --data")
        }
        var problems = past.unreadable + past.unsigned(keys)
        if invariants, report.findings.isEmpty { problems += try violations() }
        if json { Output.line(Verify.describe(report, problems)) } else { Verify.print(report, problems) }
        if !report.findings.isEmpty || !problems.isEmpty { throw ExitCode(1) }
    }

    /// A finding that belongs to no place in a file.
    fileprivate struct Problem {
        var position: UInt64?
        let text: String
    }

    private func violations() throws -> [Problem] {
        let log = try ReadOnlyLog(directory: data)
        var check = InvariantCheck()
        try log.reader.scan(from: LogPosition(1)) { check.apply($0) }
        return check.violations.map { Problem(position: $0.position.rawValue, text: $0.rule) }
    }

    private static func print(_ report: LogVerifier.Report, _ problems: [Problem]) {
        for finding in report.findings {
            let positions = finding.positions.map { ", positions \($0.lowerBound) to \($0.upperBound)" } ?? ""
            Output.line(
                "FINDING segment \(finding.file) offset \(finding.offset)\(positions): "
                    + finding.problem
            )
        }
        for problem in problems {
            Output.line("FINDING " + (problem.position.map { "position \($0): " } ?? "") + problem.text)
        }
        if report.unjudgedTailBytes > 0 {
            Output.line(
                "note: \(report.unjudgedTailBytes) bytes of an unfinished write follow; the next start judges them"
            )
        }
        let state = report.findings.isEmpty && problems.isEmpty ? "ok" : "damaged"
        // Behind damage the tree is taken from what the next segment claims, so that its root is nothing to rely on.
        let root = report.findings.isEmpty ? ", root \(Hex.encode(report.root.bytes))" : ""
        Output.line(
            "\(state): \(report.records) records in \(report.segments) segments, \(report.bytes) bytes\(root)"
        )
    }

    private static func describe(_ report: LogVerifier.Report, _ problems: [Problem]) -> String {
        Output.object { json in
            json.bool("ok", report.findings.isEmpty && problems.isEmpty)
            json.number("records", report.records)
            json.number("segments", report.segments)
            json.number("bytes", report.bytes)
            if report.findings.isEmpty { json.string("root", Hex.encode(report.root.bytes)) }
            json.number("unjudged_tail_bytes", report.unjudgedTailBytes)
            json.array("findings") { json in
                for finding in report.findings {
                    json.element { json in
                        json.object { json in
                            json.string("segment", finding.file)
                            json.number("offset", finding.offset)
                            json.number("first_position", finding.positions?.lowerBound)
                            json.number("last_position", finding.positions?.upperBound)
                            json.string("problem", finding.problem)
                        }
                    }
                }
                for problem in problems {
                    json.element { json in
                        json.object { json in
                            json.number("first_position", problem.position)
                            json.number("last_position", problem.position)
                            json.string("problem", problem.text)
                        }
                    }
                }
            }
        }
    }
}

/// The checkpoints that a log is checked against: those given, and the one in the data directory.
private struct PastCheckpoints {
    private var notes: [Note]
    /// That the one in the data directory is damaged must not keep anybody from the check of everything else.
    private(set) var unreadable: [Verify.Problem] = []
    /// The key that was given.
    private let verifierKey: VerifierKey?

    private struct Note {
        let name: String
        let note: SignedNote
        let checkpoint: Checkpoint

        init(_ name: String, _ text: String) throws(LogError) {
            guard let note = SignedNote(text), let checkpoint = Checkpoint(text: note.text) else {
                throw LogError(.unknownFormat, "\(name) is not a signed checkpoint")
            }
            self.name = name
            self.note = note
            self.checkpoint = checkpoint
        }
    }

    var checkpoints: [Checkpoint] { notes.map(\.checkpoint) }

    init(_ data: String, files: [String], verifierKey text: String?) throws {
        verifierKey = try text.map { text in
            guard let key = VerifierKey(text) else {
                throw ValidationError("--vkey is not a verifier key like name+1234abcd+AbC…")
            }
            return key
        }
        notes = try files.map { file in
            try Note(file, String(decoding: try PosixStorage().readAll(file, limit: 1 << 20), as: UTF8.self))
        }
        do {
            let own = data + "/" + Checkpoint.fileName
            if let text = try Checkpoint.load(data) { notes.append(try Note(own, text)) }
        } catch {
            unreadable = [Verify.Problem(text: "\(error.message); waybill serve makes it anew")]
        }
    }

    /// Those not signed by the key given, or else by any key that the history says it signed with. A damaged log may not
    /// say; then only the roots were compared.
    func unsigned(_ history: SigningKeys) -> [Verify.Problem] {
        let keys = verifierKey.map { [$0] } ?? history.texts.compactMap { VerifierKey($0) }
        if keys.isEmpty { return [] }
        let names = keys.map(\.description).joined(separator: ", ")
        return notes.filter { note in !keys.contains(where: note.note.isSigned) }.map {
            Verify.Problem(text: "\($0.name) is not signed by \(names); give the key that signed it with --vkey")
        }
    }
}
