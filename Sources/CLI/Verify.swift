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
        let result = Result { () throws(LogError) -> LogVerifier.Report in
            try verifier.run(
                progress: { done, all in Output.progress("segment \(done + 1) of \(all)") },
                visit: { keys.note($0) }
            )
        }
        if case .failure(let error) = result, error.code == .corrupt {
            Output.line(json ? Verify.describe(failure: error) : "FINDING \(error.message)")
            throw ExitCode(1)
        }
        let report = try result.get()
        Output.progress("")
        if report.segments == 0 { throw LogError(.notFound, "there is no log in \(data); check --data") }
        if json { Output.line(Verify.describe(report)) } else { Verify.print(report) }
        try past.checkSignatures(keys)
        let broken = invariants && report.findings.isEmpty ? try checkInvariants() : 0
        if !report.findings.isEmpty || broken > 0 { throw ExitCode(1) }
    }

    private func checkInvariants() throws -> Int {
        let log = try ReadOnlyLog(directory: data)
        var check = InvariantCheck()
        try log.reader.scan(from: LogPosition(1)) { check.apply($0) }
        for violation in check.violations { Output.line("FINDING position \(violation.position): \(violation.rule)") }
        return check.violations.count
    }

    private static func print(_ report: LogVerifier.Report) {
        for finding in report.findings {
            let positions = finding.positions.map { ", positions \($0.lowerBound) to \($0.upperBound)" } ?? ""
            Output.line(
                "FINDING segment \(finding.file) offset \(finding.offset)\(positions): "
                    + finding.problem
            )
        }
        if report.unjudgedTailBytes > 0 {
            Output.line(
                "note: \(report.unjudgedTailBytes) bytes of an unfinished write follow; the next start judges them"
            )
        }
        let state = report.findings.isEmpty ? "ok" : "damaged"
        // Behind damage the tree is taken from what the next segment claims, so that its root is nothing to rely on.
        let root = report.findings.isEmpty ? ", root \(Hex.encode(report.root.bytes))" : ""
        Output.line(
            "\(state): \(report.records) records in \(report.segments) segments, \(report.bytes) bytes\(root)"
        )
    }

    private static func describe(failure: LogError) -> String {
        String(
            decoding: JSONWriter.object { json in
                json.bool("ok", false)
                json.array("findings") { json in
                    json.element { json in json.object { $0.string("problem", failure.message) } }
                }
            },
            as: UTF8.self
        )
    }

    private static func describe(_ report: LogVerifier.Report) -> String {
        let bytes = JSONWriter.object { json in
            json.bool("ok", report.findings.isEmpty)
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
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The checkpoints that a log is checked against: those given, and the one in the data directory.
private struct PastCheckpoints {
    private let notes: [(name: String, note: SignedNote, checkpoint: Checkpoint)]
    /// The key that was given.
    private let verifierKey: VerifierKey?

    var checkpoints: [Checkpoint] { notes.map(\.checkpoint) }

    init(_ data: String, files: [String], verifierKey text: String?) throws {
        verifierKey = try text.map { text in
            guard let key = VerifierKey(text) else {
                throw ValidationError("--vkey is not a verifier key like name+1234abcd+AbC…")
            }
            return key
        }
        let kept = try files.map { (name: $0, bytes: try PosixStorage().readAll($0, limit: 1 << 20)) }
        var texts = kept.map { (name: $0.name, text: String(decoding: $0.bytes, as: UTF8.self)) }
        if let own = try? Checkpoint.load(data) { texts.append((data + "/" + Checkpoint.fileName, own)) }
        notes = try texts.map { name, text in
            guard let note = SignedNote(text), let checkpoint = Checkpoint(text: note.text) else {
                throw LogError(.unknownFormat, "\(name) is not a signed checkpoint")
            }
            return (name, note, checkpoint)
        }
    }

    /// By the key given, or else by any key that the history says it signed with. A damaged log may not say; then only the
    /// roots were compared.
    func checkSignatures(_ history: SigningKeys) throws {
        let keys = verifierKey.map { [$0] } ?? history.texts.compactMap { VerifierKey($0) }
        if keys.isEmpty { return }
        for (name, note, _) in notes where !keys.contains(where: note.isSigned) {
            let names = keys.map(\.description).joined(separator: ", ")
            throw LogError(.corrupt, "\(name) is not signed by \(names); give the key that signed it with --vkey")
        }
    }
}
