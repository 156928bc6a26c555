import Gateway
import Projections
import Testing

@Suite struct GraphAnswerTests {
    private let started = Timestamp(1_000_000_000)
    static let direct: [Platform] = [.facebook, .instagram]
    static let all: [Platform] = [.facebook, .instagram, .whatsapp]

    private func result(
        _ platform: Platform,
        _ status: Int,
        _ body: String,
        headers: [(name: String, value: String)] = []
    ) -> SendResult {
        let response = OutgoingResponse(
            status: status,
            headers: headers,
            body: [UInt8](body.utf8),
            bodyTruncated: false,
            duration: .zero
        )
        let finished = Timestamp(1_250_000_000)
        return GraphAnswer.result(platform, .success(response), startedAt: started, finishedAt: finished)
    }

    /// - Parameter more: Further members, each with a comma before it.
    private static func envelope(_ code: Int64, _ more: String = "") -> String {
        let head = #""message":"m","type":"OAuthException","code":\#(code)"#
        return #"{"error":{\#(head)\#(more),"fbtrace_id":"AbC"}}"#
    }

    // MARK: Codes

    struct Row: Sendable, CustomTestStringConvertible {
        let status: Int
        let code: Int64
        let subcode: Int64
        let outcome: SendOutcome

        init(_ status: Int, _ code: Int64, sub subcode: Int64 = 0, _ outcome: SendOutcome) {
            self.status = status
            self.code = code
            self.subcode = subcode
            self.outcome = outcome
        }

        var testDescription: String { "\(status)/\(code)/\(subcode)" }
    }

    private func check(_ platform: Platform, _ row: Row) {
        let subcode = row.subcode == 0 ? "" : #","error_subcode":\#(row.subcode)"#
        let code = row.subcode == 0 ? "\(row.code)" : "\(row.code)/\(row.subcode)"
        let result = result(platform, row.status, Self.envelope(row.code, subcode))
        #expect(result.outcome == row.outcome)
        #expect(result.code == code)
        #expect(result.httpStatus == UInt64(row.status))
        #expect(result.durationMilliseconds == 250)
        #expect(result.providerMessageID == "")
    }

    /// Sections C.4 and D.3 of the provider facts: N is rejected, Y is later, C pauses the channel, but for what is
    /// about one person only.
    static let directRows: [Row] = [
        Row(500, 1, .retryLater), Row(400, 2, .retryLater), Row(400, 2, sub: 1_545_133, .retryLater),
        Row(400, 2, sub: 2_018_344, .retryLater), Row(400, 1200, .retryLater), Row(400, 4, .retryLater),
        Row(400, 17, .retryLater), Row(400, 32, .retryLater), Row(400, 613, .retryLater),
        Row(400, 613, sub: 2_534_040, .retryLater), Row(400, 80_002, .retryLater), Row(400, 80_006, .retryLater),
        Row(400, 10, sub: 2_018_278, .rejected), Row(400, 10, sub: 2_534_022, .rejected),
        Row(403, 10, sub: 2_018_065, .rejected), Row(400, 10, sub: 1_893_063, .retryLater),
        Row(403, 10, .misconfigured), Row(403, 200, .misconfigured), Row(400, 10, sub: 9_999_999, .rejected),
        Row(400, 100, sub: 2_018_001, .rejected), Row(400, 100, .rejected), Row(400, 100, sub: 2_018_109, .rejected),
        Row(400, 100, sub: 2_018_047, .rejected), Row(400, 100, sub: 2_018_034, .rejected),
        Row(400, 100, sub: 2_534_014, .rejected), Row(400, 100, sub: 2_534_001, .rejected),
        Row(400, 100, sub: 2_534_025, .rejected), Row(400, 100, sub: 2_534_013, .rejected), Row(500, 100, .rejected),
        Row(401, 190, .misconfigured), Row(400, 190, sub: 458, .misconfigured), Row(400, 190, sub: 460, .misconfigured),
        Row(400, 190, sub: 463, .misconfigured), Row(400, 190, sub: 467, .misconfigured),
        Row(403, 200, sub: 2_018_028, .rejected), Row(403, 200, sub: 2_018_027, .rejected),
        Row(400, 200, sub: 1_545_041, .rejected), Row(400, 368, .misconfigured), Row(400, 551, .rejected),
        Row(400, 551, sub: 1_545_041, .rejected),
    ]

