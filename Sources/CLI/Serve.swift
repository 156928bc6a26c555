import ArgumentParser
import Gateway
import Glibc
import Logging
import Projections
import ServiceLifecycle
import UnixSignals

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run the gateway until SIGTERM or SIGINT.")

    @OptionGroup var settings: SettingsOptions
    @Option(help: "HOST:PORT, [IPv6]:PORT or :PORT to listen on; default 127.0.0.1:8080.")
    var listen: String?
    @Flag(help: "Add a simulated Twilio, a webhook receiver and a demo client.")
    var sandbox = false
    @Flag(help: "Validate the settings, print each with where it comes from, secrets masked, and stop.")
    var checkConfig = false
    @Flag(help: "With --check-config: print one JSON object.")
    var json = false

    func validate() throws {
        if json, !checkConfig { throw ValidationError("--json goes with --check-config") }
    }

    private static let announceWait = Duration.milliseconds(100)

    func run() async throws {
        // Meant for programs that do something at them; the default is to end the process.
        signal(SIGUSR1, SIG_IGN)
        signal(SIGUSR2, SIG_IGN)
        let loader = settings.loader(["listen": listen])
        let (loaded, effective) = try loader.load()
        if checkConfig {
            try loaded.checkFiles()
            return Serve.show(effective, json: json)
        }
        var configuration = loaded
        configuration.isSandbox = sandbox
        // What the gateway creates is its owner's alone, the control socket included.
        umask(0o077)
        // A client that hangs up must not end the process.
        signal(SIGPIPE, SIG_IGN)
        let log = Serve.makeLog()
        let logger = Logger(label: "waybill", factory: { _ in log })
        let output = LineWriter(STDOUT_FILENO)
        let application = GatewayApplication(
            configuration: configuration,
            logger: logger,
            hangups: await Serve.hangups(),
            reload: { try loader.load().configuration },
            announce: { text in
                output.write(text + "\n")
                // A person waits for it, or nobody does.
                output.flush(within: Serve.announceWait)
            }
        )
        let group = ServiceGroup(
            configuration: .init(
                services: [application],
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: logger
            )
        )
        let telling = Task {
            while (try? await Task.sleep(for: LineLimits.pause)) != nil { log.tellWithheld() }
        }
        defer {
            telling.cancel()
            log.tellWithheld(all: true)
            Output.flushLog()
        }
        try await group.run()
    }

    /// SIGHUP does not end the process from here on, also while the log is still being read.
    private static func hangups() async -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let signals = await UnixSignalsSequence(trapping: .sighup)
        Task { for await _ in signals { continuation.yield() } }
        return stream
    }

    private static func show(_ settings: [EffectiveSetting], json: Bool) {
        guard json else {
            for one in settings {
                let value = one.value.isEmpty ? "none" : one.value
                Output.line("\(one.key) = \(value)  (\(one.source.place ?? one.source.name))")
            }
            return
        }
        Output.line(
            Output.object { json in
                json.array("settings") { json in
                    for one in settings {
                        json.element { json in
                            json.object { json in
                                json.string("key", one.key)
                                json.string("value", one.value.isEmpty ? nil : one.value)
                                json.string("source", one.source.name)
                                json.string("place", one.source.place)
                                json.bool("secret", one.setting.isSecret)
                                json.bool("reloads", one.setting.reloads)
                            }
                        }
                    }
                }
            }
        )
    }

    /// Limited in rate, and written by a thread of its own.
    private static func makeLog() -> LimitedLog {
        let writer = LineWriter(STDERR_FILENO)
        Output.log(through: writer)
        var handler = StreamLogHandler(label: "waybill", stream: LineStream(writer))
        handler.logLevel = .notice
        return LimitedLog(handler)
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
