import Log
import Logging
import Synchronization

/// Tells operators what the log found wrong in the background or while reading: once per finding in the process's log, every
/// time in a metric.
package final class LogAlarm: Sendable {
    private let metrics: GatewayMetrics
    private let logger: Logger
    private let told = Mutex<Set<String>>([])
    /// Damage that spreads over a whole disk must not fill memory too.
    private static let toldMax = 1000

    init(metrics: GatewayMetrics, logger: Logger) {
        self.metrics = metrics
        self.logger = logger
    }

    func raise(_ error: LogError) {
        metrics.count("waybill_log_alarms_total{code=\"\(error.code.rawValue)\"}")
        let isNew = told.withLock { told in
            if told.count >= LogAlarm.toldMax { told = [] }
            return told.insert(error.message).inserted
        }
        if isNew { logger.critical("the log needs attention", metadata: ["error": "\(error)"]) }
    }
}
