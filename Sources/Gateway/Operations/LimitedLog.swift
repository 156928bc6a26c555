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
    /// Without what belongs to one line, as the id of a request.
    private let plain: any LogHandler

    package init(_ base: any LogHandler) {
        self.base = base
        plain = base
    }

    package var logLevel: Logger.Level {
        get { base.logLevel }
        set { base.logLevel = newValue }
    }

    package var metadata: Logger.Metadata {
        get { base.metadata }
        set { base.metadata = newValue }
    }

    package var metadataProvider: Logger.MetadataProvider? {
        get { base.metadataProvider }
        set { base.metadataProvider = newValue }
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { base[metadataKey: key] }
        set { base[metadataKey: key] = newValue }
    }

    package func log(event: LogEvent) {
        guard event.level < .critical else { return base.log(event: event) }
        let kind = LineLimits.Kind(
            level: event.level.rawValue,
            text: "\(event.message)",
            code: event.metadata?[LimitedLog.code].map { "\($0)" } ?? ""
        )
        let (isWritten, before) = shared.limits.withLock { $0.admit(kind, at: BootTime.now) }
        if let before { tell(before) }
        if isWritten { base.log(event: event) }
    }

    /// Tells what was withheld and is not told yet.
    ///
    /// - Parameter all: also what is so fresh that there may soon be more.
    package func tellWithheld(all: Bool = false) {
        for one in shared.limits.withLock({ $0.due(at: BootTime.now, all: all) }) { tell(one) }
    }

    private func tell(_ withheld: LineLimits.Withheld) {
        let kind = withheld.kind
        plain.log(
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
