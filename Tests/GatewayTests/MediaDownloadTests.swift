import Gateway
import Log
import Projections
import Testing

/// Which URLs are called for a file, who is shown a credential, and what answers mean.
@Suite struct MediaDownloadTests {
    private static let graph = "https://graph.facebook.com"

    private func access(
        twilio: String = "https://api.twilio.com",
        graph: String = graph,
        http: Bool = false
    ) -> MediaAccess {
        MediaAccess(twilio: twilio, graph: graph, instagram: "https://graph.instagram.com", allowsHTTP: http)
    }

    private func download(
        _ platform: Platform,
        url: String = "",
        id: String = "",
        _ access: MediaAccess? = nil
    ) -> MediaDownload {
        var source = MediaSource(platform: platform, type: "image")
        source.url = url
        source.providerID = id
        return MediaDownload(source, access ?? self.access())
    }

    private func response(_ status: Int, location: String? = nil) -> OutgoingResponse {
        OutgoingResponse(
            status: status,
            headers: location.map { [("location", $0)] } ?? [],
            body: [],
            bodyTruncated: false,
            duration: .zero
        )
    }

    private static let twilioURL = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1"

    // MARK: Credentials

    @Test func twilioGetsItsCredentialAndNobodyElse() {
        var mms = download(.sms, url: Self.twilioURL)
        #expect(mms.first() == .fetch(url: Self.twilioURL, way: .configured, isAuthorized: true))
        let cdn = "https://media.twiliocdn.com/x"
        #expect(
            mms.next(after: response(307, location: cdn), from: Self.twilioURL)
                == .fetch(url: cdn, way: .open, isAuthorized: false)
        )
    }

    /// Not even back at home: a redirect is somebody else's word.
    @Test func noCredentialAlongARedirect() {
        var mms = download(.sms, url: Self.twilioURL)
        _ = mms.first()
        let step = mms.next(after: response(302, location: "/other"), from: Self.twilioURL)
        #expect(step == .fetch(url: "https://api.twilio.com/other", way: .configured, isAuthorized: false))
    }

    @Test(arguments: [
        "https://api.twilio.com.evil.test/x", "https://evil.test/api.twilio.com", "https://api.twilio.com:444/x",
        "https://xapi.twilio.com/x",
    ])
    func whatOnlyLooksLikeTwilioGetsNothing(_ url: String) {
        var mms = download(.sms, url: url)
        #expect(mms.first() == .fetch(url: url, way: .open, isAuthorized: false))
    }

    @Test func upperCaseAndDefaultPortsAreTheSameOrigin() {
        var mms = download(.sms, url: "HTTPS://API.Twilio.com:443/x")
        #expect(mms.first() == .fetch(url: "HTTPS://API.Twilio.com:443/x", way: .configured, isAuthorized: true))
    }

    @Test(arguments: [
        ("https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1", true),
        ("https://scontent.xx.fbcdn.net/x", true), ("https://mmg.whatsapp.net/x", true),
        ("https://fbsbx.com.evil.test/x", false), ("https://evilfbsbx.com/x", false),
        ("https://lookaside.fbsbx.com:8443/x", false), ("https://example.com/x", false),
    ])
    func metasTokenGoesToMetaAlone(_ url: String, _ isAuthorized: Bool) {
        var file = download(.whatsapp, id: "1")
        #expect(file.first() == .lookUp)
        let found = MediaLookup.answer(.success(answer(200, #"{"url":"\#(url)"}"#)))
        #expect(file.next(after: found, limit: 100) == .fetch(url: url, way: .open, isAuthorized: isAuthorized))
    }

    @Test(arguments: [Platform.facebook, .instagram])
    func messengerAndInstagramNeedNoCredential(_ platform: Platform) {
        let url = "https://scontent.xx.fbcdn.net/x"
        var file = download(platform, url: url, id: "369239263222822")
        #expect(file.first() == .fetch(url: url, way: .open, isAuthorized: false))
    }

    // MARK: Where to

    @Test func whatIsOnlyInsecureIsCalledThat() {
        var mms = download(.sms, url: "http://cdn.example.com/x")
        #expect(mms.first() == .failed(MediaFailure("insecure_url", isFinal: true)))
    }

    @Test(arguments: [
        "ftp://cdn.example.com/x", "file:///etc/passwd", "gopher://x/", "//x", "x", "",
        "https://user:secret@api.twilio.com/x", "https://api.twilio.com@evil.test/x", "https://",
    ])
    func whatIsNoURLIsNotFetched(_ url: String) {
        var mms = download(.sms, url: url.isEmpty ? " " : url)
        #expect(mms.first() == .failed(MediaFailure("invalid_url", isFinal: true)))
    }

    @Test func aRedirectToWhatIsNotSafeIsNotFollowed() {
        var mms = download(.sms, url: Self.twilioURL)
        _ = mms.first()
        let step = mms.next(after: response(307, location: "http://169.254.169.254/"), from: Self.twilioURL)
        #expect(step == .failed(MediaFailure("insecure_url", isFinal: true)))
    }

    @Test func plainHTTPIsForConfiguredOriginsAndDevelopment() {
        var own = download(.sms, url: "http://127.0.0.1:9/x", access(twilio: "http://127.0.0.1:9"))
        #expect(own.first() == .fetch(url: "http://127.0.0.1:9/x", way: .configured, isAuthorized: true))
        var other = download(.sms, url: "http://127.0.0.1:8/x", access(twilio: "http://127.0.0.1:9"))
        #expect(other.first() == .failed(MediaFailure("insecure_url", isFinal: true)))
        var allowed = download(.sms, url: "http://127.0.0.1:8/x", access(twilio: "http://127.0.0.1:9", http: true))
        #expect(allowed.first() == .fetch(url: "http://127.0.0.1:8/x", way: .open, isAuthorized: false))
    }

    @Test func anotherProvidersOriginIsNoWayIn() {
        let access = access(twilio: "http://10.0.0.1", graph: "http://10.0.0.2")
        var messenger = download(.facebook, url: "http://10.0.0.1/x", access)
        #expect(messenger.first() == .failed(MediaFailure("insecure_url", isFinal: true)))
        var mms = download(.sms, url: "http://10.0.0.2/x", access)
        #expect(mms.first() == .failed(MediaFailure("insecure_url", isFinal: true)))
    }

    @Test func aNewURLAfterARedirectIsTrustedAgain() {
        var file = download(.whatsapp, id: "1")
        _ = file.first()
        let url = "https://lookaside.fbsbx.com/x"
        _ = file.next(after: response(302, location: "/y"), from: url)
        #expect(file.next(after: response(404), from: url) == .lookUp)
        let found = MediaLookup.answer(.success(answer(200, #"{"url":"\#(url)"}"#)))
        #expect(file.next(after: found, limit: 9) == .fetch(url: url, way: .open, isAuthorized: true))
    }

    @Test func redirectsEnd() {
        var mms = download(.sms, url: Self.twilioURL)
        _ = mms.first()
        for _ in 0..<3 {
            guard case .fetch = mms.next(after: response(307, location: "/on"), from: Self.twilioURL) else {
                Issue.record("not followed")
                return
            }
        }
        let last = mms.next(after: response(307, location: "/on"), from: Self.twilioURL)
        #expect(last == .failed(MediaFailure("too_many_redirects")))
    }

    // MARK: Answers

    @Test func anExpiredURLIsAskedForOnceMore() {
        var file = download(.whatsapp, id: "1")
        _ = file.first()
        #expect(file.next(after: response(404), from: "https://lookaside.fbsbx.com/x") == .lookUp)
        #expect(
            file.next(after: response(404), from: "https://lookaside.fbsbx.com/x") == .failed(MediaFailure("not_found"))
        )
    }

    @Test(arguments: [
        (400, true), (401, false), (403, false), (404, false), (408, false), (410, true), (415, true), (429, false),
        (500, false), (503, false), (304, false),
    ])
    func whatIsSaidForGoodIsNotTriedAgain(_ status: Int, _ isFinal: Bool) {
        var mms = download(.sms, url: Self.twilioURL)
        _ = mms.first()
        guard case .failed(let failure) = mms.next(after: response(status), from: Self.twilioURL) else {
            Issue.record("not a failure")
            return
        }
        #expect(failure.isFinal == isFinal)
    }

    private func answer(_ status: Int, _ body: String) -> OutgoingResponse {
        OutgoingResponse(status: status, headers: [], body: Array(body.utf8), bodyTruncated: false, duration: .zero)
    }

    @Test(arguments: ["123", "\"123\""])
    func theLengthMayBeTextOrNumber(_ size: String) {
        let body =
            #"{"messaging_product":"whatsapp","url":"https:\/\/lookaside.fbsbx.com\/x","sha256":"ab","file_size":\#(size)}"#
        guard case .found(let found) = MediaLookup.answer(.success(answer(200, body))) else {
            Issue.record("not found")
            return
        }
        #expect(found == MediaLookup.Found("https://lookaside.fbsbx.com/x", sha256: "ab", size: 123))
        var file = download(.whatsapp, id: "1")
        _ = file.first()
        #expect(file.next(after: .found(found), limit: 122) == .failed(MediaFailure("too_large", isFinal: true)))
    }

    private static func refusal(_ code: Int) -> String {
        #"{"error":{"message":"no","type":"OAuthException","code":\#(code),"fbtrace_id":"A"}}"#
    }

    @Test(arguments: [
        (400, refusal(100), "not_found", true), (400, refusal(33), "not_found", true),
        (401, refusal(190), "unauthorized", false), (403, refusal(200), "unauthorized", false),
        // Limits come as 400.
        (400, refusal(80_007), "provider_error", false), (400, refusal(130_429), "provider_error", false),
        (400, refusal(4), "provider_error", false), (400, refusal(131_000), "provider_error", false),
        // A proxy's JSON is not Meta's word.
        (502, #"{"error":{"code":100}}"#, "http_status", false), (400, "oops", "http_status", false),
        (500, "oops", "http_status", false), (200, "{}", "bad_answer", false), (200, "not JSON", "bad_answer", false),
    ])
    func lookUpsThatFail(_ status: Int, _ body: String, _ code: String, _ isFinal: Bool) {
        let found = MediaLookup.answer(.success(answer(status, body)))
        #expect(found == .failed(MediaFailure(code, isFinal: isFinal)))
    }

    @Test func theIDOfAFileCannotBecomeAnotherPath() {
        var credentials = MetaCredentials()
        credentials.accountID = "106"
        credentials.accessToken = "T"
        let request = MediaLookup.request("../me?x=\u{E9}#", credentials, baseURL: Self.graph)
        #expect(request.url == "\(Self.graph)/v25.0/..%2Fme%3Fx%3D%C3%A9%23?phone_number_id=106")
        #expect(request.headers.contains { $0.name == "Authorization" && $0.value == "Bearer T" })
    }

    @Test func digestsAreComparedInBothForms() {
        let digest = Crypto.sha256([UInt8]("0x0123_4567".utf8)).withUnsafeBytes { Digest($0) }
        #expect(MediaSource.agrees(digest, with: Hex.encode(digest.bytes)))
        #expect(MediaSource.agrees(digest, with: Hex.encode(digest.bytes).uppercased()))
        #expect(MediaSource.agrees(digest, with: Base64.encode(digest.bytes)))
        #expect(MediaSource.agrees(digest, with: ""))
        let other = Crypto.sha256([UInt8]("0".utf8)).withUnsafeBytes { Digest($0) }
        #expect(!MediaSource.agrees(other, with: Hex.encode(digest.bytes)))
        #expect(!MediaSource.agrees(other, with: Base64.encode(digest.bytes)))
    }
}
