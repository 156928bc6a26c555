import Hummingbird
import Log
import Projections

/// Connections of clients to providers, for operators. Credentials go in sealed and never come out.
struct ChannelRoutes: Sendable {
    let ledger: Ledger

    func add(to group: RouterGroup<GatewayContext>) {
        group.put("clients/:id/channels/:platform") { try await connect($0, $1) }
        group.delete("clients/:id/channels/:platform") { try await disconnect($0, $1) }
    }

    private func target(_ context: GatewayContext) throws -> (client: LogPosition, platform: Platform) {
        guard let client = ledger.ids.decode(.client, try context.parameter("id")),
            let platform = Platform(name: try context.parameter("platform"))
        else { throw GatewayError(.notFound, "there is no such client or platform") }
        return (client, platform)
    }

    private func connect(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (client, platform) = try target(context)
        let connection = try ChannelForm(platform, try await request.fields())
        guard try await ledger.read({ $0.clients[client] }) != nil else {
            throw GatewayError(.notFound, "there is no such client")
        }
        var event = ChannelConnected()
        event.platform = platform
        event.account = try ledger.hash(client, connection.domain, connection.account)
        event.segmentsPerSecond = connection.perSecond
        if platform != .sms { event.route = ledger.route(platform, connection.routed) }
        let committed = try await ledger.commit { [event] state, _ in
            if state.clients[client] == nil { throw Refusal(.notFound, "there is no such client") }
            if let owner = state.clients.routes[event.route], owner != client {
                throw Refusal(.accountInUse, "this account is connected to another client; disconnect it there first")
            }
            let new = NewEvent(
                .channelConnected(event),
                client: client,
                bodies: [(.content, connection.secret)],
                seal: .newKey(.secret)
            )
            return ([new], ())
        }
        return Answer.json(position: committed.position) { json in
            json.string("client_id", ledger.ids.encode(.client, client))
            json.string("platform", platform.name)
            json.string("state", "connected")
        }
    }

    private func disconnect(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (client, platform) = try target(context)
        let committed = try await ledger.commit { state, _ in
            guard state.clients[client]?.channels[platform] != nil else {
                throw Refusal(.notFound, "\(platform.name) is not connected")
            }
            var event = ChannelDisconnected()
            event.platform = platform
            return ([NewEvent(.channelDisconnected(event), client: client)], ())
        }
        return Answer.empty(position: committed.position)
    }
}
