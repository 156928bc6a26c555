import Gateway
import Projections
import Testing

@Suite struct TwilioChannelTests {
    private let started = Timestamp(1_000_000_000)

    private func result(_ status: Int, _ body: String, headers: [(name: String, value: String)] = []) -> SendResult {
        let response = OutgoingResponse(
            status: status,
            headers: headers,
            body: [UInt8](body.utf8),
            bodyTruncated: false,
            duration: .zero
        )
        return TwilioChannel.result(.success(response), startedAt: started, finishedAt: Timestamp(1_250_000_000))
    }

    private func envelope(_ code: Int, _ status: Int) -> String {
        #"{"code":\#(code),"message":"m","more_info":"https://www.twilio.com/docs/errors/\#(code)","status":\#(status)}"#
    }

    // MARK: What an answer means

    struct Row: Sendable, CustomTestStringConvertible {
        let status: Int
        let code: Int
        let outcome: SendOutcome

        init(_ status: Int, _ code: Int, _ outcome: SendOutcome) {
            self.status = status
            self.code = code
            self.outcome = outcome
        }

        var testDescription: String { "\(status)/\(code)" }
    }

    /// Section A.7 of the provider facts: N is rejected, Y is later, C pauses the channel, but for those codes that are
    /// about one recipient only.
    static let rows: [Row] = [
        Row(401, 20_003, .misconfigured), Row(429, 20_429, .retryLater), Row(400, 20_429, .retryLater),
        Row(400, 21_611, .retryLater), Row(400, 21_212, .misconfigured), Row(400, 21_408, .rejected),
        Row(403, 21_408, .rejected), Row(400, 21_606, .misconfigured), Row(400, 21_608, .rejected),
        Row(400, 21_609, .misconfigured), Row(400, 21_612, .rejected), Row(400, 21_659, .misconfigured),
        Row(400, 21_660, .misconfigured), Row(400, 21_703, .misconfigured), Row(400, 21_704, .misconfigured),
        Row(400, 30_002, .misconfigured), Row(400, 21_211, .rejected), Row(400, 21_602, .rejected),
        Row(400, 21_603, .rejected), Row(400, 21_604, .rejected), Row(400, 21_610, .rejected),
        Row(400, 21_614, .rejected), Row(400, 21_617, .rejected), Row(400, 21_620, .rejected),
        Row(400, 21_623, .rejected), Row(404, 20_404, .rejected), Row(400, 99_999, .rejected),
        Row(429, 99_999, .retryLater), Row(500, 20_500, .retryLater), Row(503, 20_503, .retryLater),
    ]

    @Test(arguments: rows)
    func twiliosOwnErrors(_ row: Row) {
        let result = result(row.status, envelope(row.code, row.status))
        #expect(result.outcome == row.outcome)
        #expect(result.code == String(row.code))
        #expect(result.httpStatus == UInt64(row.status))
        #expect(result.durationMilliseconds == 250)
    }

