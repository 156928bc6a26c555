import ArgumentParser
import Gateway
import Log

/// The one binary. Exit codes: 0 success, 1 finding or failure, 2 bad usage.
@main
struct WaybillCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "waybill",
        abstract: "One bidirectional messaging API on an append-only log.",
        version: WaybillVersion.current,
        subcommands: [
            Serve.self, Verify.self, Replay.self, CheckpointCommand.self, Prove.self,
            PurgeReceiptCommand.self, KeyCommand.self, BackupCommand.self, RestoreCommand.self,
            SalvageCommand.self, Token.self, Schema.self,
        ]
    )

    /// ArgumentParser's own code for bad usage is 64; the contract says 2.
    static func main() async {
        EagerBinding.ensure()
        // Any command may come to hold keys and bodies.
        Crypto.forbidDumps()
        BusErrors.report()
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            finish(error)
        }
    }

    private static func finish(_ error: any Error) -> Never {
        let code = exitCode(for: error)
        if code == .success { exit(withError: error) }
        if code == .validationFailure {
            Output.error(fullMessage(for: error))
            Output.leave(2)
        }
        if let error = error as? GatewayError, error.code == GatewayError.Code.configuration.rawValue {
            Output.error("waybill: \(error.detail)")
            Output.leave(2)
        }
        if !(error is ExitCode) { Output.error("waybill: \(Output.describe(error))") }
        Output.leave(1)
    }
}
