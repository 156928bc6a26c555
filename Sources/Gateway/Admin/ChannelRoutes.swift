import Hummingbird
import Log
import Projections

/// Connections of clients to providers, for operators. Credentials go in sealed and never come out.
struct ChannelRoutes: Sendable {
    let ledger: Ledger
    let signups: SignupDesk

    func add(to group: Routes) {
        group.put("clients/:id/channels/:platform") { try await connect($0, $1) }
        group.delete("clients/:id/channels/:platform") { try await disconnect($0, $1) }
    }

    private func target(_ context: GatewayContext) async throws -> (client: LogPosition, platform: Platform) {
        guard let client = ledger.ids.decode(.client, try context.parameter("id")),
            try await ledger.read({ $0.clients[client] }) != nil
        else { throw GatewayError(.notFound, "there is no such client") }
        guard let platform = Platform(name: try context.parameter("platform")) else {
            throw GatewayError(.notFound, "there is no such platform")
        }
        return (client, platform)
    }

    private func connect(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (client, platform) = try await target(context)
        let connection = try ChannelForm(platform, try await request.fields())
        var event = ChannelConnected()
        event.platform = platform
        event.actor = ledger.name(context.actor)
        event.account = try ledger.hash(client, connection.domain, connection.account)
        event.segmentsPerSecond = connection.perSecond
        if platform != .sms { event.route = ledger.route(platform, connection.routed) }
        let position: LogPosition
        switch connection.access {
        case .credentials(let secret):
            position = try await store(try await keepingPIN(secret, platform, client), event, client)
        case .signup(let signup): position = try await signUp(signup, event, client)
        }
        return Answer.json(position: position) { json in
            json.string("client_id", ledger.ids.encode(.client, client))
            json.string("platform", platform.name)
            json.string("state", "connected")
        }
    }

    private func store(_ secret: [UInt8], _ event: ChannelConnected, _ client: LogPosition) async throws -> LogPosition
    {
        let committed = try await ledger.commit { state, context in
            _ = try ChannelRoutes.admit(state.clients, client, event.route)
            let new = NewEvent(
                .channelConnected(event),
                client: client,
                bodies: [SealedPart(.content, secret)],
                seal: .newKey(.secret)
            )
            return ([new] + state.released(by: new, context), ())
        }
        return committed.position
    }

    /// The client, if the account may become its own.
    private static func admit(
        _ clients: ClientDirectory,
        _ client: LogPosition,
        _ route: LookupHash
    ) throws(Refusal) -> ClientRow {
        guard let row = clients[client] else { throw Refusal(.notFound, "there is no such client") }
        if let owner = clients.routes[route], owner != client {
            throw Refusal(.accountInUse, "this account is connected to another client; disconnect it there first")
        }
        return row
    }

    // MARK: Embedded Signup

    private func signUp(
        _ signup: EmbeddedSignup,
        _ event: ChannelConnected,
        _ client: LogPosition
    ) async throws -> LogPosition {
        try signups.begin(client, event.route)
        defer { signups.end(client) }
        // A code is good for one attempt, so all that can be refused is refused before it is used.
        _ = try signups.requireApp()
        let row = try await ledger.read { state in try ChannelRoutes.admit(state.clients, client, event.route) }
        guard row.planIncludesPhone else {
            throw Refusal(.planRequired, "WhatsApp needs the professional or business plan")
        }
        try ledger.log.admitEdge()
        let pin = try await registrationPIN(signup, client)
        let grant = try await signups.carryOut(signup, for: client, pin: pin)
        var credentials = MetaCredentials()
        credentials.accountID = signup.phoneNumberID
        credentials.businessAccountID = signup.businessAccountID
        credentials.accessToken = grant.token
        // A number keeps the PIN that it was registered with, also where Meta was not asked to register it again.
        credentials.pin = grant.pin.isEmpty ? await knownPIN(signup.phoneNumberID, client) : grant.pin
        let position = try await store(credentials.json, event, client)
        signups.forget(signup, of: client)
        return position
    }

    /// What the operator gave, else what the number was registered with when it was connected last, else six digits that
    /// are made of the client's own key: a repeat after a lost answer must come with the PIN that was set the first time.
    private func registrationPIN(_ signup: EmbeddedSignup, _ client: LogPosition) async throws -> String {
        if !signup.pin.isEmpty { return signup.pin }
        let known = await knownPIN(signup.phoneNumberID, client)
        if !known.isEmpty { return known }
        return EmbeddedSignup.makePIN(try ledger.hash(client, .whatsAppPIN, signup.phoneNumberID).high)
    }

    /// The PIN that the number was registered with when it was connected last; empty when it was not, or that cannot be read:
    /// no reason not to replace a credential.
    private func knownPIN(_ number: String, _ client: LogPosition) async -> String {
        let current = try? await ledger.current({ $0.clients[client]?.channels[.whatsapp] }, secretAt: \.position)
        guard let current, let known = try? MetaCredentials(current.secret), known.accountID == number else {
            return ""
        }
        return known.pin
    }

    /// A new token of the same number does not change its PIN, which nobody else may know any more.
    private func keepingPIN(_ secret: [UInt8], _ platform: Platform, _ client: LogPosition) async throws -> [UInt8] {
        guard platform == .whatsapp else { return secret }
        var credentials = try MetaCredentials(secret)
        credentials.pin = await knownPIN(credentials.accountID, client)
        return credentials.json
    }

    private func disconnect(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (client, platform) = try await target(context)
        var event = ChannelDisconnected()
        event.platform = platform
        event.actor = ledger.name(context.actor)
        let committed = try await ledger.commit { [event] state, _ in
            guard state.clients[client]?.channels[platform] != nil else {
                throw Refusal(.notFound, "\(platform.name) is not connected")
            }
            return ([NewEvent(.channelDisconnected(event), client: client)], ())
        }
        return Answer.empty(position: committed.position)
    }
}
