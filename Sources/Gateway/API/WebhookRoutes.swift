import HTTPTypes
import Hummingbird
import Log
import Projections

/// The client's endpoint, its secrets and its API keys.
struct WebhookRoutes: Sendable {
    let ledger: Ledger
    let configuration: GatewayConfiguration

    func add(to group: Routes) {
        group.get("webhook") { try await get($0, $1) }
        group.put("webhook") { try await put($0, $1) }
        group.post("webhook/test") { try await test($0, $1) }
        group.post("webhook/secret/rotate") { try await rotation($1).replaceSecret($0) }
        group.post("api-key/rotate") { try await rotation($1).replaceKey($0) }
    }

    private func rotation(_ context: GatewayContext) throws -> KeyRotation {
        KeyRotation(ledger: ledger, client: try context.requireClient().id, actor: context.actor)
    }

    private func get(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        let found = try await ledger.current({ $0.clients[client.id]?.endpoint }, secretAt: \.position)
        guard let (endpoint, secret) = found else {
            return Answer.json { json in
                json.string("url", nil)
                json.bool("enabled", false)
                json.string("state", "not_configured")
                json.string("reason", nil)
            }
        }
        let settings = try EndpointSettings(secret)
        return Answer.json { WebhookRoutes.write(&$0, endpoint, settings) }
    }

    private func put(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        let form = try EndpointForm(try await request.fields(), configuration, client)
        var event = form.event
        event.actor = ledger.name(context.actor)
        let committed = try await ledger.commit { [event] state, context in
            guard state.clients[client.id]?.hasAddon(at: context.now) ?? false else {
                throw Refusal(.planRequired, "webhooks need the add-on, active or in trial")
            }
            try state.admit(form.event, for: client.id)
            let new = NewEvent(
                .endpointConfigured(event),
                client: client.id,
                bodies: [SealedPart(.content, form.settings.json)],
                seal: .newKey(.secret)
            )
            return ([new] + state.released(by: new, context), ())
        }
        guard let endpoint = try await ledger.read({ $0.clients[client.id]?.endpoint }) else {
            throw GatewayError(.notFound, "the client is gone")
        }
        return Answer.json(position: committed.position) { WebhookRoutes.write(&$0, endpoint, form.settings) }
    }

    private static func write(_ json: inout JSONWriter, _ endpoint: EndpointRow, _ settings: EndpointSettings) {
        json.string("url", settings.url)
        json.bool("enabled", endpoint.enabled)
        json.array("events") { json in for event in endpoint.events { json.element { $0.string(event) } } }
        json.array("channels") { json in
            for platform in Platform.allCases where endpoint.channels.contains(UInt64(platform.rawValue)) {
                json.element { $0.string(platform.name) }
            }
        }
        json.object("headers") { json in
            for header in settings.headers {
                json.key(dynamic: header.name)
                json.string(header.value)
            }
        }
        json.array("retry_schedule") { json in for wait in endpoint.retrySchedule { json.element { $0.number(wait) } } }
        json.number("max_in_flight", endpoint.maxInFlight)
        json.string("ordering", endpoint.strictOrdering ? "strict" : "first_attempt")
        json.string("state", endpoint.enabled ? "active" : "disabled")
        json.string("reason", endpoint.disabledReason)
    }

    /// Sends a test event and answers what the endpoint said, within the time a delivery may take.
    private func test(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        _ = try await request.optionalFields()
        let committed = try await ledger.commit { [ids = ledger.ids] state, context in
            (try state.decideTest(client: client.id, ids: ids, context), ())
        }
        let delivery = committed.position
        let row = try await ledger.wait(
            for: .delivery(delivery),
            try context.waitingCaller(hasActed: true),
            atMost: .seconds(20),
            { $0.deliveries.rows[delivery] },
            until: { $0?.trail != .zero }
        )
        let attempt = try row.flatMap { try AttemptView.last($0, ledger) }
        return Answer.json(position: committed.position) { json in
            json.string("event_id", ledger.ids.encode(.event, delivery))
            json.string("delivery_id", ledger.ids.encode(.delivery, delivery))
            json.bool("success", row?.state == .delivered)
            json.number("status", attempt?.httpStatus)
            json.string("error", attempt?.error)
            json.string("detail", TransferFailure.advice(attempt?.error))
            json.number("duration_ms", attempt?.durationMilliseconds)
            json.string("response_excerpt", attempt?.excerpt)
        }
    }
}
