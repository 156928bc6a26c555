import Gateway
import Testing

/// What Meta is asked, and what its answers mean; `SignupRoutesTests` has what an operator sees.
@Suite struct EmbeddedSignupTests {
    typealias Answer = Result<OutgoingResponse, TransferError>

    private static let base = "https://graph.example"

    private var signup: EmbeddedSignup {
        var signup = EmbeddedSignup()
        signup.code = "AQB-_x/y=z+&?"
        signup.businessAccountID = "2002"
        signup.phoneNumberID = "1001"
        return signup
    }

    // MARK: Requests

    private func lines(_ call: OutgoingRequest) -> [String] { call.headers.map { "\($0.name): \($0.value)" }.sorted() }

    private static let agent = "User-Agent: Waybill/\(WaybillVersion.current)"

    @Test func theExchange() {
        let app = MetaApp(id: "236484624622562", secret: "s3cret&=+/")
        let call = signup.exchange(app, baseURL: Self.base, timeout: .seconds(15))
        #expect(call.method == "GET")
        let query = "client_id=236484624622562&client_secret=s3cret%26%3D%2B%2F&code=AQB-_x%2Fy%3Dz%2B%26%3F"
        #expect(call.url == "https://graph.example/v25.0/oauth/access_token?" + query)
        #expect(call.body.isEmpty)
        #expect(lines(call) == ["Accept: application/json", Self.agent])
    }

    @Test func theSubscription() {
        let call = signup.subscribe("EAAtoken", baseURL: Self.base, timeout: .seconds(15))
        #expect(call.method == "POST")
        #expect(call.url == "https://graph.example/v25.0/2002/subscribed_apps")
        #expect(call.body.isEmpty)
        #expect(lines(call) == ["Accept: application/json", "Authorization: Bearer EAAtoken", Self.agent])
    }

    @Test func theRegistration() {
        let call = signup.register("EAAtoken", pin: "001234", baseURL: Self.base, timeout: .seconds(15))
        #expect(call.method == "POST")
        #expect(call.url == "https://graph.example/v25.0/1001/register")
        #expect(String(decoding: call.body, as: UTF8.self) == #"{"messaging_product":"whatsapp","pin":"001234"}"#)
        let wanted = [
            "Accept: application/json", "Authorization: Bearer EAAtoken", "Content-Type: application/json", Self.agent,
        ]
        #expect(lines(call) == wanted)
    }

    @Test func theNumber() {
        let call = signup.number("EAAtoken", baseURL: Self.base, timeout: .seconds(15))
        #expect(call.method == "GET")
        #expect(call.url == "https://graph.example/v25.0/1001?fields=status,platform_type")
        #expect(call.body.isEmpty)
        #expect(lines(call) == ["Accept: application/json", "Authorization: Bearer EAAtoken", Self.agent])
    }

    /// None may leave twice, and connecting takes no longer than all of it.
    @Test(arguments: [2, 15])
    func theTime(_ seconds: Int) {
        let app = MetaApp(id: "1", secret: "s")
        let time = Duration.seconds(seconds)
        let calls = [
            signup.exchange(app, baseURL: Self.base, timeout: time),
            signup.subscribe("t", baseURL: Self.base, timeout: time),
            signup.register("t", pin: "000000", baseURL: Self.base, timeout: time),
            signup.number("t", baseURL: Self.base, timeout: time),
        ]
        for call in calls {
            #expect(call.atMostOnce)
            #expect(call.timeout == time)
            #expect(call.connectTimeout == .seconds(min(seconds, 10)))
        }
    }

    // MARK: PINs

    @Test(arguments: [(UInt64(0), "000000"), (7, "000007"), (1_000_042, "000042"), (UInt64.max, "551615")])
    func aPINHasSixDigits(_ random: UInt64, _ pin: String) {
        #expect(EmbeddedSignup.makePIN(random) == pin)
        #expect(EmbeddedSignup.isPIN(pin))
    }

    @Test(arguments: ["", "12345", "1234567", "12345a", " 12345", "١٢٣", "-12345"])
    func whatIsNoPIN(_ text: String) {
        #expect(!EmbeddedSignup.isPIN(text))
    }

    // MARK: Answers

    private static func answer(_ status: Int, _ body: String, truncated: Bool = false) -> Answer {
        let response = OutgoingResponse(
            status: status,
            headers: [],
            body: [UInt8](body.utf8),
            bodyTruncated: truncated,
            duration: .zero
        )
        return .success(response)
    }

