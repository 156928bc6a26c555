package import Log
import Projections

extension Ledger {
    /// How many older values may overlap with a new one: each costs a signature on every delivery.
    private static let overlappingMax = 4

    /// When value `index` of `count`, the oldest first, ends.
    private static func end(of index: Int, among count: Int, _ now: Timestamp, overlap: UInt64) -> Timestamp {
        index < count - overlappingMax ? now : now.advanced(bySeconds: overlap)
    }

    /// Makes a new webhook secret; the older ones end after `overlap` seconds. The value is the new secret's record.
    package func rotateSecret(
        of client: LogPosition,
        overlap: UInt64,
        by actor: ChangeActor
    ) async throws -> (secret: [UInt8], committed: Committed<LogPosition>) {
        let secret = Crypto.randomBytes(32)
        let (maker, actor) = (actor, name(actor))
        let committed = try await commit { state, context in
            try maker.requireRights(over: client, state, context.now)
            let valid = try Ledger.existing(client, state.clients).secrets(at: context.now)
            var events = valid.enumerated().map { index, old in
                var event = WebhookSecretExpires()
                event.actor = actor
                event.at = Ledger.end(of: index, among: valid.count, context.now, overlap: overlap)
                return NewEvent(.webhookSecretExpires(event), client: client, subject: old.position)
            }
            let position = context.next.advanced(by: events.count)
            var created = WebhookSecretCreated()
            created.actor = actor
            events.append(
                NewEvent(
                    .webhookSecretCreated(created),
                    client: client,
                    bodies: [SealedPart(.content, secret)],
                    seal: .newKey(.secret)
                )
            )
            return (events, position)
        }
        return (secret, committed)
    }

    private static func existing(_ client: LogPosition, _ clients: ClientDirectory) throws(Refusal) -> ClientRow {
        guard let row = clients[client] else { throw Refusal(.notFound, "there is no such client") }
        return row
    }

    /// Makes a new API key; the older ones end after `overlap` seconds. The value is the new key's record.
    package func rotateKey(
        of client: LogPosition,
        overlap: UInt64,
        by actor: ChangeActor
    ) async throws -> (key: String, committed: Committed<LogPosition>) {
        let (text, hash) = Credential.make(isSandbox ? Credential.test : Credential.live)
        let (maker, actor) = (actor, name(actor))
        let committed = try await commit { [isSandbox] state, context in
            try maker.requireRights(over: client, state, context.now)
            let valid = try Ledger.existing(client, state.clients).apiKeys.filter { context.now < $0.expiresAt }
            var events = valid.enumerated().map { index, old in
                var event = APIKeyExpires()
                event.actor = actor
                event.at = Ledger.end(of: index, among: valid.count, context.now, overlap: overlap)
                return NewEvent(.apiKeyExpires(event), client: client, subject: old.position)
            }
            var created = APIKeyCreated()
            created.hash = hash
            created.sandbox = isSandbox
            created.actor = actor
            events.append(NewEvent(.apiKeyCreated(created), client: client))
            return (events, context.next.advanced(by: valid.count))
        }
        return (text, committed)
    }
}
