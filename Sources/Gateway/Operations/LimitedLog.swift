import Log
package import Logging
import Synchronization

/// The process log: every line passes here, so that what strangers and clients do cannot fill it. Critical lines always pass.
package struct LimitedLog: LogHandler {
    private final class Shared: Sendable {
        let limits = Mutex(LineLimits())
    }

    private static let code = "code"

    private let shared = Shared()
    private var base: any LogHandler
    /// What belongs to the lines of one request. It is kept here until there is a line, which most requests do not have: handlers
    /// print their metadata whenever it is set.
    package var metadata: Logger.Metadata = [:]

    package init(_ base: any LogHandler) { self.base = base }

    package var logLevel: Logger.Level {
        get { base.logLevel }
        set { base.logLevel = newValue }
    }

    package var metadataProvider: Logger.MetadataProvider? {
        get { base.metadataProvider }
        set { base.metadataProvider = newValue }
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        guard event.level < .critical else { return write(event) }
        let kind = LineLimits.Kind(
            level: event.level.rawValue,
            text: "\(event.message)",
            code: event.metadata?[LimitedLog.code].map { "\($0)" } ?? ""
        )
        let (isWritten, before) = shared.limits.withLock { $0.admit(kind, at: BootTime.now) }
        if let before { tell(before) }
        if isWritten { write(event) }
    }

    private func write(_ event: LogEvent) {
        var event = event
        if !metadata.isEmpty { event.metadata = metadata.merging(event.metadata ?? [:]) { _, own in own } }
        base.log(event: event)
    }

    /// Tells what was withheld and is not told yet.
    ///
    /// - Parameter all: also what is so fresh that there may soon be more.
    package func tellWithheld(all: Bool = false) {
        for one in shared.limits.withLock({ $0.due(at: BootTime.now, all: all) }) { tell(one) }
    }

    private func tell(_ withheld: LineLimits.Withheld) {
        let kind = withheld.kind
        base.log(
            event: LogEvent(
                level: Logger.Level(rawValue: kind.level) ?? .warning,
                message: "\(kind.text): and \(withheld.count) more like it",
                metadata: kind.code.isEmpty ? nil : [LimitedLog.code: "\(kind.code)"],
                source: "Gateway",
                file: #fileID,
                function: #function,
                line: #line
            )
        )
    }
}
