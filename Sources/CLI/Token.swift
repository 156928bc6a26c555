import ArgumentParser
import Gateway
import Log
import Projections

struct Token: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Operator and auditor tokens.",
        subcommands: [Create.self, List.self, Revoke.self]
    )

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a token; it is printed once.")
        @OptionGroup var target: Target
        @Option(help: "operator or auditor.")
        var role = "operator"
        @Option(help: "A note to recognise the token by.")
        var label = ""
        @Option(help: "When it ends: 90d, 12h or 30m from now, or a time in RFC 3339; default never.")
        var expires: String?

        func run() async throws {
            guard let named = TokenRole(name: role) else { throw ValidationError("--role is operator or auditor") }
            try checkExpiry()
            let body = JSONWriter.object { json in
                json.string("role", role)
                json.string("label", label)
                json.string("expires_at", expires)
            }
            let answer = try await target.ask("POST", "/tokens", body) { tokens in
                try await tokens.create(role: named, label: label, expiresAt: expires.flatMap { tokens.end($0) })
            }
            if target.json { return Output.line(String(decoding: answer, as: UTF8.self)) }
            Output.line(try JSONFields(answer).string("token") ?? "")
        }

        /// Which moment it is the log's own clock says.
        private func checkExpiry() throws {
            guard let expires else { return }
            let now = Timestamp(GuardedClock().now)
            guard let time = TokenExpiry.parse(expires, now: now), time > now else {
                throw ValidationError("--expires is a time to come: 90d, 12h, 30m, or 2030-01-31T00:00:00Z")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List tokens, with expiry and last use.")
        @OptionGroup var target: Target

        func run() async throws {
            let answer = try await target.ask("GET", "/tokens", []) { try await $0.list() }
            Output.line(String(decoding: answer, as: UTF8.self))
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "End a token.")
        @OptionGroup var target: Target
        @Argument(help: "The token's id (tok_…), from `token list`.")
        var id: String

        func run() async throws {
            let body = JSONWriter.object { $0.string("id", id) }
            let answer = try await target.ask("POST", "/tokens/revoke", body) { try await $0.revoke(id) }
            Output.line(String(decoding: answer, as: UTF8.self))
        }
    }

    /// Where the command works: through the socket of a running gateway, else on the data directory itself.
    struct Target: ParsableArguments {
        @Option(help: "The data directory.")
        var data: String
        @Option(help: "File or PKCS #11 URI of the root key; default root.key in the data directory.")
        var keyRoot: String?
        @Flag(help: "Print JSON.")
        var json = false

        func ask(
            _ method: String,
            _ path: String,
            _ body: [UInt8],
            offline: (TokenControl) async throws -> [UInt8]
        ) async throws -> [UInt8] {
            let access = WriterAccess(data: data, keyRoot: keyRoot ?? data + "/root.key", purpose: "token command")
            return try await access.ask(method, path, body) { try await offline(TokenControl($0)) }
        }
    }
}
