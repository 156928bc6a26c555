import Log
package import Projections

/// Twilio's credentials of one client, as the operator entered them.
struct TwilioCredentials: Sendable, Equatable {
    var accountSID = ""
    var authToken = ""
    var fromPhone = ""
    var messagingServiceSID = ""

    /// RFC 7617.
    var basic: String { "Basic \(Base64.encode([UInt8]("\(accountSID):\(authToken)".utf8)))" }

    var json: [UInt8] {
        JSONWriter.object { json in
            json.string("account_sid", accountSID)
            json.string("auth_token", authToken)
            json.string("from_phone", fromPhone)
            json.string("messaging_service_sid", messagingServiceSID)
        }
    }

    init() {}

    init(_ json: [UInt8]) throws {
        let fields = try JSONFields(json)
        accountSID = try fields.string("account_sid") ?? ""
        authToken = try fields.string("auth_token") ?? ""
        fromPhone = try fields.string("from_phone") ?? ""
        messagingServiceSID = try fields.string("messaging_service_sid") ?? ""
    }
}

/// SMS over Twilio: wire to domain and back, without sockets. Facts: `reference/channels.md` section A.
package enum TwilioChannel {
    // MARK: Inbound

    /// What Twilio's form says, or nil when it is not an inbound message.
    package struct Inbound: Sendable, Equatable {
        package var messageSID: String
        /// Without the scheme of the channel.
        package var from: String
        package var to: String
        /// The channel, where it is not SMS.
        package var via = ""
        package var messagingServiceSID: String
        package var text: String
        package var segments: UInt64
        package var optOutType: String
        package var media: [MessageContent.Media] = []
    }

    private static let mediaMax = 10

    /// `MediaUrl0`, `MediaContentType0`, …
    private static func media(_ form: FormBody) -> [MessageContent.Media] {
        let count = min(form["NumMedia"].flatMap { Int($0) } ?? 0, mediaMax)
        return (0..<max(count, 0)).compactMap { index in
            guard let url = form["MediaUrl\(index)"], !url.isEmpty else { return nil }
            let mime = form["MediaContentType\(index)"] ?? ""
            var media = MessageContent.Media(type: type(mime))
            media.mimeType = mime
            media.sourceURL = url
            return media
        }
    }

    private static func type(_ mime: String) -> String {
        let family = mime.prefix { $0 != "/" }.lowercased()
        return ["image", "video", "audio"].contains(family) ? family : "document"
    }

    package static func inbound(_ form: FormBody) -> Inbound? {
        guard let sid = form["MessageSid"] ?? form["SmsMessageSid"] ?? form["SmsSid"], !sid.isEmpty,
            let from = form["From"], !from.isEmpty
        else { return nil }
        let text = form["Body"] ?? ""
        let sender = TwilioAddress(from)
        let counted = UInt64(SMSEncoding(of: text).segments)
        return Inbound(
            messageSID: sid,
            from: sender.address,
            to: TwilioAddress(form["To"] ?? "").address,
            via: sender.channel,
            messagingServiceSID: form["MessagingServiceSid"] ?? "",
            text: text,
            segments: form["NumSegments"].flatMap { UInt64($0) }.flatMap { (1...255).contains($0) ? $0 : nil }
                ?? counted,
            optOutType: form["OptOutType"] ?? "",
            media: media(form)
        )
    }

    /// Whether a message came to this connection: to its number, or through its messaging service, whose numbers only Twilio
    /// knows. Another one is not the client's to read or to answer.
    static func isMeant(_ inbound: Inbound, for credentials: TwilioCredentials) -> Bool {
        if credentials.fromPhone.isEmpty {
            return inbound.messagingServiceSID.isEmpty || inbound.messagingServiceSID == credentials.messagingServiceSID
        }
        return plain(inbound.to) == plain(credentials.fromPhone)
    }

    private static func plain(_ phone: String) -> Substring { phone.hasPrefix("+") ? phone.dropFirst() : phone[...] }

    private static let stopWords: Set<String> = [
        "STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT",
    ]
    private static let startWords: Set<String> = ["START", "YES", "UNSTOP"]

    /// Twilio handles the keywords itself; we keep our own register so that a send is refused here, with a clear reason.
    package static func consent(_ inbound: Inbound) -> InboundMessage.Consent? {
        switch inbound.optOutType {
        case "STOP": return .optOut
        case "START": return .optIn
        case "HELP": return nil
        default: break
        }
        let word = inbound.text.uppercased().split(whereSeparator: \.isWhitespace).joined(separator: " ")
        if stopWords.contains(word) { return .optOut }
        return startWords.contains(word) ? .optIn : nil
    }

    // MARK: Status

    package struct StatusReport: Sendable, Equatable {
        package var messageSID: String
        package var status: Step
        package var errorCode: String

        package enum Step: Sendable, Equatable {
            case raised(MessageStatus)
            /// Before `sent`: says nothing beyond "Twilio has it".
            case early
            /// A name that is new to us.
            case unknown
        }
    }

    package static func status(_ form: FormBody) -> StatusReport? {
        guard let sid = form["MessageSid"] ?? form["SmsSid"], !sid.isEmpty else { return nil }
        let name = form["MessageStatus"] ?? form["SmsStatus"] ?? ""
        return StatusReport(messageSID: sid, status: status(named: name), errorCode: form["ErrorCode"] ?? "")
    }

    private static func status(named name: String) -> StatusReport.Step {
        switch name {
        case "sent": .raised(.sent)
        case "delivered", "partially_delivered": .raised(.delivered)
        case "read": .raised(.read)
        case "undelivered", "failed", "canceled": .raised(.failed)
        case "accepted", "scheduled", "queued", "sending", "receiving", "received": .early
        default: .unknown
        }
    }

    // MARK: Send

    /// - Parameter from: the number of a messaging service that the customer wrote to; empty leaves the choice to the service.
    static func request(
        _ credentials: TwilioCredentials,
        to: String,
        from: String,
        text: String,
        mediaURL: String = "",
        statusCallback: String,
        baseURL: String
    ) -> OutgoingRequest {
        var fields = [("To", to), ("StatusCallback", statusCallback)]
        if !text.isEmpty { fields.append(("Body", text)) }
        if !mediaURL.isEmpty { fields.append(("MediaUrl", mediaURL)) }
        if !credentials.messagingServiceSID.isEmpty {
            fields.append(("MessagingServiceSid", credentials.messagingServiceSID))
        }
        let sender = credentials.fromPhone.isEmpty ? from : credentials.fromPhone
        if !sender.isEmpty { fields.append(("From", sender)) }
        var request = OutgoingRequest(
            method: "POST",
            url: "\(baseURL)/2010-04-01/Accounts/\(credentials.accountSID)/Messages.json",
            headers: [
                ("Authorization", credentials.basic), ("Content-Type", "application/x-www-form-urlencoded"),
                ("Accept", "application/json"), ("User-Agent", "Waybill/\(WaybillVersion.current)"),
            ],
            body: FormBody.encode(fields),
            timeout: .seconds(30),
            connectTimeout: .seconds(10),
            atMostOnce: true
        )
        request.bodyWait = ProviderAnswer.bodyWait
        return request
    }

    /// What Twilio's answer, or its absence, says about the message. Only Twilio's own error body proves a refusal.
    package static func result(
        _ answer: Result<OutgoingResponse, TransferError>,
        startedAt: Timestamp,
        finishedAt: Timestamp
    ) -> SendResult {
        ProviderAnswer.result(answer, startedAt: startedAt, finishedAt: finishedAt, judge: judge)
    }

    private static func judge(_ response: OutgoingResponse, _ result: inout SendResult) {
        let fields = try? JSONFields(response.body)
        if response.status == 200 || response.status == 201,
            let sid = fields.flatMap({ try? $0.string("sid") }), !sid.isEmpty
        {
            result.outcome = .accepted
            result.code = ""
            result.providerMessageID = sid
        } else if let fields, let code = errorCode(fields, response.status) {
            result.code = String(code)
            result.outcome = outcome(code: code, status: response.status)
        }
    }

    /// The code of Twilio's error body. A proxy's JSON, or anything else that is not this shape, proves nothing.
    private static func errorCode(_ fields: JSONFields, _ status: Int) -> Int64? {
        guard let code = try? fields.integer("code", in: 10_000...99_999),
            let message = try? fields.string("message"), !message.isEmpty,
            let stated = try? fields.integer("status", in: 100...599), stated == Int64(status)
        else { return nil }
        return code
    }

    /// Section A.7, column "retry", for errors in the answer to the send call. 21408, 21608 and 21612 need a change of
    /// set-up too, but they are about one recipient: they fail the message and do not pause the channel for all others.
    static func outcome(code: Int64, status: Int) -> SendOutcome {
        switch code {
        case 20_429, 21_611: .retryLater
        case 20_003, 21_212, 21_606, 21_609, 21_659, 21_660, 21_703, 21_704, 30_002:
            .misconfigured
        default: status == 429 || status >= 500 ? .retryLater : .rejected
        }
    }
}
