package import Projections

/// Calls that send over Meta's Graph API, without sockets. Facts: `reference/channels.md` sections C.2, D.3 and E.3.
package enum GraphRequest {
    /// The one that the forms below are written for.
    static let version = "v25.0"

    /// The call for a message. Nil where the platform has none: SMS is not Meta's, only WhatsApp has templates, and
    /// WhatsApp shows typing by marking a message as read, so it can neither end it nor show it without such a message.
    /// No caller asks for these: they are refused or dropped before.
    ///
    /// - Parameter baseURL: Without a slash at its end. Instagram Login has a host of its own, which the caller picks.
    package static func request(
        _ platform: Platform,
        _ credentials: MetaCredentials,
        _ message: OutgoingMessage,
        baseURL: String
    ) -> OutgoingRequest? {
        guard let json = body(platform, message) else { return nil }
        // Both kinds of Instagram token name their account themselves.
        let sender = platform == .instagram ? "me" : credentials.accountID
        var request = OutgoingRequest(
            method: "POST",
            url: "\(baseURL)/\(version)/\(sender)/messages",
            headers: [
                ("Authorization", credentials.bearer), ("Content-Type", "application/json"),
                ("Accept", "application/json"), ("User-Agent", "Waybill/\(WaybillVersion.current)"),
            ],
            body: json,
            timeout: .seconds(30),
            connectTimeout: .seconds(10),
            atMostOnce: true
        )
        request.bodyWait = ProviderAnswer.bodyWait
        return request
    }

    private static func body(_ platform: Platform, _ message: OutgoingMessage) -> [UInt8]? {
        switch platform {
        case .facebook, .instagram: direct(message)
        case .whatsapp: whatsApp(message)
        case .sms: nil
        }
    }

    // MARK: Messenger and Instagram

    private static func direct(_ message: OutgoingMessage) -> [UInt8]? {
        switch message.content {
        case .text(let text):
            return directMessage(message) { json in json.string("text", text) }
        case .media(let media):
            return directMessage(message) { json in attachment(media, &json) }
        case .reaction(let target, let emoji):
            return reaction(message, target: target, emoji: emoji)
        case .typing(let isOn, _):
            return senderAction(message, isOn ? "typing_on" : "typing_off") { _ in }
        case .template:
            return nil
        }
    }

    /// The tag, like the messaging type, belongs to a message; sender actions know neither.
    private static func directMessage(
        _ message: OutgoingMessage,
        _ content: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        JSONWriter.object { json in
            json.object("recipient") { json in json.string("id", message.recipient) }
            json.string("messaging_type", message.isByHuman ? "MESSAGE_TAG" : "RESPONSE")
            if message.isByHuman { json.string("tag", "HUMAN_AGENT") }
            json.object("message") { json in
                content(&json)
                json.string("metadata", message.ourID)
            }
            if !message.replyTo.isEmpty {
                json.object("reply_to") { json in json.string("mid", message.replyTo) }
            }
        }
    }

    /// An attachment has no room for a caption here, so the form refuses one before it comes this far.
    private static func attachment(_ media: OutgoingMessage.Media, _ json: inout JSONWriter) {
        json.object("attachment") { json in
            json.string("type", attachmentType(media.type))
            json.object("payload") { json in
                json.string("url", media.url)
                json.bool("is_reusable", false)
            }
        }
    }

    private static func attachmentType(_ type: String) -> String {
        switch type {
        case "document": "file"
        case "sticker": "image"
        default: type
        }
    }

    private static func reaction(_ message: OutgoingMessage, target: String, emoji: String) -> [UInt8] {
        senderAction(message, emoji.isEmpty ? "unreact" : "react") { json in
            json.object("payload") { json in
                json.string("message_id", target)
                if !emoji.isEmpty { json.string("reaction", emoji) }
            }
        }
    }

    private static func senderAction(
        _ message: OutgoingMessage,
        _ action: String,
        _ payload: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        JSONWriter.object { json in
            json.object("recipient") { json in json.string("id", message.recipient) }
            json.string("sender_action", action)
            payload(&json)
        }
    }

    // MARK: WhatsApp

    private static func whatsApp(_ message: OutgoingMessage) -> [UInt8]? {
        switch message.content {
        case .text(let text):
            return whatsAppMessage(message, "text") { json in json.string("body", text) }
        case .media(let media):
            return whatsAppMessage(message, media.type) { json in link(media, &json) }
        case .template(let template):
            return whatsAppMessage(message, "template") { json in filled(template, &json) }
        case .reaction(let target, let emoji):
            return whatsAppMessage(message, "reaction") { json in
                json.string("message_id", target)
                json.string("emoji", emoji)
            }
        case .typing(let isOn, let lastInbound):
            return isOn && !lastInbound.isEmpty ? typing(lastInbound) : nil
        }
    }

    /// - Parameter type: Also the name of the member that holds the content.
    private static func whatsAppMessage(
        _ message: OutgoingMessage,
        _ type: String,
        _ content: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        JSONWriter.object { json in
            json.string("messaging_product", "whatsapp")
            json.string("recipient_type", "individual")
            whatsAppRecipient(message.recipient, &json)
            json.string("type", type)
            json.key(dynamic: type)
            json.object(content)
            // A reaction names its message itself and must not quote another.
            if !message.replyTo.isEmpty, type != "reaction" {
                json.object("context") { json in json.string("message_id", message.replyTo) }
            }
            json.string("biz_opaque_callback_data", message.ourID)
        }
    }

    private static func whatsAppRecipient(_ recipient: String, _ json: inout JSONWriter) {
        if WhatsAppAddress.isScopedID(recipient) {
            json.string("recipient", recipient)
        } else {
            json.string("to", recipient.hasPrefix("+") ? String(recipient.dropFirst()) : recipient)
        }
    }

    private static func link(_ media: OutgoingMessage.Media, _ json: inout JSONWriter) {
        json.string("link", media.url)
        if !media.caption.isEmpty, media.type != "audio", media.type != "sticker" {
            json.string("caption", media.caption)
        }
        if !media.filename.isEmpty, media.type == "document" { json.string("filename", media.filename) }
    }

    private static func filled(_ template: OutgoingMessage.Template, _ json: inout JSONWriter) {
        json.string("name", template.name)
        json.object("language") { json in
            json.string("code", template.language)
            json.string("policy", "deterministic")
        }
        if !template.components.isEmpty { json.raw("components", template.components) }
    }

    private static func typing(_ lastInbound: String) -> [UInt8] {
        JSONWriter.object { json in
            json.string("messaging_product", "whatsapp")
            json.string("status", "read")
            json.string("message_id", lastInbound)
            json.object("typing_indicator") { json in json.string("type", "text") }
        }
    }
}
