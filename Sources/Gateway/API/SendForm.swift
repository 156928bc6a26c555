import Log
import Projections

/// The body of a send request, checked for form. Policy is decided later, in one order, by the writer.
struct SendForm: Sendable {
    enum Recipient: Sendable {
        case conversation(String)
        case phone(String)
        case platformUser(String)

        /// The address that the client named; empty where it named the conversation.
        var address: String {
            switch self {
            case .conversation: ""
            case .phone(let address), .platformUser(let address): address
            }
        }
    }

    /// What other APIs call the sender.
    private static let senders: Set<String> = ["from", "from_phone", "sender", "sender_id", "messaging_service_sid"]

    private static let known: Set<String> = [
        "conversation_id", "platform_user_id", "to_phone", "platform", "text", "media_url", "media_type", "caption",
        "filename", "template_name", "template_language", "template_components", "reaction", "typing", "reply_to",
        "metadata", "expires_at", "human_agent", "idempotency_key",
    ]
    let recipient: Recipient
    /// Nil when the recipient says it.
    let platform: Platform?
    private let contentForm: SendContentForm
    let expiresAt: Timestamp?
    /// A JSON object of strings, or empty.
    let metadata: [UInt8]
    let idempotencyKey: String

    /// What is to be said, with key and metadata.
    var content: SendContent {
        var content = contentForm.content
        content.recipient = recipient.address
        content.metadata = metadata
        content.idempotencyKey = idempotencyKey
        return content
    }

    /// Our id of the message that this one is about or answers.
    var refersTo: String? { contentForm.refersTo }

    /// - Parameter body: the bytes that the fields were read from.
    init(_ fields: JSONFields, body: [UInt8], idempotencyHeader: String?) throws {
        if let sender = fields.first(in: SendForm.senders) {
            throw GatewayError(.unknownField, "the sender is the server's; leave \(sender) out", field: sender)
        }
        try fields.allow(SendForm.known)
        recipient = try SendForm.recipient(fields)
        platform = try SendForm.platform(fields)
        contentForm = try SendContentForm(fields, body: body)
        // What can be told from the request alone is not a matter of policy, and not put on record.
        if let platform, let refusal = contentForm.content.refusal(on: platform) { throw refusal }
        expiresAt = try SendForm.expiry(fields)
        metadata = try SendForm.metadata(fields)
        idempotencyKey = try SendForm.key(fields, idempotencyHeader)
    }

    private static func recipient(_ fields: JSONFields) throws -> Recipient {
        let conversation = try fields.string("conversation_id")
        let phone = try fields.string("to_phone")
        let user = try fields.string("platform_user_id")
        guard [conversation, phone, user].count(where: { $0 != nil }) == 1 else {
            throw GatewayError(
                .invalidRequest,
                "give exactly one of conversation_id, platform_user_id and to_phone",
                field: conversation == nil ? "conversation_id" : "to_phone"
            )
        }
        if let conversation { return .conversation(conversation) }
        if let user { return .platformUser(user) }
        guard let phone, PhoneNumber.isE164(phone) else {
            throw GatewayError(.invalidRequest, "to_phone must be in E.164 form, like +15551234567", field: "to_phone")
        }
        return .phone(phone)
    }

    /// `to_phone` alone means sms.
    private static func platform(_ fields: JSONFields) throws -> Platform? {
        guard let name = try fields.string("platform") else { return fields.has("to_phone") ? .sms : nil }
        guard let platform = Platform(name: name) else {
            throw fields.wrong("platform", "facebook, instagram, sms or whatsapp")
        }
        if fields.has("to_phone"), platform != .sms, platform != .whatsapp {
            throw fields.wrong("platform", "sms or whatsapp for a phone number")
        }
        return platform
    }

    private static func expiry(_ fields: JSONFields) throws -> Timestamp? {
        guard let text = try fields.string("expires_at") else { return nil }
        guard let time = RFC3339.parse(text) else { throw fields.wrong("expires_at", "a time in RFC 3339") }
        return time
    }

    private static func metadata(_ fields: JSONFields) throws -> [UInt8] {
        guard let object = try fields.object("metadata") else { return [] }
        let names = object.names
        if names.isEmpty { return [] }
        guard names.count <= 16 else { throw fields.wrong("metadata", "at most 16 pairs") }
        let pairs = try names.map { name in
            let value = try object.string(name) ?? ""
            guard name.utf8.count <= 64, value.utf8.count <= 512 else {
                throw fields.wrong("metadata", "short: names up to 64 bytes, values up to 512")
            }
            return (name, value)
        }
        return JSONWriter.object { json in
            for (name, value) in pairs {
                json.key(dynamic: name)
                json.string(value)
            }
        }
    }

    /// The key from header or body; without one the request gets a key of its own and is never taken for a repeat.
    private static func key(_ fields: JSONFields, _ header: String?) throws -> String {
        let body = try fields.string("idempotency_key")
        let fromHeader = try header.map(single)
        if let body, let fromHeader, body != fromHeader {
            throw GatewayError(
                .invalidRequest,
                "the Idempotency-Key header and idempotency_key differ",
                field: "idempotency_key"
            )
        }
        guard let key = body ?? fromHeader else { return "auto-" + Base32.encode(Crypto.publicRandomBytes(16)) }
        guard (1...255).contains(key.utf8.count), key.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw GatewayError(
                .invalidRequest,
                "an idempotency key has 1 to 255 bytes of UTF-8, all of them printable",
                field: "idempotency_key"
            )
        }
        return key
    }

    /// A structured-field string (`"abc"`) or the bare text. What stands between joins repeated headers with commas, and a list of
    /// keys is no key.
    private static func single(_ header: String) throws -> String {
        let isQuoted = header.count >= 2 && header.hasPrefix("\"") && header.hasSuffix("\"")
        let key = isQuoted ? String(header.dropFirst().dropLast()) : header
        guard !key.contains(isQuoted ? "\"" : ",") else {
            throw GatewayError(
                .invalidRequest,
                "the header Idempotency-Key may have one value only; put a key with a comma in double quotes",
                field: "Idempotency-Key"
            )
        }
        return key
    }

    /// Everything but the key, in one unambiguous form: what a repeat must match.
    var canonical: [UInt8] {
        JSONWriter.object { json in
            switch recipient {
            case .conversation(let id): json.string("conversation_id", id)
            case .phone(let phone): json.string("to_phone", phone)
            case .platformUser(let user): json.string("platform_user_id", user)
            }
            json.string("platform", platform?.name)
            contentForm.content.writeContent(&json)
            json.time("expires_at", expiresAt)
            json.string("metadata", String(decoding: metadata, as: UTF8.self))
        }
    }
}

enum PhoneNumber {
    /// What may stand as our own address: a number, or a short code of five or six digits.
    static func isSender(_ text: String) -> Bool {
        isE164(text) || ((5...6).contains(text.utf8.count) && text.utf8.allSatisfy { (48...57).contains($0) })
    }
    /// `+`, then 7 to 15 digits that do not start with 0 (ITU-T E.164).
    static func isE164(_ text: String) -> Bool {
        let digits = text.utf8.dropFirst()
        return text.utf8.first == UInt8(ascii: "+") && (7...15).contains(digits.count)
            && digits.allSatisfy { (48...57).contains($0) } && digits.first != 48
    }
}
