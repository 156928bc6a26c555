import ArgumentParser
import Log
import Projections

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check every byte of the log: frames, checksums, links, digests, Merkle tree."
    )

    @Option(help: "The data directory.")
    var data: String
    @Flag(help: "Also fold the history and check what must hold in any history.")
    var invariants = false
    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        // Beside a running writer the check ends at what is durable; the rest is still being written.
        let open = try? ReadOnlyLog(directory: data)
        let limit = (open?.hasWriter ?? false) ? open?.end : nil
        let verifier = LogVerifier(directory: data, limit: limit)
        let result = Result { () throws(LogError) -> LogVerifier.Report in
            try verifier.run { done, all in Output.progress("segment \(done + 1) of \(all)") }
        }
        if case .failure(let error) = result, error.code == .corrupt {
            Output.line(json ? Verify.describe(failure: error) : "FINDING \(error.message)")
            throw ExitCode(1)
        }
        let report = try result.get()
        Output.progress("")
        if report.segments == 0 { throw LogError(.notFound, "there is no log in \(data); check --data") }
        if json { Output.line(Verify.describe(report)) } else { Verify.print(report) }
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
                "FINDING segment \(LogVerifier.fileName(finding.segment)) offset \(finding.offset)\(positions): "
                    + finding.problem
            )
        }
        if report.unjudgedTailBytes > 0 {
            Output.line(
                "note: \(report.unjudgedTailBytes) bytes of an unfinished write follow; the next start judges them"
            )
        }
        let state = report.findings.isEmpty ? "ok" : "damaged"
        Output.line(
            "\(state): \(report.records) records in \(report.segments) segments, \(report.bytes) bytes, "
                + "root \(Hex.encode(report.root.bytes))"
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
            json.string("root", Hex.encode(report.root.bytes))
            json.number("unjudged_tail_bytes", report.unjudgedTailBytes)
            json.array("findings") { json in
                for finding in report.findings {
                    json.element { json in
                        json.object { json in
                            json.string("segment", LogVerifier.fileName(finding.segment))
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
