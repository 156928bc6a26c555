import Logging
import Synchronization

/// The settings in force. SIGHUP replaces those that may change while the gateway runs; the others stay as at the start.
package final class LiveSettings: Sendable {
    private let configuration: Mutex<GatewayConfiguration>

    package init(_ configuration: GatewayConfiguration) { self.configuration = Mutex(configuration) }

    package subscript<Value>(_ path: any KeyPath<GatewayConfiguration, Value> & Sendable) -> Value {
        configuration.withLock { $0[keyPath: path] }
    }

    /// Takes over from `fresh` what may change.
    ///
    /// - Returns: the names of the settings that were changed, and of those that a restart would change.
    package func reload(_ fresh: GatewayConfiguration) -> (changed: [String], waiting: [String]) {
        configuration.withLock { current in
            let differing = SettingsTable.all.filter { $0.value.show(fresh) != $0.value.show(current) }
            for setting in differing where setting.reloads {
                setting.value.copy(fresh, &current)
            }
            return (differing.filter(\.reloads).map(\.key), differing.filter { !$0.reloads }.map(\.key))
        }
    }
}

/// What SIGHUP does: settings and certificate are read again.
struct Reloading: Sendable {
    let settings: LiveSettings
    /// Reads the settings again from where they came from.
    let load: @Sendable () throws -> GatewayConfiguration
    /// Nil where the API is not served over TLS.
    let certificate: ServerCertificate?
    let logger: Logger

    /// All of it or nothing: what is wrong is logged, and what was in force stays.
    func run() {
        do {
            let fresh = try load()
            guard certificate != nil || fresh.tlsCertificate.isEmpty else {
                throw GatewayError(.configuration, "to serve over TLS from now on needs a restart")
            }
            try certificate?.reload(fresh)
            let (changed, waiting) = settings.reload(fresh)
            if !waiting.isEmpty {
                let names = waiting.joined(separator: ", ")
                logger.warning("these settings need a restart to change", metadata: ["settings": "\(names)"])
            }
            if certificate == nil, changed.isEmpty {
                logger.notice("SIGHUP: no certificate and no changed setting to put into force")
            } else {
                logger.notice(
                    "SIGHUP: reloaded",
                    metadata: [
                        "certificate": "\(certificate != nil)", "settings": "\(changed.joined(separator: ", "))",
                    ]
                )
            }
        } catch {
            let detail = (error as? GatewayError)?.detail ?? "\(error)"
            logger.error("SIGHUP: nothing was reloaded", metadata: ["error": "\(detail)"])
        }
    }
}
