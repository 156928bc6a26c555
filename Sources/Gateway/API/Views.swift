import Log
import Projections

/// A message as the API shows it: the row, and what its records say.
struct MessageView {
    struct Step {
        let status: MessageStatus
        let at: Timestamp
        let code: String
        /// What the provider's answer began with; 0 where there was none.
        var httpStatus: UInt64 = 0
    }

    private let id: LogPosition
    private let row: Inbox.MessageRow
    /// Nil where the message's own record is damaged.
    private let createdAt: Timestamp?
    /// When the provider says that it was sent; zero where it said nothing.
    private let sentAt: Timestamp
    private let isStandby: Bool
    /// What outlives the body; nil where the record is damaged.
    private let kind: String?
    private let isEchoed: Bool
    private let sms: (encoding: String, segments: UInt64)?
    private let content: ProviderJSON?
    /// What a message of ours was asked to say.
    private let asked: SendContent?
    /// The newest wording, where the customer edited the message.
    private let edited: ProviderJSON?
    private let files: [MediaFileView]
    private var steps: [Step] = []
    private var providerMessageID: String?
    private var damage: ReadDamage
    private let isPurged: Bool

    init(_ id: LogPosition, _ row: Inbox.MessageRow, _ ledger: Ledger) throws {
        self.id = id
        self.row = row
        var damage = ReadDamage()
        let record = try damage.read { try ledger.event(at: id) }
        createdAt = record?.time
        isEchoed = record?.event.type == .messageEchoed
        (kind, sms) = record.map { MessageView.surviving($0.event) } ?? (nil, nil)
        (sentAt, isStandby) = record.map { MessageView.said($0.event) } ?? (Timestamp(0), false)
        let bytes = try record.flatMap { _ in try ledger.unpurged { try ledger.body(at: id, .content) } }
        content = bytes.flatMap { ProviderJSON($0) }
        isPurged = record == nil ? ledger.plan { $0.isPurged(id) } : content == nil
        asked = row.direction == .outbound ? try bytes.map { try SendContent(try JSONFields($0)) } : nil
        let edit = ledger.plan { $0.inbox.edits[id]?.position }
        let wording = try edit.flatMap { edit in
            try damage.read { try ledger.unpurged { try ledger.body(at: edit, .content) } } ?? nil
        }
        edited = wording.flatMap { ProviderJSON($0) }
        files = try MediaFileView.all(of: id, ledger, &damage)
        self.damage = damage
        providerMessageID = content?["platform_message_id"]?.text
        if row.direction == .outbound { try walkTrail(ledger) }
    }

    private static func surviving(_ event: Event) -> (kind: String, sms: (encoding: String, segments: UInt64)?) {
        switch event {
        case .messageReceived(let event):
            (event.kind, event.encoding.isEmpty ? nil : (event.encoding, event.segments))
        case .messageEchoed(let event): (event.kind, nil)
        case .sendAccepted(let event): (event.kind, nil)
        default: ("text", nil)
        }
    }

    private static func said(_ event: Event) -> (at: Timestamp, isStandby: Bool) {
        switch event {
        case .messageReceived(let event): (event.providerTime, event.standby)
        case .messageEchoed(let event): (event.providerTime, event.standby)
        default: (Timestamp(0), false)
        }
    }

