import HTTPTypes
import Hummingbird
import Log
import Projections

/// Accounts of clients, for operators.
struct ClientRoutes: Sendable {
    static let trialSeconds: UInt64 = 7 * 86_400
    let ledger: Ledger

    func add(to group: Routes) {
        group.post("clients") { try await create($0, $1) }
        group.get("clients", query: Paging.parameters) { try await list($0, $1) }
        group.get("clients/:id") { try await get($0, $1) }
        group.patch("clients/:id") { try await update($0, $1) }
        group.delete("clients/:id") { try await delete($0, $1) }
        group.post("clients/:id/trial") { try await startTrial($0, $1) }
        group.post("clients/:id/api-key/rotate") { try await rotation($1).replaceKey($0) }
        group.post("clients/:id/webhook/secret/rotate") { try await rotation($1).replaceSecret($0) }
    }

    private func rotation(_ context: GatewayContext) throws -> KeyRotation {
        KeyRotation(ledger: ledger, client: try id(context), actor: context.actor)
    }

    private func create(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let form = try ClientForm(try await request.fields(), ledger.now)
        let (key, secret, committed) = try await ledger.createClient(form, by: context.actor)
        return Answer.json(.created, position: committed.position) { json in
            json.string("client_id", ledger.ids.encode(.client, committed.value))
            json.string("api_key", key)
            json.string("webhook_secret", WebhookSignature.show(secret))
            json.string("name", form.name)
            json.string("plan", form.plan.name)
            json.time("created_at", committed.time)
        }
    }

    private func id(_ context: GatewayContext) throws -> LogPosition {
        guard let position = ledger.ids.decode(.client, try context.parameter("id")) else { throw missing }
        return position
    }

    private var missing: GatewayError { GatewayError(.notFound, "there is no such client") }

    private func list(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        let paging = try Paging(request, .client, ledger.ids)
        return try await ledger.readers.run(.zero) {
            let clients = try await ledger.read { Array($0.clients.clients.keys) }.sorted()
            let page = try await ledger.page(paging, { _ in clients })
            let rows = try await ledger.rows(of: page) { $0.clients[$1] }
            return try await paging.answer(page, .client, ledger.ids) { id in
                let view = try rows[id].map { try ClientView($0, ledger) }
                return JSONWriter.object { view?.write(&$0, ledger) }
            }
        }
    }

    private func get(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        return try await show(try id(context), position: nil)
    }

    private func show(_ id: LogPosition, position: LogPosition?) async throws -> Response {
        guard let row = try await ledger.read({ $0.clients[id] }) else { throw missing }
        let view = try ClientView(row, ledger)
        return Answer.json(position: position) { view.write(&$0, ledger) }
    }

    private func update(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let id = try id(context)
        let fields = try await request.fields()
        let actor = ledger.name(context.actor)
        let committed = try await ledger.commit { state, context in
            // What is absent stays as it is at this moment, not as it was when the request came.
            guard let row = state.clients[id] else { throw missing }
            let form = try ClientForm(fields, context.now, changing: row)
            let new = form.updated(id, trialUsed: row.trialUsed, by: actor)
            return ([new] + state.released(by: new, context), ())
        }
        return try await show(id, position: committed.position)
    }

    private func delete(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let id = try id(context)
        var event = ClientDeleted()
        event.actor = ledger.name(context.actor)
        let committed = try await ledger.commit { [event] state, _ in
            guard state.clients[id] != nil else { throw Refusal(.notFound, "there is no such client") }
            return ([NewEvent(.clientDeleted(event), client: id)], ())
        }
        return Answer.empty(position: committed.position)
    }

    private func startTrial(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let id = try id(context)
        let actor = ledger.name(context.actor)
        let committed = try await ledger.commit { state, context in
            guard let row = state.clients[id] else { throw Refusal(.notFound, "there is no such client") }
            guard !row.trialUsed, row.addon == .none else {
                throw Refusal(.trialUsed, "a client has one trial, before the add-on")
            }
            var event = ClientUpdated()
            event.plan = row.plan
            event.addon = .trial
            event.trialEndsAt = context.now.advanced(bySeconds: ClientRoutes.trialSeconds)
            event.trialUsed = true
            event.smsMonthlyQuota = row.smsMonthlyQuota
            event.timeZone = row.timeZone
            event.actor = actor
            let new = NewEvent(.clientUpdated(event), client: id)
            return ([new] + state.released(by: new, context), ())
        }
        return try await show(id, position: committed.position)
    }
}

/// An account as operators send it; for a change, what is absent stays.
struct ClientForm: Sendable {
    static let quotaStandard: UInt64 = 1000

    var name: String
    var isRenamed: Bool
    var plan: Plan
    var addon: AddonStatus
    var trialEndsAt: Timestamp
    var smsMonthlyQuota: UInt64
    var timeZone: String

