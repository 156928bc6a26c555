import Log
import Projections

/// The sandbox's client. It keeps its id, API key, webhook secret and endpoint over restarts.
///
/// Of other keys only hashes are stored. The demo client's is sealed in the record that made it as well, as a webhook secret
/// is, so that each start can print it; whoever rotates it through the API gets one that is stored as a hash only, and the
/// next start makes another one beside it.
struct DemoClient: Sendable {
    static let name = "Sandbox demo"
    private static let receiverPath = "/receiver"

    let id: LogPosition
    let key: String
    let secret: [UInt8]

    /// Finds the client, or makes it.
    static func open(_ ledger: Ledger) async throws -> DemoClient {
        if let row = try await find(ledger) {
            let key: String
            if let known = try knownKey(row, ledger) { key = known } else { key = try await addKey(row.id, ledger) }
            if let secret = try knownSecret(row, ledger) { return DemoClient(id: row.id, key: key, secret: secret) }
            let (secret, _) = try await ledger.rotateSecret(of: row.id, overlap: 0, by: .sandbox)
            return DemoClient(id: row.id, key: key, secret: secret)
        }
        let fields: [String: JSONValue] = [
            "name": .string(name), "plan": .string("business"), "addon": .object(["status": .string("active")]),
            "sms_monthly_quota": .integer(1_000_000),
        ]
        let form = try ClientForm(JSONFields(members: fields, path: ""), ledger.now)
        let (key, secret, committed) = try await ledger.createClient(form, sealsKey: true, by: .sandbox)
        return DemoClient(id: committed.value, key: key, secret: secret)
    }

    private static func find(_ ledger: Ledger) async throws -> ClientRow? {
        let rows = try await ledger.read { $0.clients.clients.values.sorted { $0.id < $1.id } }
        return try rows.first { row in
            let content = try ledger.unpurged { try ledger.body(at: row.namePosition, .content) }
            return try content.flatMap { try JSONFields($0).string("name") } == name
        }
    }

    private static func knownKey(_ row: ClientRow, _ ledger: Ledger) throws -> String? {
        for one in row.apiKeys.reversed() where ledger.now < one.expiresAt {
            let sealed = try ledger.unpurged { try ledger.body(at: one.position, .content) }
            if let text = sealed.map({ String(decoding: $0, as: UTF8.self) }), Credential.hash(text) == one.hash {
                return text
            }
        }
        return nil
    }

    /// Those that there are stay valid: a developer may have one of them at hand.
    private static func addKey(_ client: LogPosition, _ ledger: Ledger) async throws -> String {
        let (text, hash) = Credential.make(Credential.test)
        _ = try await ledger.commit { _, _ in
            var created = APIKeyCreated()
            created.hash = hash
            created.sandbox = true
            created.actor = ledger.name(.sandbox)
            let sealed = NewEvent(
                .apiKeyCreated(created),
                client: client,
                bodies: [SealedPart(.content, [UInt8](text.utf8))],
                seal: .newKey(.secret)
            )
            return ([sealed], ())
        }
        return text
    }

    private static func knownSecret(_ row: ClientRow, _ ledger: Ledger) throws -> [UInt8]? {
        guard let newest = row.secrets(at: ledger.now).last else { return nil }
        return try ledger.unpurged { try ledger.secret(newest.position) }
    }

    // MARK: The endpoint

    /// The port of the sandbox's own receiver that the endpoint was set to last; nil for none, or an endpoint of the
    /// developer's own.
    static func receiverPort(_ url: String) -> Int? {
        let start = "http://127.0.0.1:"
        guard url.hasPrefix(start), url.hasSuffix(receiverPath) else { return nil }
        return UInt16(url.dropFirst(start.count).dropLast(receiverPath.count)).map(Int.init)
    }

    /// The port that the sandbox had last, so that its addresses stay the same if it is still free.
    static func lastPort(_ ledger: Ledger) async throws -> Int? {
        guard let row = try await find(ledger), let endpoint = row.endpoint else { return nil }
        let sealed = try ledger.unpurged { try ledger.secret(endpoint.position) }
        return try sealed.flatMap { receiverPort(try EndpointSettings($0).url) }
    }

    /// The endpoint as it has to be set; nil where it stays as it is. What a developer has set stays, and of an endpoint
    /// that is the sandbox's own only the address changes.
    func endpoint(_ base: String, _ ledger: Ledger) async throws -> NewEvent? {
        let url = base + DemoClient.receiverPath
        var settings = EndpointSettings()
        var event = EndpointConfigured()
        event.actor = ledger.name(.sandbox)
        event.events = ListField(["*"])
        event.retrySchedule = ListField([1, 2, 5])
        event.maxInFlight = 64
        if let row = try await ledger.read({ $0.clients[id]?.endpoint }),
            let sealed = try ledger.unpurged({ try ledger.secret(row.position) })
        {
            settings = try EndpointSettings(sealed)
            if DemoClient.receiverPort(settings.url) == nil || (settings.url == url && row.enabled) { return nil }
            event.events = ListField(row.events)
            event.channels = ListField(row.channels)
            event.retrySchedule = ListField(row.retrySchedule)
            event.maxInFlight = UInt64(row.maxInFlight)
            event.strictOrdering = row.strictOrdering
        }
        settings.url = url
        event.enabled = true
        return NewEvent(
            .endpointConfigured(event),
            client: id,
            bodies: [SealedPart(.content, settings.json)],
            seal: .newKey(.secret)
        )
    }
}
