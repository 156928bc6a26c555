import Synchronization

/// Counters of the process, shown at `/metrics`. They start at zero with every start; what must survive is in the log.
package final class GatewayMetrics: Sendable {
    private let table: Mutex<[String: UInt64]> = Mutex([:])

    package init() {}

    package func count(_ name: String, by step: Int = 1) { table.withLock { $0[name, default: 0] += UInt64(step) } }

    func countAnswer(_ status: Int) { count(GatewayMetrics.answerNames[min(max(status / 100, 1), 5)]) }

    /// Made once, because every request counts one.
    private static let answerNames = (0...5).map { "waybill_http_answers_total{class=\"\($0)xx\"}" }

    /// Prometheus text format 0.0.4.
    package func render(gauges: [(name: String, value: UInt64)]) -> String {
        let counters = table.withLock { $0 }.sorted { $0.key < $1.key }
        let lines = gauges.map { "\($0.name) \($0.value)" } + counters.map { "\($0.key) \($0.value)" }
        return lines.joined(separator: "\n") + "\n"
    }
}
