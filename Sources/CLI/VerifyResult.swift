import Log
import Projections

/// What `waybill verify` found, and how it is shown.
struct VerifyResult {
    /// A finding that belongs to no place in a file.
    struct Problem {
        var position: UInt64?
        let text: String
        /// Whether it says that the log is damaged; else only that something given cannot be proven of it.
        var isDamage = true
    }

    enum State: String {
        case ok
        /// The log is as it was written, but a checkpoint or key that was given cannot be proven to be its own.
        case unproven
        case damaged
    }

    let report: LogVerifier.Report
    let problems: [Problem]
    /// What is worth knowing, and no finding.
    let notes: [String]

    var state: State {
        if !report.findings.isEmpty || problems.contains(where: \.isDamage) { return .damaged }
        return problems.isEmpty ? .ok : .unproven
    }

    func print() {
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
        for note in notes { Output.line("note: \(note)") }
        if report.unjudgedTailBytes > 0 {
            Output.line(
                "note: \(report.unjudgedTailBytes) bytes of an unfinished write follow; the next start judges them"
            )
        }
        // Behind damage the tree is taken from what the next segment claims, so that its root is nothing to rely on.
        let root = report.findings.isEmpty ? ", root \(Hex.encode(report.root.bytes))" : ""
        Output.line(
            "\(state.rawValue): \(report.records) records in \(report.segments) segments, \(report.bytes) bytes\(root)"
        )
    }

    var json: String {
        Output.object { json in
            json.bool("ok", state == .ok)
            json.string("state", state.rawValue)
            json.number("records", report.records)
            json.number("segments", report.segments)
            json.number("bytes", report.bytes)
            if report.findings.isEmpty { json.string("root", Hex.encode(report.root.bytes)) }
            json.number("unjudged_tail_bytes", report.unjudgedTailBytes)
            json.array("findings") { json in
                for finding in report.findings { json.element { json in json.object { write(finding, &$0) } } }
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
            json.array("notes") { json in
                for note in notes { json.element { $0.string(note) } }
            }
        }
    }

    private func write(_ finding: LogVerifier.Finding, _ json: inout JSONWriter) {
        json.string("segment", finding.file)
        json.number("offset", finding.offset)
        json.number("first_position", finding.positions?.lowerBound)
        json.number("last_position", finding.positions?.upperBound)
        json.string("problem", finding.problem)
    }
}
