import HTTPTypes
import Hummingbird
import Log
import Projections

/// Deliveries, dead letters, the event stream and usage of the client that asks.
struct DeliveryRoutes: Sendable {
    let ledger: Ledger
    let rendering: EventRendering

    func add(to group: Routes) {
        group.get("deliveries", query: ["limit", "cursor", "state"]) { try await list($0, $1, dead: false) }
        group.get("deliveries/:id") { try await get($0, $1, dead: false) }
        group.get("dead-letters", query: Paging.parameters) { try await list($0, $1, dead: true) }
        group.get("dead-letters/:id") { try await get($0, $1, dead: true) }
        group.post("dead-letters/:id/replay") { try await replay($0, $1) }
        group.post("dead-letters/replay") { try await replayMany($0, $1) }
        group.delete("dead-letters/:id") { try await discard($0, $1) }
    }

    private func id(_ context: GatewayContext, dead: Bool) throws -> LogPosition {
        guard let position = ledger.ids.decode(.delivery, try context.parameter("id")) else {
            throw DeliveryRoutes.missing(dead: dead)
        }
        return position
    }

    private static func missing(dead: Bool) -> GatewayError {
        GatewayError(.notFound, "there is no such \(dead ? "dead letter" : "delivery")")
    }

    private func list(_ request: Request, _ context: GatewayContext, dead: Bool) async throws -> Response {
        try await ledger.reach(request)
        let client = try context.requireClient()
        let paging = try Paging(request, .delivery, ledger.ids)
        let wanted = try DeliveryRoutes.state(request)
        return try await ledger.readers.run(client.id) {
            let page = try await ledger.page(paging, { $0.deliveries.byClient[client.id] ?? [] }) { id, state in
                guard let row = state.deliveries.rows[id] else { return false }
                return (!dead || row.isDeadLetter) && (wanted == nil || row.state == wanted)
            }
            let rows = try await ledger.rows(of: page) { $0.deliveries.rows[$1] }
            return try await paging.answer(page, .delivery, ledger.ids) { id in
                let view = try rows[id].map { try DeliveryView(id, $0, ledger) }
                return JSONWriter.object { view?.write(&$0, ledger) }
            }
        }
    }

    private static func state(_ request: Request) throws -> DeliveryState? {
        guard let name = request.uri.queryParameters["state"] else { return nil }
        guard let state = DeliveryState.allCases.first(where: { $0.name == name }) else {
            let names = DeliveryState.allCases.map(\.name).joined(separator: ", ")
            throw GatewayError(.invalidRequest, "state must be one of \(names)", field: "state")
        }
        return state
    }

    /// A dead letter that was replayed is none any more, but can still be looked at: it names what replaced it.
    private func get(_ request: Request, _ context: GatewayContext, dead: Bool) async throws -> Response {
        try await ledger.reach(request)
        let client = try context.requireClient()
        let id = try id(context, dead: dead)
        let row = try await ledger.read { $0.deliveries.rows[id] }
        guard let row, row.client == client.id, !dead || row.isDeadLetter || row.replacedBy != nil else {
            throw DeliveryRoutes.missing(dead: dead)
        }
        let view = try DeliveryView(id, row, ledger)
        let attempts = try AttemptView.all(row, ledger)
        // A purged one shows that there was something, and no more; so does one that is damaged.
        var damage = ReadDamage()
        let body = dead && row.state == .dead ? try damage.read { try rendering.body(of: row.event) } : nil
        return Answer.json { json in
            view.write(&json, ledger)
            json.array("attempts") { json in
                if let damaged = attempts.damaged {
                    json.element { json in
                        json.object { json in
                            json.bool("damaged", true)
                            json.number("position", damaged.rawValue)
                        }
                    }
                }
                for attempt in attempts.views { json.element { json in json.object { attempt.write(&$0, ledger) } } }
            }
            if let body { json.raw("event", body) }
            json.bool("purged", row.isPurged)
        }
    }

    private func replay(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        let id = try id(context, dead: true)
        _ = try await request.optionalFields()
        let committed = try await ledger.commit { state, context in
            let events = try state.decideReplay(id, client: client.id)
            return (events, (context.next, state.deliveries.rows[id]?.event ?? .zero))
        }
        return Answer.json(.accepted, position: committed.position) { json in
            json.string("delivery_id", ledger.ids.encode(.delivery, committed.value.0))
            json.string("event_id", ledger.ids.encode(.event, committed.value.1))
        }
    }

    /// Replays every dead letter that the filter matches, in batches, oldest first; none is left out silently.
    private func replayMany(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        let filter = try DeadLetterFilter(try await request.optionalFields())
        let matched = try await ledger.readers.run(client.id) {
            try await ledger.all({ $0.deliveries.byClient[client.id] ?? [] }) { id, state in
                state.deliveries.rows[id].map { state.mayReplay($0) } ?? false
            }.filter { try filter.matches($0, ledger) }
        }
        if filter.dryRun {
            return Answer.json { json in
                json.number("matched", matched.count)
                json.number("replayed", 0)
            }
        }
        var replayed = 0
        var last = LogPosition.zero
        for start in stride(from: 0, to: matched.count, by: 256) {
            let batch = matched[start..<min(start + 256, matched.count)]
            let committed = try await ledger.commit { state, _ in
                // One that was replayed or discarded meanwhile is no dead letter any more.
                let dead = batch.filter { id in state.deliveries.rows[id].map { state.mayReplay($0) } ?? false }
                return (try dead.flatMap { try state.decideReplay($0, client: client.id) }, dead.count)
            }
            replayed += committed.value
            last = committed.position
        }
        return Answer.json(.accepted, position: last) { json in
            json.number("matched", matched.count)
            json.number("replayed", replayed)
        }
    }

    private func discard(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        let id = try id(context, dead: true)
        let committed = try await ledger.commit { state, _ in
            (try state.decideDiscard(id, client: client.id), ())
        }
        return Answer.empty(position: committed.position)
    }
}

/// Which dead letters a bulk replay means.
struct DeadLetterFilter {
    let dryRun: Bool
    private let type: String?
    private let since: Timestamp?
    private let until: Timestamp?

    init(_ fields: JSONFields) throws {
        try fields.allow(["dry_run", "event_type", "since", "until"])
        dryRun = try fields.bool("dry_run") ?? false
        type = try fields.string("event_type")
        func time(_ name: String) throws -> Timestamp? {
            guard let text = try fields.string(name) else { return nil }
            guard let time = RFC3339.parse(text) else { throw fields.wrong(name, "a time in RFC 3339") }
            return time
        }
        since = try time("since")
        until = try time("until")
    }

    func matches(_ delivery: LogPosition, _ ledger: Ledger) throws -> Bool {
        guard type != nil || since != nil || until != nil else { return true }
        guard let row = ledger.plan({ $0.deliveries.rows[delivery] }) else { return false }
        // Of a damaged one nobody knows type or time, and it could not be delivered.
        var damage = ReadDamage()
        guard let record = try damage.read({ try ledger.event(at: row.event) }),
            case .eventPublished(let event) = record.event
        else { return false }
        return (type == nil || event.type == type) && (since.map { record.time >= $0 } ?? true)
            && (until.map { record.time < $0 } ?? true)
    }
}
