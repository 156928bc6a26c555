import HTTPTypes
import Hummingbird
import Log
import Projections

/// `POST /v1/send`: the one way out to customers.
struct SendRoutes: Sendable {
    static let waitMax = 30
    private static let idempotencyKey = HTTPField.Name("Idempotency-Key")
    private static let prefer = HTTPField.Name("Prefer")

    let ledger: Ledger
    let live: LiveSettings

    func add(to group: Routes) {
        group.post("send") { try await send($0, $1) }
    }

    private func send(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        let body = try await request.bytes(limit: 256 << 10)
        let fields = try JSONFields(body)
        let header = SendRoutes.idempotencyKey.flatMap { request.headers[$0] }
        let form = try SendForm(fields, body: body, idempotencyHeader: header)
        let wanted = try command(form, client)
        let committed = try await ledger.commit { state, context -> ([NewEvent], SendDecision) in
            let decision = state.decide(wanted, context)
            switch decision {
            case .accepted(let events, _): return (events, decision)
            case .replayed: return ([], decision)
            case .refused(_, let events): return (events, decision)
            }
        }
        switch committed.value {
        case .refused(let refusal, _): throw refusal
        case .replayed(let message):
            let record = try ledger.event(at: message)
            let accepted = Accepted(message: message, conversation: record.conversation, time: record.time)
            return try await answer(accepted, form, request, context, replayed: true)
        case .accepted(_, let conversation):
            let accepted = Accepted(message: committed.position, conversation: conversation, time: committed.time)
            return try await answer(accepted, form, request, context, replayed: false)
        }
    }

    private func command(_ form: SendForm, _ client: ClientRow) throws -> SendRequest {
        let now = ledger.now
        let recipient: SendRequest.Recipient
        switch form.recipient {
        case .conversation(let id):
            // An id that is not ours cannot be told from one that is somebody else's.
            recipient = .conversation(ledger.ids.decode(.conversation, id) ?? .zero)
        case .phone(let phone):
            recipient = .phone(try ledger.customerHash(client.id, form.platform ?? .sms, phone), phone)
        case .platformUser(let user):
            let platforms = form.platform.map { [$0] } ?? [.facebook, .instagram, .whatsapp]
            let hashes = try platforms.map { ($0, try ledger.customerHash(client.id, $0, user)) }
            recipient = .platformUser(Dictionary(uniqueKeysWithValues: hashes))
        }
        let content = form.content
        var request = SendRequest(
            client: client.id,
            platform: form.platform,
            recipient: recipient,
            kind: content.type,
            content: content.json,
            key: try ledger.hash(client.id, .idempotencyKey, form.idempotencyKey),
            fingerprint: try ledger.hash(client.id, .requestFingerprint, form.canonical),
            keyExpiresAt: now.advanced(bySeconds: live[\.idempotencyRetention]),
            expiresAt: form.expiresAt ?? Timestamp(0),
            segments: UInt64(SMSEncoding(of: content.text).segments),
            usageMonth: UsageMonth.of(now, timeZone: client.timeZone),
            queueMax: live[\.queueMax]
        )
        for platform in Platform.allCases { request.unsupported[platform] = content.refusal(on: platform) }
        // An id that is not ours is that of no message in the conversation.
        request.refersTo = form.refersTo.map { ledger.ids.decode(.message, $0) ?? .zero }
        try find(form, &request)
        request.isTemplate = content.kind == .template
        request.isByHuman = content.isByHuman
        return request
    }

    /// What earlier versions of Waybill may have kept the recipient by.
    private func find(_ form: SendForm, _ request: inout SendRequest) throws {
        switch request.recipient {
        case .conversation(let id): request.earlierAddresses = try ledger.earlierAddresses(of: id, request.client)
        case .phone, .platformUser:
            for platform in [Platform.sms, .whatsapp] where form.platform == nil || form.platform == platform {
                let earlier = try ledger.earlier(request.client, platform, [form.recipient.address])
                request.earlierAddresses += earlier.addresses
                request.earlierConversation = request.earlierConversation ?? earlier.conversation
            }
        }
    }

    /// Where an accepted message stands in the log: all that its answer is made of.
    private struct Accepted {
        let message: LogPosition
        let conversation: LogPosition
        let time: Timestamp
    }

    private func answer(
        _ accepted: Accepted,
        _ form: SendForm,
        _ request: Request,
        _ context: GatewayContext,
        replayed: Bool
    ) async throws -> Response {
        let message = accepted.message
        let platform = ledger.plan { $0.inbox.messages[message]?.platform } ?? .sms
        var status = MessageStatus.queued
        var code = HTTPResponse.Status.accepted
        if let seconds = SendRoutes.waitSeconds(request) {
            status = try await settled(message, seconds: seconds, try context.waitingCaller(hasActed: true))
            if status != .queued, status != .sending { code = .ok }
        }
        var response = Answer.json(code, position: message) { json in
            json.string("message_id", ledger.ids.encode(.message, message))
            json.string("conversation_id", ledger.ids.encode(.conversation, accepted.conversation))
            json.string("platform", platform.name)
            json.string("status", code == .ok ? status.name : MessageStatus.queued.name)
            json.string("idempotency_key", form.idempotencyKey)
            json.time("created_at", accepted.time)
            json.number("position", message.rawValue)
        }
        if replayed, let name = Answer.replayed { response.headers[name] = "true" }
        return response
    }

    /// `Prefer: wait=N` (RFC 7240), N at most 30.
    static func waitSeconds(_ request: Request) -> Int? {
        guard let header = prefer.flatMap({ request.headers[$0] }) else { return nil }
        for part in header.split(separator: ",") {
            let pair = part.split(separator: "=").map { String($0).trimmingSpaces }
            if pair.count == 2, pair[0].lowercased() == "wait", let seconds = Int(pair[1]), seconds > 0 {
                return min(seconds, waitMax)
            }
        }
        return nil
    }

    /// Waits until the provider has answered, or the time is over; never longer because of a slow disk.
    private func settled(
        _ message: LogPosition,
        seconds: Int,
        _ caller: WaitingCaller
    ) async throws -> MessageStatus {
        try await ledger.wait(
            for: .message(message),
            caller,
            atMost: .seconds(seconds),
            { $0.inbox.messages[message]?.status ?? .queued },
            until: { $0 != .queued && $0 != .sending }
        )
    }
}
