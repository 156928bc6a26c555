import HTTPTypes
import Hummingbird
import Log
import Logging
import Projections

/// Twilio's webhooks: verify, adapt, append, answer only when it is on disk.
struct TwilioRoutes: Sendable {
    private static let bodyMax = 1 << 20

    let ledger: Ledger
    let publicURL: @Sendable () -> String
    let metrics: GatewayMetrics
    let logger: Logger

    func add(to router: Routes) {
        for method in [HTTPRequest.Method.post, .get] {
            router.on(method, "/channels/twilio/:client/sms", query: .any) { try await inbound($0, $1) }
            router.on(method, "/channels/twilio/:client/status", query: .any) { try await status($0, $1) }
        }
    }

    /// Empty TwiML. Plain text would be sent to the customer as a reply.
    static func accepted() -> Response {
        Answer.text(.ok, "text/xml; charset=utf-8", "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response></Response>")
    }

    private func inbound(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (client, credentials, form, raw) = try await verified(request, context)
        // It asks what GET would answer; nothing may come of it.
        guard request.method != .head else { return TwilioRoutes.accepted() }
        guard let inbound = TwilioChannel.inbound(form) else {
            try await recordUnrecognized(client, raw, about: .zero, from: form["From"])
            return TwilioRoutes.accepted()
        }
        guard TwilioChannel.isMeant(inbound, for: credentials) else {
            metrics.count("waybill_inbound_items_foreign_total")
            let name = ledger.ids.encode(.client, client)
            logger.warning("an SMS to a number that is not the client's was refused", metadata: ["client": "\(name)"])
            try await recordUnrecognized(client, raw, about: .zero, from: inbound.from)
            return TwilioRoutes.accepted()
        }
        let message = try adapt(inbound, client, credentials, raw)
        _ = try await ledger.commit { [ids = ledger.ids] state, context in
            (state.decide(message, ids: ids, context), ())
        }
        return TwilioRoutes.accepted()
    }

    private func adapt(
        _ inbound: TwilioChannel.Inbound,
        _ client: LogPosition,
        _ credentials: TwilioCredentials,
        _ raw: [UInt8]
    ) throws -> InboundMessage {
        let own = TwilioOwnSide(inbound, credentials)
        var message = InboundMessage(
            client: client,
            platform: .sms,
            duplicateKey: try ledger.hash(client, .twilioMessage, credentials.accountSID + "/" + inbound.messageSID),
            customer: try ledger.customerHash(client, .sms, inbound.from),
            account: own.isAnswering ? try ledger.hash(client, .smsAccount, own.phone) : .absent
        )
        (message.earlierAddresses, message.earlierConversation) = try ledger.earlier(client, .sms, [inbound.from])
        message.identifiers.phone = inbound.from
        message.identifiers.accountPhone = own.phone
        message.identifiers.accountID = own.id
        message.content.via = inbound.via
        message.content.platformMessageID = inbound.messageSID
        message.content.kind = inbound.media.first?.type ?? "text"
        message.content.text = inbound.text
        message.content.media = inbound.media
        message.content.encoding = SMSEncoding(of: inbound.text).alphabet.rawValue
        message.content.segments = inbound.segments
        message.consent = TwilioChannel.consent(inbound)
        message.providerBytes = raw
        return message
    }

    /// Verified but of a shape we do not know: kept, so that nothing a provider tells us is lost.
    ///
    /// - Parameters:
    ///   - message: what it is about, whose key and fate it then shares; zero when nobody knows.
    ///   - customer: whose conversation it belongs to otherwise.
    private func recordUnrecognized(
        _ client: LogPosition,
        _ raw: [UInt8],
        about message: LogPosition,
        from customer: String?
    ) async throws {
        let hash = try ledger.hash(client, .twilioMessage, raw)
        let customer = try customer.map { try ledger.customerHash(client, .sms, $0) }
        let reference = message == .zero ? nil : try ledger.keyReference(at: message)
        _ = try await ledger.commit { state, _ in
            let found = UnrecognizedEvent(
                client: client,
                platform: .sms,
                duplicateKey: hash,
                message: message,
                key: reference,
                customer: customer,
                providerBytes: raw
            )
            return (state.decide(found), ())
        }
    }