    private mutating func walkTrail(_ ledger: Ledger) throws {
        var steps: [Step] = []
        for record in try ledger.trail(of: id, row, &damage) {
            if let told = try damage.read({ try ledger.providerMessageID(toldBy: record) }) ?? nil {
                providerMessageID = told
            }
            switch record.event {
            case .sendFinished(let event): steps += MessageView.steps(event, at: record.time)
            case .messageStatusChanged(let event):
                steps.append(Step(status: event.status, at: event.at, code: event.code))
            case .sendReconciled(let event): steps.append(Step(status: event.status, at: record.time, code: ""))
            case .sendCanceled(let event):
                steps.append(Step(status: .canceled, at: record.time, code: event.by == "client" ? "" : event.by))
            case .purgeRequested: steps.append(Step(status: .failed, at: record.time, code: "body_purged"))
            case .sendExpired: steps.append(Step(status: .failed, at: record.time, code: "expired"))
            default: break
            }
        }
        let ordered = steps.reversed().enumerated().sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }
        // What was sent outside Waybill was never queued here.
        let first: MessageStatus = isEchoed ? .sent : .queued
        self.steps = (createdAt.map { [Step(status: first, at: $0, code: "")] } ?? []) + ordered.map(\.element)
    }

    /// Newest first: what came of the call, then its start.
    private static func steps(_ event: SendFinished, at time: Timestamp) -> [Step] {
        let outcome: MessageStatus =
            switch event.outcome {
            case .accepted: .sent
            case .rejected: .failed
            case .unknown: .outcomeUnknown
            case .retryLater, .misconfigured: .queued
            }
        return [
            Step(status: outcome, at: time, code: event.code, httpStatus: event.httpStatus),
            Step(status: .sending, at: event.startedAt, code: ""),
        ]
    }

    func write(_ json: inout JSONWriter, _ ledger: Ledger) {
        json.string("id", ledger.ids.encode(.message, id))
        json.string("conversation_id", ledger.ids.encode(.conversation, row.conversation))
        json.string("platform", row.platform.name)
        json.string("direction", row.direction.name)
        writeContent(&json)
        json.bool("purged", isPurged)
        if damage.isMet { json.bool("damaged", true) }
        json.string("status", row.status.name)
        json.string("provider_message_id", providerMessageID)
        if sentAt.nanoseconds > 0 { json.time("sent_at", sentAt) }
        if isStandby { json.bool("standby", true) }
        json.time("created_at", createdAt)
        json.number("position", id.rawValue)
        if row.direction == .inbound { return }
        if !isEchoed { asked?.writeRequest(&json) }
        writeOutbound(&json)
    }

    private static let parts: [StaticString] = [
        "via", "location", "contacts", "interactive", "share", "order", "product", "story", "reply_to",
    ]

    private func writeContent(_ json: inout JSONWriter) {
        let shown = edited ?? content
        json.string("type", edited?["type"]?.text ?? kind)
        if let sms {
            json.string("encoding", sms.encoding)
            json.number("segments", sms.segments)
        }
        json.string("text", shown?["text"]?.text)
        if edited != nil { json.bool("edited", true) }
        for name in MessageView.parts {
            if let part = edited?["\(name)"] ?? content?["\(name)"] { json.raw(name, part.raw) }
        }
        let renewed = edited?["media"]?.elements ?? []
        let media = renewed.isEmpty ? content?["media"]?.elements ?? [] : renewed
        if media.isEmpty { return }
        json.array("media") { json in
            for (index, item) in media.enumerated() {
                let file = files.indices.contains(index) ? files[index] : nil
                json.element { json in json.object { MessageView.write(item, file, &$0) } }
            }
        }
    }

    /// What the provider said of a file, and what is known of it since.
    private static func write(_ item: ProviderJSON, _ file: MediaFileView?, _ json: inout JSONWriter) {
        let known = file?.mimeType.isEmpty == false ? file?.mimeType : nil
        for name in item.names where !name.hasPrefix("_") && (name != "mime_type" || known == nil) {
            json.key(dynamic: name)
            json.raw(item[name]?.raw ?? [UInt8]("null".utf8))
        }
        if let known { json.string("mime_type", known) }
        file?.write(&json)
    }

    private func writeOutbound(_ json: inout JSONWriter) {
        json.array("status_history") { json in
            for step in steps {
                json.element { json in
                    json.object { json in
                        json.string("status", step.status.name)
                        json.time("at", step.at)
                        if !step.code.isEmpty { json.string("code", step.code) }
                        if step.httpStatus > 0 { json.number("http_status", step.httpStatus) }
                    }
                }
            }
        }
        json.key("error")
        let failure = steps.last { $0.status == .failed || $0.status == .outcomeUnknown || !$0.code.isEmpty }
        let tells: Set<MessageStatus> = [.failed, .outcomeUnknown, .queued, .canceled]
        if let failure, tells.contains(row.status), row.status != .canceled || !failure.code.isEmpty {
            json.object { json in
                json.string("code", failure.code)
                json.string("message", "the provider's code; see the provider's documentation")
            }
        } else {
            json.null()
        }
        let metadata = asked?.metadata ?? []
        json.raw("metadata", metadata.isEmpty ? [UInt8]("{}".utf8) : metadata)
        json.string("idempotency_key", asked.flatMap { $0.idempotencyKey.isEmpty ? nil : $0.idempotencyKey })
    }
}

/// A conversation as the API shows it. The id of one that was joined into another shows that one.
struct ConversationView {
    private let id: LogPosition
    private let row: Inbox.ConversationRow?
    /// The referral that led the customer here first, as JSON.
    private let attribution: [UInt8]?
    /// Empty once the conversation is erased.
    private let identifiers: ConversationIdentifiers
    /// Nil where the record that opened it is damaged.
    private let createdAt: Timestamp?
    private let isDamaged: Bool

    init(_ id: LogPosition, _ row: Inbox.ConversationRow?, _ ledger: Ledger) throws {
        self.id = id
        self.row = row
        var damage = ReadDamage()
        createdAt = try damage.read { try ledger.event(at: row?.id ?? id).time }
        let known = try damage.read { try ledger.unpurged { try ledger.identifiers(id) } } ?? nil
        identifiers = known ?? ConversationIdentifiers()
        attribution = try row?.attribution.flatMap { record in
            try damage.read { try ledger.unpurged { try ledger.body(at: record, .content) } } ?? nil
        }
        isDamaged = damage.isMet
    }

    func write(_ json: inout JSONWriter, _ ledger: Ledger) {
        let writer = WebhookBody(ids: ledger.ids)
        json.string("id", ledger.ids.encode(.conversation, id))
        json.string("platform", row?.platform.name)
        json.string("status", row?.status.name)
        json.string("ticket_ref", row.flatMap { $0.ticketRef.isEmpty ? nil : $0.ticketRef })
        json.array("ticket_refs") { json in
            for ref in row?.ticketRefs ?? [] { json.element { $0.string(ref) } }
        }
        json.string(
            "joined_into",
            row.flatMap { $0.id == id ? nil : ledger.ids.encode(.conversation, $0.id) }
        )
        json.array("joined_ids") { json in
            for joined in (row?.joined ?? []).sorted() {
                json.element { $0.string(ledger.ids.encode(.conversation, joined)) }
            }
        }
        writer.customer(&json, identifiers)
        writer.account(&json, identifiers)
        json.raw("attribution", attribution ?? [UInt8]("null".utf8))
        json.number("message_count", row?.messages.count ?? 0)
        json.time("created_at", createdAt)
        json.time("updated_at", row?.lastActivity)
        json.time("last_inbound_at", row?.lastInbound)
        if isDamaged {
            json.bool("damaged", true)
            json.number("position", id.rawValue)
        }
        json.key("reachability")
        guard let row, let known = row.reachability, row.status != .erased else { return json.null() }
        json.object { json in
            json.string("code", known.code)
            json.string("reason", RecipientCode.reason(row.platform, known.code))
            json.time("since", known.since)
            json.string("message_id", ledger.ids.encode(.message, known.message))
        }
    }
}
