import Log
package import Projections

/// What a customer of the sandbox writes: `{platform, from, text, media, account}`.
package struct CustomerMessage: Sendable {
    /// A file of the largest size in Base64, and what stands around it.
    static let bodyBytesMax = 8 << 20

    package let platform: Platform
    package let from: String
    /// At Meta: whom the customer writes to; the demo client's unless another is named.
    let account: String
    package let text: String
    package let file: SandboxFile?

    /// - Parameters:
    ///   - platform: where the path says it, and so the body may not.
    ///   - others: fields of the request that are not the message's.
    package init(_ fields: JSONFields, over platform: Platform? = nil, beside others: Set<String> = []) throws {
        let anywhere = others.union(["from", "text", "media"])
        try fields.allow(platform == nil ? anywhere.union(["platform", "account"]) : anywhere)
        let named = try platform ?? Platform(in: fields)
        let file = try fields.object("media").map { media in try SandboxFile(media) }
        let text = try fields.string("text") ?? ""
        // A text over SMS may be empty.
        if text.isEmpty, file == nil, named != .sms { throw fields.wrong("text", "given where there is no media") }
        if !text.isEmpty, file != nil, named == .whatsapp {
            throw fields.wrong("text", "absent beside media over WhatsApp, which have a caption")
        }
        self.platform = named
        self.account = try fields.string("account") ?? SimulatedGraph.account(named)
        self.from = try CustomerMessage.sender(fields, named)
        self.text = text
        self.file = file
    }

    private static func sender(_ fields: JSONFields, _ platform: Platform) throws -> String {
        let from = try fields.require("from")
        if platform == .sms {
            guard PhoneNumber.isE164(from) else { throw fields.wrong("from", "a number in E.164 form") }
        } else {
            guard from.utf8.count <= 128, from.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                throw fields.wrong("from", "the customer's id: digits, for whatsapp those of a phone number")
            }
        }
        return from
    }
}

extension Platform {
    /// The member `platform`, which must be given.
    init(in fields: JSONFields) throws {
        let name = try fields.require("platform")
        guard let platform = Platform(name: name) else {
            throw fields.wrong("platform", "facebook, instagram, sms or whatsapp")
        }
        self = platform
    }
}

/// A file that a customer of the sandbox sends.
package struct SandboxFile: Sendable {
    package static let bytesMax = 5 << 20
    private static let types: Set<String> = ["image", "video", "audio", "document", "sticker"]

    /// As in the API; what a provider calls it is the provider's business.
    package let type: String
    package let mimeType: String
    /// Both are left out where a provider has no place for them.
    package let filename: String
    package let caption: String
    package let content: [UInt8]

    package init(_ fields: JSONFields) throws {
        try fields.allow(["type", "mime_type", "filename", "caption", "content"])
        let type = try fields.require("type")
        guard SandboxFile.types.contains(type) else {
            throw fields.wrong("type", "image, video, audio, document or sticker")
        }
        let mimeType = try fields.require("mime_type")
        guard mimeType.contains("/"), mimeType.utf8.count <= 127, mimeType.utf8.allSatisfy({ $0 > 0x1F && $0 < 0x7F })
        else { throw fields.wrong("mime_type", "a media type like image/png") }
        let encoded = try fields.require("content")
        guard let content = Base64.decode(encoded), content.count <= SandboxFile.bytesMax else {
            throw fields.wrong("content", "Base64 of at most \(SandboxFile.bytesMax) bytes")
        }
        self.type = type
        self.mimeType = mimeType
        self.filename = try fields.string("filename") ?? ""
        self.caption = try fields.string("caption") ?? ""
        self.content = content
    }
}