    init(_ fields: JSONFields, _ now: Timestamp, changing row: ClientRow? = nil) throws {
        try fields.allow(["name", "plan", "addon", "sms_monthly_quota", "time_zone"])
        isRenamed = fields.has("name")
        name = row == nil ? try fields.require("name") : try fields.string("name") ?? ""
        guard !isRenamed || !name.isEmpty, name.utf8.count <= 200 else {
            throw fields.wrong("name", "1 to 200 bytes long")
        }
        plan = row?.plan ?? .creator
        if let text = try fields.string("plan") {
            guard let named = Plan(name: text) else { throw fields.wrong("plan", "creator, professional or business") }
            plan = named
        }
        addon = row?.addon ?? .none
        trialEndsAt = row?.trialEndsAt ?? Timestamp(0)
        smsMonthlyQuota =
            try fields.integer("sms_monthly_quota", in: 0...1_000_000_000).map { UInt64($0) }
            ?? row?.smsMonthlyQuota ?? ClientForm.quotaStandard
        timeZone = try fields.timeZone("time_zone") ?? row?.timeZone ?? "UTC"
        try readAddon(fields, now)
    }

    private mutating func readAddon(_ fields: JSONFields, _ now: Timestamp) throws {
        guard let object = try fields.object("addon") else { return }
        try object.allow(["status", "trial_ends_at"])
        guard let status = AddonStatus(name: try object.require("status")) else {
            throw object.wrong("status", "none, trial or active")
        }
        addon = status
        guard status == .trial else { return }
        trialEndsAt = now.advanced(bySeconds: ClientRoutes.trialSeconds)
        if let text = try object.string("trial_ends_at") {
            guard let time = RFC3339.parse(text) else { throw object.wrong("trial_ends_at", "a time in RFC 3339") }
            trialEndsAt = time
        }
    }

    func updated(_ id: LogPosition, trialUsed: Bool, by actor: String) -> NewEvent {
        var event = ClientUpdated()
        event.plan = plan
        event.addon = addon
        event.trialEndsAt = trialEndsAt
        event.trialUsed = trialUsed || addon == .trial
        event.smsMonthlyQuota = smsMonthlyQuota
        event.timeZone = timeZone
        event.renamed = isRenamed
        event.actor = actor
        let name = JSONWriter.object { $0.string("name", self.name) }
        return NewEvent(
            .clientUpdated(event),
            client: id,
            bodies: isRenamed ? [SealedPart(.content, name)] : [],
            seal: .newKey(.secret)
        )
    }
}

extension Ledger {
    /// Creates an account with its first API key and webhook secret. The value is the client.
    ///
    /// - Parameter sealsKey: keeps the key itself, sealed, besides its hash.
    func createClient(
        _ form: ClientForm,
        sealsKey: Bool = false,
        by actor: ChangeActor
    ) async throws -> (key: String, secret: [UInt8], committed: Committed<LogPosition>) {
        let (key, hash) = Credential.make(isSandbox ? Credential.test : Credential.live)
        let secret = Crypto.randomBytes(32)
        let content = JSONWriter.object { json in
            json.string("name", form.name)
            json.string("lookup_key", Base64.encode(Crypto.randomBytes(32)))
        }
        let actor = name(actor)
        let committed = try await commit { [isSandbox] _, context in
            let client = context.next
            var created = ClientCreated()
            created.plan = form.plan
            created.addon = form.addon
            created.trialEndsAt = form.trialEndsAt
            created.smsMonthlyQuota = form.smsMonthlyQuota
            created.timeZone = form.timeZone
            created.actor = actor
            var apiKey = APIKeyCreated()
            apiKey.hash = hash
            apiKey.sandbox = isSandbox
            apiKey.actor = actor
            var webhookSecret = WebhookSecretCreated()
            webhookSecret.actor = actor
            let events = [
                NewEvent(
                    .clientCreated(created),
                    client: client,
                    bodies: [SealedPart(.content, content)],
                    seal: .newKey(.secret)
                ),
                NewEvent(
                    .apiKeyCreated(apiKey),
                    client: client,
                    bodies: sealsKey ? [SealedPart(.content, [UInt8](key.utf8))] : [],
                    seal: .newKey(.secret)
                ),
                NewEvent(
                    .webhookSecretCreated(webhookSecret),
                    client: client,
                    bodies: [SealedPart(.content, secret)],
                    seal: .newKey(.secret)
                ),
            ]
            return (events, client)
        }
        return (key, secret, committed)
    }
}

/// An account as operators see it. Credentials and keys are never part of it.
struct ClientView {
    private let row: ClientRow
    private let name: String

    init(_ row: ClientRow, _ ledger: Ledger) throws {
        self.row = row
        name = try JSONFields(try ledger.body(at: row.namePosition, .content) ?? []).string("name") ?? ""
    }

    func write(_ json: inout JSONWriter, _ ledger: Ledger) {
        json.string("client_id", ledger.ids.encode(.client, row.id))
        json.string("name", name)
        json.string("plan", row.plan.name)
        json.object("addon") { json in
            json.string("status", row.addon.name)
            json.time("trial_ends_at", row.trialEndsAt.nanoseconds == 0 ? nil : row.trialEndsAt)
        }
        json.number("sms_monthly_quota", row.smsMonthlyQuota)
        json.string("time_zone", row.timeZone)
        json.object("channels") { json in
            for platform in Platform.allCases {
                guard let channel = row.channels[platform] else { continue }
                json.key(dynamic: platform.name)
                json.object { json in
                    json.string("state", channel.pausedFor == nil ? "connected" : "paused")
                    if let code = channel.pausedFor { json.string("provider_code", code) }
                }
            }
        }
        json.time("created_at", row.created)
    }
}
