import ArgumentParser
import Gateway
import Glibc
import Logging
import ServiceLifecycle
import UnixSignals

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run the gateway until SIGTERM or SIGINT.")

    @OptionGroup var settings: SettingsOptions
    @Option(help: "HOST:PORT to listen on; default 127.0.0.1:8080.")
    var listen: String?
    @Flag(help: "Add a simulated Twilio, a webhook receiver and a demo client.")
    var sandbox = false
    @Flag(help: "Validate the settings, print them with secrets masked, and stop.")
    var checkConfig = false

    func run() async throws {
        var (configuration, effective) = try settings.load(["listen": listen])
        configuration.isSandbox = sandbox
        if checkConfig {
            for (key, value) in effective { Output.line("\(key) = \(value)") }
            return
        }
        // What the gateway creates is its owner's alone, the control socket included.
        umask(0o077)
        // A client that hangs up must not end the process.
        signal(SIGPIPE, SIG_IGN)
        let logger = Serve.makeLogger()
        let application = GatewayApplication(configuration: configuration, logger: logger) { Output.line($0) }
        let group = ServiceGroup(
            configuration: .init(
                services: [application],
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: logger
            )
        )
        try await group.run()
    }

    private static func makeLogger() -> Logger {
        var logger = Logger(label: "waybill", factory: { StreamLogHandler.standardError(label: $0) })
        logger.logLevel = .notice
        return logger
    }
}

enum Environment {
    static func all() -> [String: String] {
        var values: [String: String] = [:]
        var entry = environ
        while let pointer = entry.pointee {
            let pair = String(cString: pointer).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if pair.count == 2 { values[String(pair[0])] = String(pair[1]) }
            entry += 1
        }
        return values
    }
}