    @Test(arguments: [200, 201])
    func acceptance(_ status: Int) {
        let result = result(status, #"{"sid":"SM1","status":"queued","error_code":null}"#)
        #expect(result.outcome == .accepted)
        #expect(result.providerMessageID == "SM1")
        #expect(result.code == "")
    }

    struct Bare: Sendable, CustomTestStringConvertible {
        let status: Int
        let body: String

        init(_ status: Int, _ body: String) {
            self.status = status
            self.body = body
        }

        var testDescription: String { "\(status) \(body)" }
    }

    static let bare = [
        Bare(500, ""), Bare(502, "<html>Bad Gateway</html>"), Bare(503, "{}"), Bare(504, "[]"),
        Bare(500, "{\"code\":0}"),
        Bare(500, "{\"code\":\"20003\"}"), Bare(201, ""), Bare(201, "{\"sid\":\"\"}"), Bare(200, "<xml/>"),
        Bare(302, ""), Bare(400, "nope"), Bare(403, "<html>"),
    ]

    /// Whatever is not Twilio's own word leaves open what became of the message, so it is never repeated.
    @Test(arguments: bare)
    func answersThatProveNothing(_ row: Bare) {
        let result = result(row.status, row.body)
        #expect(result.outcome == .unknown)
        #expect(result.code == "http_\(row.status)")
        #expect(result.providerMessageID == "")
    }

    /// A proxy on the way may speak JSON with a code too.
    @Test(arguments: [
        Bare(504, #"{"code":504,"message":"upstream timed out"}"#), Bare(502, #"{"code":1,"error":"x"}"#),
        Bare(500, #"{"code":20500}"#),
    ])
    func aStrangersJSONIsNotTwiliosWord(_ row: Bare) {
        #expect(result(row.status, row.body).outcome == .unknown)
    }

    @Test func tooManyRequestsIsARefusalWithoutAnEnvelopeToo() {
        let result = result(429, "slow down", headers: [(name: "retry-after", value: "17")])
        #expect(result.outcome == .retryLater)
        #expect(result.retryAfter == 17)
    }

    @Test(arguments: ["", "-1", "+5", "soon", "Wed, 21 Oct 2026 07:28:00 CET"])
    func aRetryAfterThatIsNeitherSecondsNorADateIsIgnored(_ value: String) {
        #expect(result(429, "", headers: [(name: "retry-after", value: value)]).retryAfter == nil)
    }

    @Test(arguments: [TransferFailure.timedOut, .connectionLost, .protocolError, .shuttingDown], [true, false])
    func withoutAnAnswerOnlyUnsentBytesAreSafe(_ failure: TransferFailure, _ sent: Bool) {
        let error = TransferError(failure, requestBytesSent: sent, detail: "")
        let result = TwilioChannel.result(.failure(error), startedAt: started, finishedAt: started)
        #expect(result.outcome == (sent ? .unknown : .retryLater))
        #expect(result.code == failure.rawValue)
        #expect(result.durationMilliseconds == 0)
    }

    @Test func excerptsAreBounded() {
        #expect(result(500, String(repeating: "x", count: 5000)).excerpt.count == 1024)
    }

    @Test func aClockThatWentBackGivesNoDuration() {
        let error = TransferError(.timedOut, requestBytesSent: true, detail: "")
        let result = TwilioChannel.result(.failure(error), startedAt: started, finishedAt: Timestamp(0))
        #expect(result.durationMilliseconds == 0)
    }

    // MARK: Inbound

    private func form(_ text: String) throws -> FormBody { try #require(FormBody([UInt8](text.utf8))) }

    @Test func anInboundForm() throws {
        let text = "MessageSid=SM1&From=%2B14155552671&To=%2B15005550006&Body=Caf%C3%A9+%E2%98%95&NumSegments=2"
        let inbound = try #require(TwilioChannel.inbound(try form(text)))
        #expect(inbound.messageSID == "SM1")
        #expect(inbound.from == "+14155552671")
        #expect(inbound.to == "+15005550006")
        #expect(inbound.text == "Café ☕")
        #expect(inbound.segments == 2)
    }

    @Test(arguments: ["", "From=%2B1", "MessageSid=SM1", "MessageSid=&From=%2B1", "MessageSid=SM1&From="])
    func whatIsNoInboundMessage(_ text: String) throws {
        #expect(TwilioChannel.inbound(try form(text)) == nil)
    }

    @Test(arguments: ["SmsSid", "SmsMessageSid"])
    func theOlderNamesOfTheId(_ name: String) throws {
        #expect(TwilioChannel.inbound(try form("\(name)=SM1&From=1"))?.messageSID == "SM1")
    }

    @Test(arguments: ["", "&NumSegments=0", "&NumSegments=x", "&NumSegments=-1"])
    func withoutACountSegmentsAreCounted(_ rest: String) throws {
        let inbound = try #require(TwilioChannel.inbound(try form("MessageSid=SM1&From=1&Body=hi" + rest)))
        #expect(inbound.segments == 1)
    }

    // MARK: Consent

    struct Word: Sendable, CustomTestStringConvertible {
        let text: String
        let type: String
        let consent: InboundMessage.Consent?

        init(_ text: String, type: String = "", _ consent: InboundMessage.Consent?) {
            self.text = text
            self.type = type
            self.consent = consent
        }

        var testDescription: String { "\(text.debugDescription) \(type)" }
    }

    private static func words(_ consent: InboundMessage.Consent?, _ texts: [String]) -> [Word] {
        texts.map { Word($0, consent) }
    }

    static let words: [[Word]] = [
        words(.optOut, ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"]),
        words(.optOut, ["stop", " Stop \n", "\tquit"]),
        words(.optIn, ["START", "YES", "UNSTOP", "yes", " Start "]),
        words(nil, ["STOP PLEASE", "PLEASE STOP", "STOP.", "STOP!", "STOP ALL", "S T O P", "NONSTOP"]),
        words(nil, ["HELP", "INFO", "NO", "", " ", "YES PLEASE", "ＳＴＯＰ"]),
        [Word("arrêt", type: "STOP", .optOut), Word("hola", type: "START", .optIn)],
        [Word("STOP", type: "HELP", nil), Word("STOP", type: "SOMETHING", .optOut)],
    ]

    @Test(arguments: words.flatMap { $0 })
    func consentIsAWholeKeyword(_ word: Word) throws {
        let fields = [("MessageSid", "SM1"), ("From", "1"), ("Body", word.text), ("OptOutType", word.type)]
        let form = try #require(FormBody(FormBody.encode(fields)))
        let inbound = try #require(TwilioChannel.inbound(form))
        #expect(TwilioChannel.consent(inbound) == word.consent)
    }

    // MARK: Status

    static let statuses: [(name: String, step: TwilioChannel.StatusReport.Step)] = [
        ("accepted", .early), ("scheduled", .early), ("queued", .early), ("sending", .early), ("sent", .raised(.sent)),
        ("delivered", .raised(.delivered)), ("partially_delivered", .raised(.delivered)), ("read", .raised(.read)),
        ("undelivered", .raised(.failed)), ("failed", .raised(.failed)), ("canceled", .raised(.failed)),
        ("receiving", .early), ("received", .early), ("new_one", .unknown), ("", .unknown),
    ]

    @Test(arguments: statuses)
    func statusNames(_ row: (name: String, step: TwilioChannel.StatusReport.Step)) throws {
        for field in ["MessageStatus", "SmsStatus"] {
            let form = try form("MessageSid=SM1&\(field)=\(row.name)&ErrorCode=30003")
            let report = try #require(TwilioChannel.status(form))
            #expect(report.status == row.step)
            #expect(report.messageSID == "SM1")
            #expect(report.errorCode == "30003")
        }
    }

    @Test(arguments: ["", "MessageStatus=sent", "MessageSid=&MessageStatus=sent"])
    func whatIsNoStatusReport(_ text: String) throws {
        #expect(TwilioChannel.status(try form(text)) == nil)
    }
}
