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
        guard platform == .sms else {
            throw GatewayError(.unsupportedChannel, "this version connects sms only", field: "platform")
        }
        let fields = try await request.fields()
        let (credentials, rate) = try ChannelRoutes.twilio(fields)
        guard try await ledger.read({ $0.clients[client] }) != nil else {
            throw GatewayError(.notFound, "there is no such client")
        }
        let address = credentials.fromPhone.isEmpty ? credentials.messagingServiceSID : credentials.fromPhone
        var event = ChannelConnected()
        event.platform = .sms
        event.account = try ledger.hash(client, .smsAccount, address)
        event.segmentsPerSecond = rate
        let committed = try await ledger.commit { [event] _, _ in
            let new = NewEvent(
                .channelConnected(event),
                client: client,
                bodies: [(.content, credentials.json)],
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

    private static func twilio(_ fields: JSONFields) throws -> (TwilioCredentials, UInt64) {
        try fields.allow(["account_sid", "auth_token", "from_phone", "messaging_service_sid", "segments_per_second"])
        var credentials = TwilioCredentials()
        credentials.accountSID = try fields.require("account_sid")
        credentials.authToken = try fields.require("auth_token")
        credentials.fromPhone = try fields.string("from_phone") ?? ""
        credentials.messagingServiceSID = try fields.string("messaging_service_sid") ?? ""
        let isSID = credentials.accountSID.utf8.allSatisfy { (48...57).contains($0) || (65...90).contains($0 & 0xDF) }
        guard isSID, credentials.accountSID.utf8.count <= 64 else {
            throw fields.wrong("account_sid", "letters and digits, like AC0123…")
        }
        guard credentials.fromPhone.isEmpty != credentials.messagingServiceSID.isEmpty else {
            throw fields.wrong("from_phone", "given, or messaging_service_sid instead of it")
        }
        guard credentials.fromPhone.isEmpty || PhoneNumber.isSender(credentials.fromPhone) else {
            throw fields.wrong("from_phone", "a number in E.164 form or a short code")
        }
        let rate = try fields.integer("segments_per_second", in: 0...10_000) ?? 0
        return (credentials, UInt64(rate))
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