    /// Meta's own error, with everything secret in its text.
    private static func envelope(_ code: Int64, _ more: String = "") -> String {
        #"{"error":{"message":"app-secret EAAtoken the-code","type":"OAuthException","code":\#(code)\#(more)}}"#
    }

    private func outcome(_ step: EmbeddedSignup.Step, _ answer: Answer) -> SignupFailure? {
        do throws(SignupFailure) {
            if step == .exchange {
                _ = try EmbeddedSignup.token(answer)
            } else {
                try EmbeddedSignup.check(step, answer)
            }
            return nil
        } catch {
            return error
        }
    }

    @Test func successes() throws {
        let body = #"{"access_token":"EAAtoken","token_type":"bearer","expires_in":5183944}"#
        #expect(try EmbeddedSignup.token(Self.answer(200, body)) == "EAAtoken")
        for step in [EmbeddedSignup.Step.subscribe, .register] {
            #expect(outcome(step, Self.answer(200, #"{"success":true}"#)) == nil)
        }
    }

    struct Refusal: Sendable, CustomTestStringConvertible {
        let step: EmbeddedSignup.Step
        let status: Int
        let code: Int64
        let kind: SignupFailure.Kind
        let field: String?

        init(
            _ step: EmbeddedSignup.Step,
            _ status: Int,
            _ code: Int64,
            _ kind: SignupFailure.Kind,
            _ field: String? = nil
        ) {
            self.step = step
            self.status = status
            self.code = code
            self.kind = kind
            self.field = field
        }

        var testDescription: String { "\(step) \(status) \(code)" }
    }

    static let refusals: [Refusal] = [
        Refusal(.exchange, 400, 100, .refused, "code"), Refusal(.exchange, 400, 1, .refused),
        Refusal(.exchange, 400, 101, .refused), Refusal(.exchange, 500, 1, .later), Refusal(.exchange, 400, 4, .later),
        Refusal(.subscribe, 400, 100, .refused, "waba_id"), Refusal(.subscribe, 403, 200, .refused),
        Refusal(.subscribe, 401, 190, .refused), Refusal(.subscribe, 500, 1, .later),
        Refusal(.subscribe, 503, 2, .later), Refusal(.subscribe, 429, 987_654, .later),
        Refusal(.register, 400, 133_005, .refused, "pin"), Refusal(.register, 400, 133_006, .refused),
        Refusal(.register, 400, 133_008, .later, "pin"), Refusal(.register, 400, 133_009, .later, "pin"),
        Refusal(.register, 400, 133_010, .refused), Refusal(.register, 400, 133_015, .later),
        Refusal(.register, 400, 133_016, .later), Refusal(.register, 400, 100, .refused, "phone_number_id"),
        Refusal(.register, 500, 131_045, .refused), Refusal(.register, 500, 987_654, .later),
        Refusal(.register, 400, 987_654, .refused),
    ]

