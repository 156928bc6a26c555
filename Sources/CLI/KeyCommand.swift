import ArgumentParser
import Gateway
import Log
import Projections

struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "The keys of the log.",
        subcommands: [Rotate.self]
    )

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Replace the root key, or the key that signs checkpoints. Recorded in the history.",
            discussion: "Works beside a running gateway too."
        )

        @Option(help: "The data directory.")
        var data: String?
        @Option(help: "Settings file, YAML or JSON.")
        var config: String?
        @Option(help: "File or PKCS #11 URI of the root key; default root.key in the data directory.")
        var keyRoot: String?
        @Flag(help: "Seal the key state under a new root key and destroy the old one.")
        var root = false
        @Flag(help: "Sign checkpoints with a new key from now on. Tell whoever verifies them.")
        var log = false
        @Flag(help: "Print JSON.")
        var json = false

        func validate() throws {
            if root == log { throw ValidationError("say which key: --root or --log") }
        }

        func run() async throws {
            let key: KeyControl.Key = root ? .root : .log
            let settings = try loadSettings()
            let answer: [UInt8]
            do {
                answer = try await rotateOffline(key, settings)
            } catch let error as LogError where error.code == .locked {
                let body = JSONWriter.object { $0.string("key", key.rawValue) }
                answer = try await ControlClient(data: settings.data).call("POST", "/keys/rotate", body)
            }
            if json { return Output.line(String(decoding: answer, as: UTF8.self)) }
            let fields = try JSONFields(answer)
            if let vkey = try fields.string("vkey") { return Output.line(vkey) }
            Output.line("the root key is replaced: \(String(decoding: answer, as: UTF8.self))")
        }

        private func loadSettings() throws -> GatewayConfiguration {
            var flags: [String: String] = [:]
            flags["data"] = data
            flags["key_root"] = keyRoot
            let environment = Environment.all()
            let loader = ConfigurationLoader(
                flags: flags,
                environment: environment,
                file: config ?? environment["WAYBILL_CONFIG"]
            )
            return try loader.load().0
        }

        private func rotateOffline(_ key: KeyControl.Key, _ settings: GatewayConfiguration) async throws -> [UInt8] {
            let ledger = try await Ledger.open(
                directory: settings.data,
                root: try RootKeys.holder(settings.keyRoot),
                configuration: settings.log,
                version: WaybillVersion.current,
                isSandbox: false
            )
            do {
                let answer = try await KeyControl(ledger, try await Checkpointer.open(ledger, settings)).rotate(key)
                await ledger.close(reason: "key command")
                return answer
            } catch {
                await ledger.close(reason: "key command failed")
                throw error
            }
        }
    }
}
