import Log
import Logging
import Synchronization

/// Tells the operator, once for each client, that addresses were refused, and the setting that would permit them. Who is
/// refused decides how often, so the log must not repeat it.
final class RefusedAddresses: Sendable {
    private static let toldMax = 1000
    private let setting: String
    private let logger: Logger
    private let told = Mutex<Set<LogPosition>>([])

    init(_ setting: String, _ logger: Logger) {
        self.setting = setting
        self.logger = logger
    }

    /// - Parameters:
    ///   - error: the code that an attempt or a fetch ended with.
    ///   - client: as the log shows it.
    func note(_ error: String, of client: LogPosition, _ name: @autoclosure () -> String) {
        guard error == TransferFailure.addressRefused.code else { return }
        let isNew = told.withLock { told in
            told.count < RefusedAddresses.toldMax && told.insert(client).inserted
        }
        guard isNew else { return }
        logger.warning(
            "an address that is not public was refused; the setting permits networks",
            metadata: ["client": "\(name())", "setting": "\(setting)"]
        )
    }
}
