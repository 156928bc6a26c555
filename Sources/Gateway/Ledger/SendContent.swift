import Log
import Projections

/// The sealed content of an outbound message, as the client asked for it.
struct SendContent: Sendable {
    enum Kind: String, Sendable {
        case text
        case media
        case template
        case reaction
        case typing

        /// Whether the customer gets a message, and not a sign about one.
        var isMessage: Bool { self == .text || self == .media || self == .template }
    }

    var kind = Kind.text
    var text = ""
    var mediaURL = ""
    var mediaType = ""
    var caption = ""
    var filename = ""
    var templateName = ""
    var templateLanguage = ""
    /// A JSON array as the client gave it, or empty.
    var templateComponents: [UInt8] = []
    /// Our id of the message that the reaction is to.
    var reactionTo = ""
    var emoji = ""
    var isTyping = false
    /// Our id of the message that this one answers.
    var replyTo = ""
    /// The customer's address, where the client named one and not the conversation.
    var recipient = ""
    var isByHuman = false
    /// JSON object, or empty.
    var metadata: [UInt8] = []
    var idempotencyKey = ""

    init() {}

    /// The name that events and the API use.
    var type: String { kind == .media ? mediaType : kind.rawValue }

    var json: [UInt8] {
        JSONWriter.object { json in
            json.string("kind", kind.rawValue)
            writeContent(&json)
            json.string("idempotency_key", idempotencyKey)
            if !recipient.isEmpty { json.string("recipient", recipient) }
            if !metadata.isEmpty { json.string("metadata", String(decoding: metadata, as: UTF8.self)) }
        }
    }

    /// Everything that the message says, in one unambiguous form.
    func writeContent(_ json: inout JSONWriter) {
        switch kind {
        case .text: json.string("text", text)
        case .media: writeMedia(&json)
        case .template:
            json.string("template_name", templateName)
            json.string("template_language", templateLanguage)
            if !templateComponents.isEmpty {
                json.string("template_components", String(decoding: templateComponents, as: UTF8.self))
            }
        case .reaction:
            json.string("reaction_to", reactionTo)
            json.string("emoji", emoji)
        case .typing: json.bool("typing", isTyping)
        }
        if !replyTo.isEmpty { json.string("reply_to", replyTo) }
        if isByHuman { json.bool("human_agent", true) }
    }

    /// Under the names of the request, for who reads the message later. `text` and `reply_to` every message has in one place.
    func writeRequest(_ json: inout JSONWriter) {
        switch kind {
        case .text: break
        case .media: writeMedia(&json)
        case .template:
            json.string("template_name", templateName)
            json.string("template_language", templateLanguage)
            if !templateComponents.isEmpty { json.raw("template_components", templateComponents) }
        case .reaction:
            json.object("reaction") { json in
                json.string("message_id", reactionTo)
                json.string("emoji", emoji)
            }
        case .typing: json.bool("typing", isTyping)
        }
    }

    private func writeMedia(_ json: inout JSONWriter) {
        json.string("media_url", mediaURL)
        json.string("media_type", mediaType)
        if !caption.isEmpty { json.string("caption", caption) }
        if !filename.isEmpty { json.string("filename", filename) }
    }

    init(_ fields: JSONFields) throws {
        func text(_ name: String) throws -> String { try fields.string(name) ?? "" }
        // Messages of earlier versions, and those sent outside Waybill, name no kind.
        kind = Kind(rawValue: try text("kind")) ?? .text
        self.text = try text("text")
        mediaURL = try text("media_url")
        mediaType = try text("media_type")
        caption = try text("caption")
        filename = try text("filename")
        templateName = try text("template_name")
        templateLanguage = try text("template_language")
        templateComponents = [UInt8](try text("template_components").utf8)
        reactionTo = try text("reaction_to")
        emoji = try text("emoji")
        isTyping = try fields.bool("typing") ?? false
        replyTo = try text("reply_to")
        isByHuman = try fields.bool("human_agent") ?? false
        idempotencyKey = try text("idempotency_key")
        recipient = try text("recipient")
        metadata = [UInt8](try text("metadata").utf8)
    }
}

extension Ledger {
    /// What events about a sent message need of it.
    func sentBody(_ message: LogPosition) throws -> SentBody {
        do {
            return SentBody(seal: .sameAs(try keyReference(at: message)), metadata: try sendContent(message).metadata)
        } catch let error as GatewayError where error == .purged {
            return SentBody(seal: .newKey(.message), metadata: [])
        }
    }

    /// The same for an outcome, which must be put on record although the message itself is damaged.
    func readableSentBody(_ message: LogPosition) -> SentBody {
        (try? sentBody(message)) ?? SentBody(seal: .newKey(.message), metadata: [])
    }

    func sendContent(_ message: LogPosition) throws -> SendContent {
        try SendContent(try JSONFields(try body(at: message, .content) ?? []))
    }
}
