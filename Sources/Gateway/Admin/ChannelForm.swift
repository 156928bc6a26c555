import Log
import Projections

/// What an operator enters to connect a channel, checked for form.
struct ChannelForm {
    /// What is sealed.
    let secret: [UInt8]
    /// How the account of ours is hashed for the client.
    let domain: LookupDomain
    let account: String
    /// The id that inbound traffic names; empty where the URL names the client.
    let routed: String
    /// Segments or messages; 0 leaves the pace to the provider.
    let perSecond: UInt64

    private static let perSecondMax: Int64 = 10_000
    /// WhatsApp's default throughput, and what Messenger and Instagram take of one account without slowing it down.
    private static let whatsappPerSecond: Int64 = 80
    private static let directPerSecond: Int64 = 40

    init(_ platform: Platform, _ fields: JSONFields) throws {
        if platform == .sms {
            let credentials = try ChannelForm.twilio(fields)
            secret = credentials.json
            domain = .smsAccount
            account = credentials.fromPhone.isEmpty ? credentials.messagingServiceSID : credentials.fromPhone
            routed = ""
            perSecond = UInt64(try fields.integer("segments_per_second", in: 0...ChannelForm.perSecondMax) ?? 0)
            return
        }
        let credentials = try ChannelForm.meta(platform, fields)
        secret = credentials.json
        domain = .metaAccount
        account = MetaName.account(platform, credentials.accountID)
        routed = credentials.accountID
        let standard = platform == .whatsapp ? ChannelForm.whatsappPerSecond : ChannelForm.directPerSecond
        perSecond = UInt64(
            try fields.integer("messages_per_second", in: 0...ChannelForm.perSecondMax) ?? standard
        )
    }

    private static func meta(_ platform: Platform, _ fields: JSONFields) throws -> MetaCredentials {
        var credentials = MetaCredentials()
        let idName: String
        switch platform {
        case .whatsapp:
            try fields.allow(["waba_id", "phone_number_id", "access_token", "messages_per_second"])
            credentials.businessAccountID = try fields.require("waba_id")
            idName = "phone_number_id"
        case .instagram:
            try fields.allow(["ig_account_id", "access_token", "login", "messages_per_second"])
            let login = try fields.string("login") ?? "facebook"
            guard login == "facebook" || login == "instagram" else {
                throw fields.wrong("login", "facebook or instagram")
            }
            credentials.usesInstagramLogin = login == "instagram"
            idName = "ig_account_id"
        case .facebook, .sms:
            try fields.allow(["page_id", "access_token", "messages_per_second"])
            idName = "page_id"
        }
        credentials.accountID = try fields.require(idName)
        credentials.accessToken = try fields.require("access_token")
        // It becomes part of a URL.
        guard credentials.accountID.utf8.count <= 64, credentials.accountID.utf8.allSatisfy({ (48...57).contains($0) })
        else { throw fields.wrong(idName, "digits, as a string") }
        guard credentials.accessToken.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw fields.wrong("access_token", "printable ASCII without spaces")
        }
        return credentials
    }

    private static func twilio(_ fields: JSONFields) throws -> TwilioCredentials {
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
        return credentials
    }
}