    @Test(arguments: direct, directRows)
    func messengerAndInstagram(_ platform: Platform, _ row: Row) { check(platform, row) }

    private static func rows(_ status: Int, _ outcome: SendOutcome, _ codes: [Int64]) -> [Row] {
        codes.map { Row(status, $0, outcome) }
    }

    /// Section E.4 of the provider facts.
    static let whatsAppRows: [[Row]] = [
        rows(401, .misconfigured, [0, 190]),
        rows(403, .misconfigured, [10, 200, 250, 299, 368, 131_005, 131_031]),
        rows(500, .misconfigured, [3, 131_045]),
        rows(400, .misconfigured, [131_037, 131_042, 133_010]),
        rows(400, .retryLater, [1, 4, 80_007, 130_429, 131_048, 131_056, 132_069, 133_016]),
        rows(429, .retryLater, [4, 130_429]),
        rows(500, .retryLater, [131_000, 131_016, 131_057]),
        rows(503, .retryLater, [2, 133_004]),
        rows(400, .rejected, [33, 100, 130_472, 131_008, 131_009, 131_021, 131_026, 131_030, 131_047]),
        rows(400, .rejected, [131_049, 131_050, 131_051, 131_052, 131_053, 131_062, 131_063, 131_064]),
        rows(400, .rejected, [132_000, 132_005, 132_007, 132_012, 132_015, 132_016, 132_068, 135_000, 137_000]),
        rows(404, .rejected, [132_001]),
        rows(500, .rejected, [131_026, 131_049]),
    ]

    @Test(arguments: whatsAppRows.flatMap { $0 })
    func overWhatsApp(_ row: Row) { check(.whatsapp, row) }

    static let unlisted: [Row] = [
        Row(400, 987_654, .rejected), Row(401, 987_654, .rejected), Row(404, 987_654, sub: 7, .rejected),
        Row(429, 987_654, .retryLater), Row(500, 987_654, .retryLater), Row(503, 987_654, sub: 7, .retryLater),
    ]

    @Test(arguments: all, unlisted)
    func codesThatAreNew(_ platform: Platform, _ row: Row) { check(platform, row) }