    @Test(arguments: refusals)
    func refusedByMeta(_ row: Refusal) throws {
        let failure = try #require(outcome(row.step, Self.answer(row.status, Self.envelope(row.code))))
        #expect(failure.step == row.step)
        #expect(failure.kind == row.kind)
        #expect(failure.code == String(row.code))
        #expect(failure.field == row.field)
        #expect((failure.retryAfter != nil) == (row.kind == .later))
        let problem = GatewayError(failure)
        #expect(problem.code == "signup_failed")
        #expect(problem.status == (row.kind == .later ? 503 : 422))
        #expect(problem.detail.hasPrefix(row.step.rawValue + ": "))
        #expect(problem.detail.contains(String(row.code)))
        for secret in ["app-secret", "EAAtoken", "the-code"] { #expect(!problem.detail.contains(secret)) }
    }

    @Test func subcodesAndTransience() throws {
        let used = Self.answer(400, Self.envelope(100, #","error_subcode":36009"#))
        #expect(outcome(.exchange, used)?.code == "100/36009")
        #expect(outcome(.exchange, used)?.field == "code")
        let transient = Self.answer(400, Self.envelope(987_654, #","is_transient":true"#))
        #expect(outcome(.register, transient)?.kind == .later)
    }

    @Test func howLongToWait() {
        func wait(_ code: Int64) -> Int? { outcome(.register, Self.answer(400, Self.envelope(code)))?.retryAfter }
        #expect(wait(133_015) == 300)
        #expect(wait(133_016) == 259_200)
        #expect(wait(4) == 60)
    }

    struct Unclear: Sendable, CustomTestStringConvertible {
        let status: Int
        let body: String

        init(_ status: Int, _ body: String) {
            self.status = status
            self.body = body
        }

        var testDescription: String { "\(status) \(body.prefix(40))" }
    }

    /// Neither a success nor Meta's own word: nothing is known.
    static let unclear: [Unclear] = [
        Unclear(200, ""), Unclear(200, "[]"), Unclear(200, "{}"), Unclear(200, "true"),
        Unclear(200, #"{"success":false}"#), Unclear(200, #"{"success":"true"}"#),
        Unclear(200, #"{"access_token":""}"#), Unclear(200, #"{"access_token":["a"]}"#),
        Unclear(200, #"{"access_token":"a b"}"#), Unclear(200, #"{"access_token":"a\r\nX: y"}"#),
        Unclear(200, #"{"access_token":"é"}"#), Unclear(200, envelope(100)),
        Unclear(200, "{\"access_token\":\"" + String(repeating: "a", count: 4097) + "\"}"),
        Unclear(201, #"{"success":true}"#), Unclear(302, ""), Unclear(400, ""),
        Unclear(400, #"{"error":"invalid_request"}"#), Unclear(404, "<html>"), Unclear(500, "Internal Server Error"),
        Unclear(503, String(repeating: "[", count: 10_000)),
    ]

    @Test(arguments: unclear, EmbeddedSignup.Step.allCases)
    func unclearAnswers(_ row: Unclear, _ step: EmbeddedSignup.Step) throws {
        let failure = try #require(outcome(step, Self.answer(row.status, row.body)))
        #expect(failure.kind == .unclear)
        #expect(failure.code == "http_\(row.status)")
        #expect(GatewayError(failure).status == 502)
    }

    @Test func aTruncatedAnswerIsNone() {
        let token = Self.answer(200, #"{"access_token":"EAAtoken"}"#, truncated: true)
        #expect(outcome(.exchange, token)?.kind == .unclear)
        let success = Self.answer(200, #"{"success":true}"#, truncated: true)
        #expect(outcome(.register, success)?.kind == .unclear)
    }

    struct Loss: Sendable {
        let failure: TransferFailure
        let sent: Bool
        let kind: SignupFailure.Kind
        let status: Int
    }

    static let losses: [Loss] = [
        Loss(failure: .timedOut, sent: true, kind: .timedOut, status: 504),
        Loss(failure: .timedOut, sent: false, kind: .timedOut, status: 504),
        Loss(failure: .connectionLost, sent: true, kind: .unclear, status: 502),
        Loss(failure: .shuttingDown, sent: true, kind: .unclear, status: 502),
        Loss(failure: .connectFailed, sent: false, kind: .unreachable, status: 502),
        Loss(failure: .nameNotResolved, sent: false, kind: .unreachable, status: 502),
    ]

    @Test(arguments: losses, EmbeddedSignup.Step.allCases)
    func noAnswer(_ row: Loss, _ step: EmbeddedSignup.Step) throws {
        let error = TransferError(row.failure, requestBytesSent: row.sent, detail: "")
        let failure = try #require(outcome(step, .failure(error)))
        #expect(failure.kind == row.kind)
        #expect(failure.code == row.failure.code)
        #expect(GatewayError(failure).status == row.status)
        if step == .exchange { #expect(failure.detail.contains("was not used") == !row.sent) }
    }

    // MARK: Numbers that work already

    @Test func whatIsConnected() {
        let connected = #"{"status":"CONNECTED","platform_type":"CLOUD_API","id":"1001"}"#
        #expect(EmbeddedSignup.isConnected(Self.answer(200, connected)))
        let others: [Answer] = [
            Self.answer(200, connected, truncated: true), Self.answer(400, connected), Self.answer(200, "{}"),
            Self.answer(200, connected.replacing("CONNECTED", with: "PENDING")),
            Self.answer(200, connected.replacing("CLOUD_API", with: "ON_PREMISE")),
            .failure(TransferError(.timedOut, requestBytesSent: true, detail: "")),
        ]
        for other in others { #expect(!EmbeddedSignup.isConnected(other)) }
    }
}
