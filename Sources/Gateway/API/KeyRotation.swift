import Hummingbird
import Log
import Projections

/// Replaces a client's API key or webhook secret, for the client itself and for an operator.
struct KeyRotation {
    static let overlapStandard: UInt64 = 86_400
    static let overlapMax: Int64 = 2_592_000

    let ledger: Ledger
    let client: LogPosition
    let actor: ChangeActor

    func replaceKey(_ request: Request) async throws -> Response {
        let overlap = try await KeyRotation.overlap(request)
        let (key, committed) = try await ledger.rotateKey(of: client, overlap: overlap, by: actor)
        return Answer.json(position: committed.position) { json in
            json.string("api_key", key)
            json.string("key_id", ledger.ids.encode(.apiKey, committed.value))
            json.time("previous_expires_at", committed.time.advanced(bySeconds: overlap))
        }
    }

    func replaceSecret(_ request: Request) async throws -> Response {
        let overlap = try await KeyRotation.overlap(request)
        let (secret, committed) = try await ledger.rotateSecret(of: client, overlap: overlap, by: actor)
        return Answer.json(position: committed.position) { json in
            json.string("webhook_secret", WebhookSignature.show(secret))
            json.string("secret_id", ledger.ids.encode(.secret, committed.value))
            json.time("previous_expires_at", committed.time.advanced(bySeconds: overlap))
        }
    }

    private static func overlap(_ request: Request) async throws -> UInt64 {
        let fields = try await request.optionalFields()
        try fields.allow(["overlap_seconds"])
        return UInt64(try fields.integer("overlap_seconds", in: 0...overlapMax) ?? Int64(overlapStandard))
    }
}
