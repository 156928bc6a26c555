import Hummingbird
import Log
import Projections

/// The socket in the data directory, for commands that write or need keys while the gateway runs. Mode 0600 is its
/// authentication: who may open it may read the data directory anyway.
struct ControlRoutes: Sendable {
    static let socketName = "control.sock"
    let ledger: Ledger
    let checkpointer: Checkpointer

    /// What SwiftNIO takes as the path of a socket.
    private static let pathBytesMax = 103

    /// - Throws: `configuration_invalid` for a data directory whose path leaves no room for the socket's.
    static func checkPath(in data: String) throws(GatewayError) {
        let excess = "\(data)/\(socketName)".utf8.count - pathBytesMax
        guard excess > 0 else { return }
        throw GatewayError(
            .configuration,
            "the path of the data directory is \(excess) bytes too long for the socket in it: "
                + "give a shorter one, or one that begins at the working directory",
            field: "data"
        )
    }

    func routes() -> GatewayRoutes {
        let routes = GatewayRoutes(metrics: GatewayMetrics())
        let router = routes.group()
        let tokens = TokenControl(ledger)
        router.post("/tokens") { request, _ in
            let fields = try await request.fields()
            try fields.allow(["role", "label", "expires_at"])
            guard let role = TokenRole(name: try fields.require("role")) else {
                throw fields.wrong("role", "operator or auditor")
            }
            let expiry = try fields.string("expires_at").map { text in
                guard let time = tokens.end(text) else {
                    throw fields.wrong("expires_at", "a time in RFC 3339, or 90d")
                }
                return time
            }
            let label = try fields.string("label") ?? ""
            return Answer.json(.ok, bytes: try await tokens.create(role: role, label: label, expiresAt: expiry))
        }
        router.get("/tokens") { _, _ in Answer.json(.ok, bytes: try await tokens.list()) }
        router.post("/tokens/revoke") { request, _ in
            Answer.json(.ok, bytes: try await tokens.revoke(try await request.fields().require("id")))
        }
        let keys = KeyControl(ledger, checkpointer)
        router.post("/keys/rotate") { request, _ in
            let fields = try await request.fields()
            guard let key = KeyControl.Key(rawValue: try fields.require("key")) else {
                throw fields.wrong("key", "root or log")
            }
            return Answer.json(.ok, bytes: try await keys.rotate(key))
        }
        let backups = BackupControl(ledger)
        router.post("/backups") { request, _ in
            let fields = try await request.fields()
            guard let key = Hex.decode(try fields.require("key")), key.count == 32 else {
                throw fields.wrong("key", "32 bytes in hexadecimal")
            }
            guard let horizon = RFC3339.parse(try fields.require("horizon")) else {
                throw fields.wrong("horizon", "a time")
            }
            let answer = try await backups.begin(in: try fields.require("to"), key: key, horizon: horizon)
            return Answer.json(.ok, bytes: answer)
        }
        return routes
    }
}
