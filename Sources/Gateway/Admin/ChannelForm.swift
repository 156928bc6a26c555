import Log
import Projections

/// What an operator enters to connect a channel, checked for form.
struct ChannelForm {
    /// By what an account is shown to be the client's.
    enum Access {
        /// What is sealed.
        case credentials([UInt8])
        /// What has to be exchanged for credentials first.
        case signup(EmbeddedSignup)
    }

    let access: Access
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
            access = .credentials(credentials.json)
            domain = .smsAccount
            account = credentials.fromPhone.isEmpty ? credentials.messagingServiceSID : credentials.fromPhone
            routed = ""
            perSecond = UInt64(try fields.integer("segments_per_second", in: 0...ChannelForm.perSecondMax) ?? 0)
            return
        }
        if platform == .whatsapp, fields.has("code") {
            let signup = try ChannelForm.signup(fields)
            access = .signup(signup)
            routed = signup.phoneNumberID
        } else {
            let credentials = try ChannelForm.meta(platform, fields)
            access = .credentials(credentials.json)
            routed = credentials.accountID
        }
        domain = .metaAccount
        account = MetaName.account(platform, routed)
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
        guard isID(credentials.accountID) else { throw fields.wrong(idName, "digits, as a string") }
        guard isPrintable(credentials.accessToken) else {
            throw fields.wrong("access_token", "printable ASCII without spaces")
        }
        return credentials
    }

    /// Meta's codes have a few hundred bytes.
    private static let codeBytesMax = 4096

    private static func signup(_ fields: JSONFields) throws -> EmbeddedSignup {
        try fields.allow([
            "waba_id", "phone_number_id", "code", "access_token", "pin", "register", "messages_per_second",
        ])
        if fields.has("access_token") { throw fields.wrong("access_token", "left out where code is given") }
        var signup = EmbeddedSignup()
        signup.code = try fields.require("code")
        guard signup.code.utf8.count <= codeBytesMax, isPrintable(signup.code) else {
            throw fields.wrong("code", "printable ASCII without spaces, at most \(codeBytesMax) bytes")
        }
        signup.businessAccountID = try fields.require("waba_id")
        guard isID(signup.businessAccountID) else { throw fields.wrong("waba_id", "digits, as a string") }
        signup.phoneNumberID = try fields.require("phone_number_id")
        guard isID(signup.phoneNumberID) else { throw fields.wrong("phone_number_id", "digits, as a string") }
        signup.registers = try fields.bool("register") ?? true
        if let pin = try fields.string("pin") {
            guard EmbeddedSignup.isPIN(pin) else { throw fields.wrong("pin", "six digits, as a string") }
            guard signup.registers else { throw fields.wrong("pin", "left out where register is false") }
            signup.pin = pin
        }
        return signup
    }

    private static func isID(_ text: String) -> Bool {
        text.utf8.count <= 64 && text.utf8.allSatisfy { (48...57).contains($0) }
    }

    private static func isPrintable(_ text: String) -> Bool { text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } }

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
