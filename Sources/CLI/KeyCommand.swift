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

        @OptionGroup var settings: SettingsOptions
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
            let configuration = try settings.load().configuration
            let access = WriterAccess(
                data: configuration.data,
                keyRoot: configuration.keyRoot,
                log: configuration.log,
                purpose: "key command"
            )
            let body = JSONWriter.object { $0.string("key", key.rawValue) }
            let answer = try await access.ask("POST", "/keys/rotate", body) { ledger in
                try await KeyControl(ledger, try await Checkpointer.open(ledger, configuration)).rotate(key)
            }
            if json { return Output.line(String(decoding: answer, as: UTF8.self)) }
            let fields = try JSONFields(answer)
            if let vkey = try fields.string("vkey") { return Output.line(vkey) }
            Output.line("the root key is replaced: \(String(decoding: answer, as: UTF8.self))")
        }
    }
}