    private func status(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let (client, credentials, form, raw) = try await verified(request, context)
        // It asks what GET would answer; nothing may come of it.
        guard request.method != .head else { return TwilioRoutes.accepted() }
        guard let report = TwilioChannel.status(form) else {
            try await recordUnrecognized(client, raw, about: .zero, from: form["To"])
            return TwilioRoutes.accepted()
        }
        guard let message = try await message(request, client, credentials, report) else {
            try await recordUnrecognized(client, raw, about: .zero, from: form["To"])
            return TwilioRoutes.accepted()
        }
        switch report.status {
        case .raised(let status): try await raise(message, client, credentials, report, status)
        case .early: break
        case .unknown: try await recordUnrecognized(client, raw, about: message, from: nil)
        }
        return TwilioRoutes.accepted()
    }

    /// Our callback URL names the message, so that a callback is matched even when it comes before the answer to the
    /// send, or when that answer never came.
    private func message(
        _ request: Request,
        _ client: LogPosition,
        _ credentials: TwilioCredentials,
        _ report: TwilioChannel.StatusReport
    ) async throws -> LogPosition? {
        let named = request.uri.queryParameters["message"].flatMap { ledger.ids.decode(.message, $0) }
        let key = try key(client, credentials, report)
        return try await ledger.read { state in
            if let named, let row = state.inbox.messages[named], row.client == client { return named }
            return state.deduplication.sentMessage(client, key)
        }
    }

    private func key(
        _ client: LogPosition,
        _ credentials: TwilioCredentials,
        _ report: TwilioChannel.StatusReport
    ) throws -> LookupHash {
        try ledger.hash(client, .twilioMessage, credentials.accountSID + "/" + report.messageSID)
    }

    private func raise(
        _ message: LogPosition,
        _ client: LogPosition,
        _ credentials: TwilioCredentials,
        _ report: TwilioChannel.StatusReport,
        _ status: MessageStatus
    ) async throws {
        let body = try ledger.sentBody(message)
        var change = ProviderStatus(
            client: client,
            message: message,
            status: status,
            code: report.errorCode,
            platformMessageID: report.messageSID
        )
        // The answer to the call has told Twilio's id, or it never came, and then this does.
        let key = try key(client, credentials, report)
        if ledger.plan({ $0.deduplication.sentMessage(client, key) }) == nil { change.providerKey = key }
        _ = try await ledger.commit { [ids = ledger.ids, change] state, context in
            (state.decide(change, body, ids: ids, context), ())
        }
    }

    // MARK: Verification

    /// Checks the signature over exactly what came, before anything is parsed for meaning.
    private func verified(
        _ request: Request,
        _ context: GatewayContext
    ) async throws -> (LogPosition, TwilioCredentials, FormBody, [UInt8]) {
        let name = HTTPField.Name("X-Twilio-Signature")
        let signature = name.flatMap { request.headers[$0] }
        // What is certain to be refused is not read.
        try request.refuseLonger(than: TwilioRoutes.bodyMax)
        guard let client = ledger.ids.decode(.client, try context.parameter("client")),
            TwilioSignature.isForm(signature), ledger.plan({ $0.clients[client]?.channels[.sms] != nil })
        else { throw refused() }
        let target = request.head.path ?? ""
        let isForm = request.headers[.contentType]?.lowercased().hasPrefix("application/x-www-form-urlencoded") ?? false
        let isQuery = request.method == .get || request.method == .head
        let raw = isQuery ? [] : try await request.bytes(limit: TwilioRoutes.bodyMax)
        let source = isQuery ? [UInt8]((request.uri.query ?? "").utf8) : raw
        guard let credentials = try await credentials(client), let form = FormBody(source) else { throw refused() }
        let body: TwilioSignature.Body =
            isQuery ? .query : isForm ? .form(form.fields) : .raw(raw)
        let verified = TwilioSignature.verify(
            header: signature,
            tokens: [[UInt8](credentials.authToken.utf8)],
            url: publicURL() + target,
            body: body
        )
        guard verified else { throw refused() }
        return (client, credentials, form, source)
    }

    /// One answer for a wrong signature and for an unknown client, so that nobody can find out who is one.
    private func refused() -> GatewayError {
        metrics.count("waybill_invalid_signatures_total")
        return GatewayError(.invalidSignature, "the signature does not match the request and the public URL")
    }

    private func credentials(_ client: LogPosition) async throws -> TwilioCredentials? {
        let channel = try await ledger.current({ $0.clients[client]?.channels[.sms] }, secretAt: \.position)
        return try channel.map { try TwilioCredentials($0.secret) }
    }
}