    @Test(arguments: all)
    func whatMetaCallsTransientIsTriedAgain(_ platform: Platform) {
        let transient = Self.envelope(987_654, #","is_transient":true"#)
        #expect(result(platform, 400, transient).outcome == .retryLater)
        let lasting = Self.envelope(987_654, #","is_transient":false"#)
        #expect(result(platform, 400, lasting).outcome == .rejected)
    }

    // MARK: Acceptance

    @Test(arguments: direct)
    func anAcceptedMessageHasAnId(_ platform: Platform) {
        let result = result(platform, 200, #"{"recipient_id":"9001","message_id":"m_A1"}"#)
        #expect(result.outcome == .accepted)
        #expect(result.providerMessageID == "m_A1")
        #expect(result.code == "")
        #expect(result.httpStatus == 200)
    }

    @Test func anAcceptedMessageHasAnIdOnWhatsApp() {
        let contacts = #""contacts":[{"input":"+1650","wa_id":"1650"}]"#
        let messages = #""messages":[{"id":"wamid.A","message_status":"accepted"}]"#
        let result = result(.whatsapp, 200, #"{"messaging_product":"whatsapp",\#(contacts),\#(messages)}"#)
        #expect(result.outcome == .accepted)
        #expect(result.providerMessageID == "wamid.A")
        #expect(result.code == "")
    }

    /// Typing and reactions are taken without an id.
    @Test(arguments: all)
    func anActionHasNoId(_ platform: Platform) {
        let result = result(platform, 200, platform == .whatsapp ? #"{"success":true}"# : #"{"recipient_id":"9001"}"#)
        #expect(result.outcome == .accepted)
        #expect(result.providerMessageID == "")
        #expect(result.code == "")
    }

    /// What one platform says for yes means nothing on the other.
    @Test func acceptanceIsEachPlatformsOwn() {
        #expect(result(.whatsapp, 200, #"{"recipient_id":"9001","message_id":"m_A1"}"#).outcome == .unknown)
        #expect(result(.facebook, 200, #"{"messages":[{"id":"wamid.A"}]}"#).outcome == .unknown)
    }

    // MARK: Whose word it is

    struct Bare: Sendable, CustomTestStringConvertible {
        let status: Int
        let body: String

        init(_ status: Int, _ body: String) {
            self.status = status
            self.body = body
        }

        var testDescription: String { "\(status) \(body)" }
    }

    static let bare: [Bare] = [
        Bare(200, ""), Bare(200, "<html>"), Bare(200, "{}"), Bare(200, "[]"), Bare(200, #"{"message_id":""}"#),
        Bare(200, #"{"recipient_id":""}"#), Bare(200, #"{"messages":[]}"#), Bare(200, #"{"messages":[{"id":""}]}"#),
        Bare(200, #"{"success":false}"#), Bare(200, #"{"message_id":"m_A","#), Bare(200, envelope(100)),
        Bare(201, #"{"message_id":"m_A","messages":[{"id":"wamid.A"}]}"#), Bare(302, ""), Bare(400, ""),
        Bare(400, "nope"), Bare(403, "<html>"), Bare(500, ""), Bare(502, "<html>Bad Gateway</html>"), Bare(503, "{}"),
        Bare(504, "[]"), Bare(302, envelope(190)),
    ]

    /// Whatever is not Meta's own word leaves open what became of the message, so it is never repeated.
    @Test(arguments: all, bare)
    func answersThatProveNothing(_ platform: Platform, _ row: Bare) {
        let result = result(platform, row.status, row.body)
        #expect(result.outcome == .unknown)
        #expect(result.code == "http_\(row.status)")
        #expect(result.providerMessageID == "")
    }

    /// A proxy on the way may speak JSON with an error too.
    static let strangers: [String] = [
        #"{"error":"upstream timed out"}"#, #"{"error":{"message":"m","code":190}}"#,
        #"{"error":{"type":"OAuthException","code":190}}"#, #"{"error":{"message":"m","type":"OAuthException"}}"#,
        #"{"error":{"message":"m","type":"OAuthException","code":"190"}}"#,
        #"{"error":{"message":"m","type":"OAuthException","code":19.5}}"#,
        #"{"error":{"message":"m","type":"OAuthException","code":null}}"#,
        #"{"error":{"message":7,"type":"OAuthException","code":190}}"#,
        #"{"error":{"message":"m","type":7,"code":190,"fbtrace_id":{}}}"#,
        #"[{"error":{"message":"m","type":"OAuthException","code":190}}]"#,
        #"{"message":"m","type":"OAuthException","code":190,"fbtrace_id":"AbC"}"#,
    ]

    @Test(arguments: all, strangers)
    func aStrangersJSONIsNotMetasWord(_ platform: Platform, _ body: String) {
        #expect(result(platform, 400, body).outcome == .unknown)
        #expect(result(platform, 503, body).outcome == .unknown)
    }

    @Test func anErrorBodyThatWasCutProvesNothing() {
        let whole = Self.envelope(190)
        for count in 0..<whole.utf8.count {
            #expect(result(.facebook, 400, String(whole.prefix(count))).outcome == .unknown)
        }
        #expect(result(.facebook, 400, whole).outcome == .misconfigured)
    }

    @Test(arguments: [#""type":"OAuthException""#, #""fbtrace_id":"AbC""#])
    func oneOfMetasOwnMarksIsEnough(_ mark: String) {
        let body = #"{"error":{"message":"","code":131047,\#(mark)}}"#
        let result = result(.whatsapp, 400, body)
        #expect(result.outcome == .rejected)
        #expect(result.code == "131047")
    }

    @Test(arguments: [TransferFailure.timedOut, .connectionLost, .protocolError, .shuttingDown], [true, false])
    func withoutAnAnswerOnlyUnsentBytesAreSafe(_ failure: TransferFailure, _ sent: Bool) {
        let error = TransferError(failure, requestBytesSent: sent, detail: "")
        let result = GraphAnswer.result(.whatsapp, .failure(error), startedAt: started, finishedAt: started)
        #expect(result.outcome == (sent ? .unknown : .retryLater))
        #expect(result.code == failure.rawValue)
        #expect(result.httpStatus == 0)
        #expect(result.durationMilliseconds == 0)
    }

    @Test func excerptsAreBounded() {
        #expect(result(.facebook, 500, String(repeating: "x", count: 5000)).excerpt.count == 1024)
    }
}
