import Log
import Projections

/// What a send request wants to say, checked for form: exactly one of text, media, template, reaction and typing.
struct SendContentForm: Sendable {
    static let urlMax = 2048
    static let captionMax = 1024
    static let templateMax = 128 << 10

    private static let mediaTypes: Set<String> = ["image", "video", "audio", "document", "sticker"]
    private static let contents = ["text", "media_url", "template_name", "reaction", "typing"]

    private(set) var content: SendContent
    /// The message of ours that a reaction is to, or that this one answers.
    let refersTo: String?

    /// - Parameter body: the whole request, from which a template's components are taken byte for byte.
    init(_ fields: JSONFields, body: [UInt8]) throws {
        let given = SendContentForm.contents.filter { fields.has($0) }
        guard given.count <= 1, let name = given.first else {
            throw fields.wrong(
                given.dropFirst().first ?? "text",
                "the one content of the message: \(SendContentForm.list)"
            )
        }
        content = SendContent()
        switch name {
        case "media_url": try SendContentForm.media(fields, &content)
        case "template_name": try SendContentForm.template(fields, body, &content)
        case "reaction": try SendContentForm.reaction(fields, &content)
        case "typing":
            content.kind = .typing
            content.isTyping = try fields.bool("typing") ?? false
        default: content.text = try fields.require("text")
        }
        try SendContentForm.refuseStrays(fields, name)
        content.replyTo = try fields.string("reply_to") ?? ""
        content.isByHuman = try fields.bool("human_agent") ?? false
        guard content.replyTo.isEmpty || content.kind.isMessage else {
            throw fields.wrong("reply_to", "left out: only a message can answer another")
        }
        refersTo = content.kind == .reaction ? content.reactionTo : content.replyTo.isEmpty ? nil : content.replyTo
    }

    private static var list: String { contents.joined(separator: ", ") }

    /// Options of another content than the one that is given.
    private static func refuseStrays(_ fields: JSONFields, _ given: String) throws {
        let options: [(of: String, names: Set<String>)] = [
            ("media_url", ["media_type", "caption", "filename"]),
            ("template_name", ["template_language", "template_components"]),
        ]
        for option in options where option.of != given {
            if let stray = fields.first(in: option.names) {
                throw fields.wrong(stray, "given with \(option.of) only")
            }
        }
    }

    private static func media(_ fields: JSONFields, _ content: inout SendContent) throws {
        let url = try fields.require("media_url")
        guard url.hasPrefix("https://") || url.hasPrefix("http://"), url.utf8.count <= urlMax,
            url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { throw fields.wrong("media_url", "an http or https URL of at most \(urlMax) bytes") }
        let type = try fields.require("media_type")
        guard mediaTypes.contains(type) else {
            throw fields.wrong("media_type", "image, video, audio, document or sticker")
        }
        content.kind = .media
        content.mediaURL = url
        content.mediaType = type
        content.caption = try fields.string("caption") ?? ""
        content.filename = try fields.string("filename") ?? ""
        guard content.caption.count <= captionMax else {
            throw fields.wrong("caption", "at most \(captionMax) characters long")
        }
        guard content.filename.utf8.count <= 255 else { throw fields.wrong("filename", "at most 255 bytes long") }
    }

    private static func template(_ fields: JSONFields, _ body: [UInt8], _ content: inout SendContent) throws {
        content.kind = .template
        content.templateName = try fields.require("template_name")
        content.templateLanguage = try fields.require("template_language")
        guard content.templateName.utf8.count <= 512, content.templateLanguage.utf8.count <= 16 else {
            throw fields.wrong("template_name", "the name of a template, and template_language its language")
        }
        guard let components = ProviderJSON(body)?["template_components"] else { return }
        guard components.isArray, components.raw.count <= templateMax else {
            throw fields.wrong("template_components", "a list of at most \(templateMax) bytes")
        }
        content.templateComponents = components.raw
    }

    private static func reaction(_ fields: JSONFields, _ content: inout SendContent) throws {
        guard let reaction = try fields.object("reaction") else { throw fields.wrong("reaction", "an object") }
        try reaction.allow(["message_id", "emoji"])
        content.kind = .reaction
        content.reactionTo = try reaction.require("message_id")
        content.emoji = try reaction.string("emoji") ?? ""
        guard content.emoji.utf8.count <= 64 else {
            throw reaction.wrong("emoji", "one emoji, or empty to take it back")
        }
    }
}

extension SendContent {
    /// Why a platform cannot carry this; nil when it can.
    func refusal(on platform: Platform) -> Refusal? {
        if platform == .sms, !replyTo.isEmpty { return unsupported("reply_to", platform) }
        if platform == .sms || platform == .whatsapp, isByHuman { return unsupported("human_agent", platform) }
        return contentRefusal(on: platform)
    }

    private func contentRefusal(on platform: Platform) -> Refusal? {
        switch kind {
        case .text: return textMax(platform).flatMap { tooLong($0) }
        case .media:
            let isShown = platform == .sms || (platform == .whatsapp && mediaType != "audio" && mediaType != "sticker")
            return caption.isEmpty || isShown ? nil : unsupported("caption", platform)
        case .template: return platform == .whatsapp ? nil : unsupported("template_name", platform)
        case .reaction: return platform == .sms ? unsupported("reaction", platform) : nil
        case .typing:
            if platform == .whatsapp, !isTyping {
                return Refusal(
                    .unsupportedChannel,
                    "over whatsapp typing ends by itself, on the reply or after 25 seconds",
                    field: "typing"
                )
            }
            return platform == .sms ? unsupported("typing", platform) : nil
        }
    }

    /// What each platform counts, and how much of it a text may have.
    private func textMax(_ platform: Platform) -> (count: Int, max: Int, unit: String)? {
        switch platform {
        // Twilio counts characters of the UTF-16 form.
        case .sms: (text.utf16.count, 1600, "characters")
        case .facebook: (text.utf16.count, 2000, "characters")
        case .instagram: (text.utf8.count, 1000, "bytes")
        case .whatsapp: (text.utf16.count, 4096, "characters")
        }
    }

    private func tooLong(_ text: (count: Int, max: Int, unit: String)) -> Refusal? {
        guard text.count > text.max else { return nil }
        return Refusal(.invalidRequest, "text must be at most \(text.max) \(text.unit) long", field: "text")
    }

    private func unsupported(_ field: String, _ platform: Platform) -> Refusal {
        Refusal(.unsupportedChannel, "\(field) is not available over \(platform.name)", field: field)
    }
}
