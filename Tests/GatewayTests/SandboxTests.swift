import Gateway
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Log
import NIOCore
import Projections
import TestSupport
import Testing

/// What the sandbox's customers write, and the way from the provider's webhook to the bytes of their files.
@Suite(.timeLimit(.minutes(5)))
struct SandboxTests {
    private static let base = "http://sandbox.test"
    private static let content = [UInt8](0...255) + [UInt8]("file".utf8)

    // MARK: WhatsApp

    @Test func aFileOfWhatsAppIsForWhoHasTheToken() async throws {
        try await Stage.with { stage in
            let fields = #""type":"image","mime_type":"image/png","caption":"für dich","filename":"none""#
            let message = try Self.message("whatsapp", fields)
            #expect(await stage.graph.deliver(message) == 200)
            let told = try stage.whatsAppMessage()
            #expect(told["type"]?.text == "image")
            let image = try #require(told["image"])
            #expect(image.names == ["caption", "mime_type", "sha256", "id"])
            #expect(image["caption"]?.text == "für dich")
            #expect(image["mime_type"]?.text == "image/png")
            #expect(image["sha256"]?.text == Base64.encode(Crypto.sha256(Self.content)))

            let id = try #require(image["id"]?.text)
            let path = "/v25.0/\(id)?phone_number_id=1"
            #expect(try await stage.get(path).status == 401)
            #expect(try await stage.get(path, authorization: "Bearer nonsense").status == 401)
            let reply = try await stage.get(path, authorization: stage.bearer)
            #expect(reply.status == 200)
            let place = try #require(ProviderJSON(reply.body))
            #expect(place["sha256"]?.text == Hex.encode(Crypto.sha256(Self.content)))
            #expect(place["file_size"]?.integer == Int64(Self.content.count))
            #expect(place["mime_type"]?.text == "image/png")

            let file = try #require(place["url"]?.text).replacing(Self.base, with: "")
            #expect(try await stage.get(file).status == 401)
            #expect(try await stage.get(file, authorization: stage.bearer, agent: "").status == 401)
            let served = try await stage.get(file, authorization: stage.bearer)
            #expect(served.status == 200)
            #expect(served.body == Self.content)
            #expect(served.header("Content-Type") == "image/png")
        }
    }

    @Test func documentsHaveNamesAndVoiceNotesAreToldApart() async throws {
        try await Stage.with { stage in
            let document = #""type":"document","mime_type":"text/plain","filename":"note \"1\".txt""#
            _ = await stage.graph.deliver(try Self.message("whatsapp", document))
            let told = try stage.whatsAppMessage()
            #expect(told["document"]?["filename"]?.text == "note \"1\".txt")
            for (type, isVoice) in [("audio/ogg; codecs=opus", true), ("audio/mpeg", false)] {
                let audio = #""type":"audio","mime_type":"\#(type)","caption":"none""#
                _ = await stage.graph.deliver(try Self.message("whatsapp", audio))
                let told = try stage.whatsAppMessage()
                #expect(told["audio"]?["voice"]?.bool == isVoice)
                #expect(told["audio"]?.names.contains("caption") == false)
            }
        }
    }

    @Test func aMediaIdThatIsNotThereIsAnErrorOfTheGraph() async throws {
        try await Stage.with { stage in
            let reply = try await stage.get("/v25.0/4711", authorization: stage.bearer)
            #expect(reply.status == 400)
            let error = try #require(ProviderJSON(reply.body)?["error"])
            #expect(error["code"]?.integer == 100)
            #expect(error["error_subcode"]?.integer == 33)
        }
    }

    @Test func textsAreAsTheyWere() async throws {
        try await Stage.with { stage in
            let body = #"{"platform":"whatsapp","from":"16505551234","text":"Hi / ☕"}"#
            let message = try CustomerMessage(try JSONFields([UInt8](body.utf8)))
            #expect(await stage.graph.deliver(message) == 200)
            let told = try stage.whatsAppMessage()
            #expect(told["text"]?["body"]?.text == "Hi / ☕")
            #expect(told["type"]?.text == "text")
            let webhook = try stage.webhook()
            #expect(webhook.body.contains(#"Hi \/ \u2615"#), "as Meta escapes it")
        }
    }

    // MARK: Messenger and Instagram

    @Test(arguments: ["facebook", "instagram"])
    func aFileOfMessengerOrInstagramHasAnAddressForAnyone(_ platform: String) async throws {
        try await Stage.with { stage in
            let fields = #""type":"document","mime_type":"application/pdf","filename":"a.pdf""#
            let message = try Self.message(platform, fields, text: "see")
            #expect(await stage.graph.deliver(message) == 200)
            let webhook = try stage.webhookJSON()
            let event = webhook["entry"]?.elements.first?["messaging"]?.elements.first
            let told = try #require(event?["message"])
            #expect(told["text"]?.text == "see")
            let attachment = try #require(told["attachments"]?.elements.first)
            #expect(attachment["type"]?.text == "file")
            let url = try #require(attachment["payload"]?["url"]?.text)
            #expect(url.hasPrefix(Self.base + "/sandbox/meta-cdn/"))
            let served = try await stage.get(url.replacing(Self.base, with: ""))
            #expect(served.status == 200)
            #expect(served.body == Self.content)
            #expect(served.header("Content-Type") == "application/pdf")
            let elsewhere = url.replacing(Self.base, with: "").replacing("meta-cdn", with: "whatsapp-media")
            #expect(try await stage.get(elsewhere, authorization: stage.bearer).status == 404)
        }
    }

    // MARK: Twilio

    @Test func aFileOfTwilioIsBehindARedirect() async throws {
        try await Stage.with { stage in
            let message = try Self.message("sms", #""type":"image","mime_type":"image/gif","caption":"none""#)
            #expect(await stage.twilio.deliver(message, to: stage.gateway.url) == 200)
            let webhook = try stage.webhook()
            let form = try #require(FormBody([UInt8](webhook.body.utf8)))
            #expect(form["NumMedia"] == "1")
            #expect(form["MediaContentType0"] == "image/gif")
            #expect(form["MessageSid"]?.hasPrefix("MM") == true)
            let signature = TwilioSignature.expected(
                token: [UInt8](stage.twilio.authToken.utf8),
                url: stage.gateway.url,
                fields: form.fields
            )
            #expect(webhook.head.contains("X-Twilio-Signature: \(signature)"))

            let path = try #require(form["MediaUrl0"]).replacing(Self.base, with: "")
            #expect(path.hasPrefix("/2010-04-01/Accounts/\(SimulatedTwilio.accountSID)/Messages/MM"))
            #expect(try await stage.get(path).status == 401)
            let reply = try await stage.get(path, authorization: stage.basic)
            #expect(reply.status == 307)
            let location = try #require(reply.header("Location"))
            #expect(location.hasPrefix(Self.base + "/sandbox/twilio-cdn/"))
            let served = try await stage.get(location.replacing(Self.base, with: ""))
            #expect(served.status == 200)
            #expect(served.body == Self.content)
            #expect(served.header("Content-Type") == "image/gif")
            #expect(try await stage.get(path + "0", authorization: stage.basic).status == 404)
        }
    }

    /// A provider takes what it likes; what is the sandbox's own refuses what it does not know, as the gateway does.
    @Test func onlyProvidersTakeUnknownParameters() async throws {
        try await Stage.with { stage in
            for path in ["/sandbox/sent", "/sandbox/sent-meta", "/sandbox/failures"] {
                #expect(try await stage.get(path).status == 200, "\(path)")
                let refused = try await stage.get(path + "?x=1")
                #expect(refused.status == 400, "\(path)")
                #expect(refused.field == "x", "\(path)")
            }
            let provider = try await stage.get("/v25.0/1?fields=url", authorization: "Bearer x")
            #expect(provider.status == 401, "the provider answers, not the gateway's rules")
        }
    }

    @Test func aTextOverTwilioHasNoMedia() async throws {
        try await Stage.with { stage in
            let fields = try JSONFields([UInt8](#"{"from":"+15551234567"}"#.utf8))
            let message = try CustomerMessage(fields, over: .sms)
            #expect(await stage.twilio.deliver(message, to: stage.gateway.url) == 200)
            let webhook = try stage.webhook()
            let form = try #require(FormBody([UInt8](webhook.body.utf8)))
            #expect(form["NumMedia"] == "0")
            #expect(form["MediaUrl0"] == nil)
            #expect(form["Body"]?.isEmpty == true)
            #expect(form["MessageSid"]?.hasPrefix("SM") == true)
        }
    }

    // MARK: Many at once

    @Test func aBatchIsOneWebhookOfEachObject() async throws {
        try await Stage.with { stage in
            let posts = try Self.posts(Self.mixed, #","batch":true"#)
            var generator = SystemRandomNumberGenerator()
            let plan = posts.plan(using: &generator)
            #expect(plan.webhooks == [[0, 3], [1, 5], [2], [4], [6]], "Twilio has no batches")
            #expect(plan.order == [0, 1, 2, 3, 4])

            let numbers = try #require(plan.webhooks.first)
            #expect(await stage.graph.post(stage.graph.webhook(of: numbers.map { posts.messages[$0] })) == 200)
            let entries = try #require(try stage.webhookJSON()["entry"]).elements
            #expect(entries.count == 1)
            let changes = entries.first?["changes"]?.elements ?? []
            let texts = changes.compactMap { $0["value"]?["messages"]?.elements.first?["text"]?["body"]?.text }
            #expect(texts == ["0", "3"])

            #expect(await stage.graph.post(stage.graph.webhook(of: [1, 5].map { posts.messages[$0] })) == 200)
            let pages = try stage.webhookJSON()
            #expect(pages["object"]?.text == "page")
            let events = (pages["entry"]?.elements ?? []).compactMap { $0["messaging"]?.elements.first }
            #expect(events.compactMap { $0["message"]?["text"]?.text } == ["1", "5"])
        }
    }

    @Test func aRepeatIsTheSameWebhookAgain() throws {
        let posts = try Self.posts(Self.mixed, #","repeat":3"#)
        var generator = SystemRandomNumberGenerator()
        let plan = posts.plan(using: &generator)
        #expect(plan.webhooks == (0...6).map { [$0] })
        #expect(plan.order == (0...6).flatMap { [$0, $0, $0] })
    }

    @Test func aShuffleLosesNothing() throws {
        for options in [#","shuffle":true,"repeat":2"#, #","shuffle":true,"repeat":2,"batch":true"#] {
            let posts = try Self.posts(Self.mixed, options)
            var orders: Set<[Int]> = []
            for seed in 0..<20 {
                var generator = SeededGenerator(seed: UInt64(seed))
                let plan = posts.plan(using: &generator)
                let sent = plan.order.flatMap { plan.webhooks[$0] }
                #expect(sent.sorted() == (0...6).flatMap { [$0, $0] })
                orders.insert(sent)
            }
            #expect(orders.count > 1)
        }
    }

    @Test(arguments: [
        (#"{"messages":[]}"#, "messages"), (#"{"messages":["x"]}"#, "messages"),
        (#"{"messages":[{"platform":"sms","from":"1","text":"x"}]}"#, "messages.from"),
        (#"{"messages":[{"platform":"sms","from":"+15551234567","repeat":2}]}"#, "messages.repeat"),
        (#"{"messages":[{"platform":"sms","from":"+15551234567"}],"batch":1}"#, "batch"),
        (#"{"messages":[{"platform":"sms","from":"+15551234567"}],"order":"random"}"#, "order"),
        (#"{"platform":"sms","from":"+15551234567","repeat":0}"#, "repeat"),
        (#"{"platform":"sms","from":"+15551234567","repeat":11}"#, "repeat"),
        (#"{"platform":"sms","from":"+15551234567","batch":true}"#, "batch"),
    ])
    func aBadListIsRefusedByName(_ body: String, _ field: String) throws {
        #expect(Self.refused { _ = try CustomerPosts(try JSONFields([UInt8](body.utf8))) } == field)
    }

    @Test func aListIsBounded() throws {
        let one = #"{"platform":"sms","from":"+15551234567"}"#
        #expect(try Self.posts(Array(repeating: one, count: CustomerPosts.messagesMax)).messages.count == 100)
        #expect(Self.refused { _ = try Self.posts(Array(repeating: one, count: 101)) } == "messages")
        let media = #""media":{"type":"image","mime_type":"image/png","content":"eA=="}"#
        let file = #"{"platform":"sms","from":"+15551234567",\#(media)}"#
        _ = try Self.posts(Array(repeating: file, count: SandboxFiles.countMax))
        let more = Array(repeating: file, count: SandboxFiles.countMax + 1)
        #expect(Self.refused { _ = try Self.posts(more) } == "messages")
    }

    // MARK: Failures

    @Test(arguments: [("whatsapp", "106540352242922"), ("facebook", "100000000000001"), ("instagram", "me")])
    func sendsFailAsTheGraphFails(_ platform: String, _ account: String) async throws {
        try await Stage.with { stage in
            try stage.fail(platform, 503, 4_711, 2)
            let isWhatsApp = platform == "whatsapp"
            let recipient = isWhatsApp ? #""to":"1","type":"text""# : #""recipient":{"id":"1"},"message":{"text":"x"}"#
            let body = isWhatsApp ? #"{"messaging_product":"whatsapp",\#(recipient)}"# : "{\(recipient)}"
            for left in [1, 0] {
                let reply = try await stage.send("/v25.0/\(account)/messages", body, stage.bearer)
                #expect(reply.status == 503)
                let error = try #require(ProviderJSON(reply.body)?["error"])
                #expect(error.names == ["message", "type", "code", "fbtrace_id"])
                #expect(error["code"]?.integer == 4_711)
                let listed = try #require(ProviderJSON(try await stage.get("/sandbox/failures").body)?["data"])
                #expect(listed.elements.compactMap { $0["count"]?.integer } == (left > 0 ? [Int64(left)] : []))
            }
            #expect(try await stage.send("/v25.0/\(account)/messages", body, stage.bearer).status == 200)
        }
    }

    @Test func sendsFailAsTwilioFails() async throws {
        try await Stage.with { stage in
            try stage.fail("whatsapp", 400, 1, 1)
            try stage.fail("sms", 429, 20_429, 1)
            let path = "/2010-04-01/Accounts/\(SimulatedTwilio.accountSID)/Messages.json"
            let reply = try await stage.send(path, "To=%2B15551234567&Body=x", stage.basic)
            #expect(reply.status == 429)
            let error = try #require(ProviderJSON(reply.body))
            #expect(error.names == ["code", "message", "more_info", "status"])
            #expect(error["code"]?.integer == 20_429)
            #expect(error["status"]?.integer == 429)
            #expect(try await stage.send(path, "To=%2B15551234567&Body=x", stage.basic).status == 201)

            try stage.failures.plan(try JSONFields([UInt8](#"{"platform":"whatsapp","count":0}"#.utf8)))
            #expect(stage.failures.take(.whatsapp) == nil)
        }
    }

    @Test(arguments: [
        (#"{"status":400,"code":1}"#, "platform"), (#"{"platform":"telegram","status":400,"code":1}"#, "platform"),
        (#"{"platform":"sms","code":1}"#, "status"), (#"{"platform":"sms","status":399,"code":1}"#, "status"),
        (#"{"platform":"sms","status":400}"#, "code"), (#"{"platform":"sms","status":400,"code":"1"}"#, "code"),
        (#"{"platform":"sms","status":400,"code":1,"count":101}"#, "count"),
        (#"{"platform":"sms","status":400,"code":1,"mode":"hang"}"#, "mode"),
    ])
    func aBadFailureIsRefusedByName(_ body: String, _ field: String) throws {
        let failures = SandboxFailures()
        #expect(Self.refused { try failures.plan(try JSONFields([UInt8](body.utf8))) } == field)
    }

    // MARK: Bounds

    @Test func onlyTheNewestFilesAreKept() async throws {
        try await Stage.with { stage in
            var paths: [String] = []
            for _ in 0...SandboxFiles.countMax {
                let message = try Self.message("whatsapp", #""type":"image","mime_type":"image/png""#)
                #expect(await stage.graph.deliver(message) == 200)
                let told = try stage.whatsAppMessage()
                let id = try #require(told["image"]?["id"]?.text)
                paths.append("/v25.0/\(id)")
            }
            let first = try #require(paths.first)
            #expect(try await stage.get(first, authorization: stage.bearer).status == 400)
            for path in paths.dropFirst() {
                #expect(try await stage.get(path, authorization: stage.bearer).status == 200)
            }
        }
    }

    @Test(arguments: [
        (#"{"platform":"telegram","from":"1","text":"x"}"#, "platform"), (#"{"from":"1","text":"x"}"#, "platform"),
        (#"{"platform":"whatsapp","text":"x"}"#, "from"), (#"{"platform":"whatsapp","from":"1 2","text":"x"}"#, "from"),
        (#"{"platform":"sms","from":"15551234567","text":"x"}"#, "from"),
        (#"{"platform":"whatsapp","from":"1"}"#, "text"), (#"{"platform":"facebook","from":"1","text":""}"#, "text"),
        (#"{"platform":"facebook","from":"1","text":"x","colour":"red"}"#, "colour"),
    ])
    func aBadMessageIsRefusedByName(_ body: String, _ field: String) throws {
        #expect(Self.refused(body) == field)
    }

    @Test(arguments: [
        (#""mime_type":"image/png","content":"eA==""#, "media.type"),
        (#""type":"hologram","mime_type":"image/png","content":"eA==""#, "media.type"),
        (#""type":"image","content":"eA==""#, "media.mime_type"),
        (#""type":"image","mime_type":"png","content":"eA==""#, "media.mime_type"),
        (#""type":"image","mime_type":"image/png\r\nX: 1","content":"eA==""#, "media.mime_type"),
        (#""type":"image","mime_type":"image/png""#, "media.content"),
        (#""type":"image","mime_type":"image/png","content":"""#, "media.content"),
        (#""type":"image","mime_type":"image/png","content":"?""#, "media.content"),
        (#""type":"image","mime_type":"image/png","content":"eA==","size":1"#, "media.size"),
    ])
    func aBadFileIsRefusedByName(_ media: String, _ field: String) throws {
        #expect(Self.refused(#"{"platform":"whatsapp","from":"1","media":{\#(media)}}"#) == field)
    }

    @Test func aFileIsBounded() throws {
        func body(_ bytes: Int) -> String {
            let content = Base64.encode([UInt8](repeating: 7, count: bytes))
            let media = #"{"type":"image","mime_type":"image/png","content":"\#(content)"}"#
            return #"{"platform":"whatsapp","from":"1","media":\#(media)}"#
        }
        #expect(Self.refused(body(SandboxFile.bytesMax)) == nil)
        #expect(Self.refused(body(SandboxFile.bytesMax + 1)) == "media.content")
    }

    @Test func aTextStandsBesideAFileWhereThePlatformHasThat() throws {
        let media = #""media":{"type":"image","mime_type":"image/png","content":"eA=="}"#
        for (platform, from) in [("facebook", "1"), ("instagram", "1"), ("sms", "+15551234567")] {
            #expect(Self.refused(#"{"platform":"\#(platform)","from":"\#(from)","text":"x",\#(media)}"#) == nil)
        }
        #expect(Self.refused(#"{"platform":"whatsapp","from":"1","text":"x",\#(media)}"#) == "text")
    }

    /// The field for which a form is refused, if it is.
    private static func refused(_ body: String) -> String? {
        refused { _ = try CustomerMessage(try JSONFields([UInt8](body.utf8))) }
    }

    private static func refused(_ read: () throws -> Void) -> String? {
        do {
            try read()
            return nil
        } catch {
            return (error as? GatewayError)?.field ?? "\(error)"
        }
    }

    /// Of every platform, not in order; each says which of them it is.
    private static var mixed: [String] {
        let platforms = ["whatsapp", "facebook", "sms", "whatsapp", "sms", "facebook", "instagram"]
        return platforms.enumerated().map { index, platform in
            let from = platform == "sms" ? "+15551234567" : "16505551234"
            return #"{"platform":"\#(platform)","from":"\#(from)","text":"\#(index)"}"#
        }
    }

    private static func posts(_ messages: [String], _ options: String = "") throws -> CustomerPosts {
        let body = #"{"messages":[\#(messages.joined(separator: ","))]\#(options)}"#
        return try CustomerPosts(try JSONFields([UInt8](body.utf8)))
    }

    private static func message(_ platform: String, _ media: String, text: String = "") throws -> CustomerMessage {
        let from = platform == "sms" ? "+15551234567" : "16505551234"
        let file = #"{\#(media),"content":"\#(Base64.encode(content))"}"#
        let body = #"{"platform":"\#(platform)","from":"\#(from)","text":"\#(text)","media":\#(file)}"#
        return try CustomerMessage(try JSONFields([UInt8](body.utf8)))
    }
}

/// Both providers on one router, and a gateway that takes every webhook.
private struct Stage: Sendable {
    struct Webhook {
        let head: String
        let body: String
    }

    struct Missing: Error {}

    let http: any TestClientProtocol
    let graph: SimulatedGraph
    let twilio: SimulatedTwilio
    let failures: SandboxFailures
    let gateway: LoopbackServer

    static func with(_ body: @Sendable (Stage) async throws -> Void) async throws {
        let taken = LoopbackServer.Step.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        let gateway = try LoopbackServer(Array(repeating: taken, count: 64))
        defer { gateway.stop() }
        let driver = try CurlDriver(policy: nil, connectionsMax: 4, connectionsPerHostMax: 4, usesHTTP2: false)
        let files = SandboxFiles()
        let failures = SandboxFailures()
        let graph = SimulatedGraph(driver: driver, files: files, failures: failures)
        let twilio = SimulatedTwilio(driver: driver, files: files, failures: failures)
        graph.use(webhook: gateway.url)
        graph.use(base: "http://sandbox.test")
        twilio.use(base: "http://sandbox.test")
        let routes = GatewayRoutes(metrics: GatewayMetrics())
        let router = routes.group()
        graph.add(to: router)
        twilio.add(to: router)
        failures.add(to: router)
        try await Application(router: routes).test(.router) { client in
            let stage = Stage(http: client, graph: graph, twilio: twilio, failures: failures, gateway: gateway)
            try await body(stage)
        }
        await driver.shutdown()
    }

    var bearer: String { "Bearer \(graph.accessToken)" }

    var basic: String {
        "Basic " + Base64.encode([UInt8]("\(SimulatedTwilio.accountSID):\(twilio.authToken)".utf8))
    }

    func get(_ path: String, authorization: String? = nil, agent: String = "Waybill/0") async throws -> Reply {
        var headers = HTTPFields()
        headers[.userAgent] = agent
        if let authorization { headers[.authorization] = authorization }
        let response = try await http.execute(uri: path, method: .get, headers: headers)
        return Reply(status: response.status.code, headers: response.headers, body: [UInt8](buffer: response.body))
    }

    func send(_ path: String, _ body: String, _ authorization: String) async throws -> Reply {
        let response = try await http.execute(
            uri: path,
            method: .post,
            headers: [.authorization: authorization],
            body: ByteBuffer(string: body)
        )
        return Reply(status: response.status.code, headers: response.headers, body: [UInt8](buffer: response.body))
    }

    func fail(_ platform: String, _ status: Int, _ code: Int, _ count: Int) throws {
        let body = #"{"platform":"\#(platform)","status":\#(status),"code":\#(code),"count":\#(count)}"#
        try failures.plan(try JSONFields([UInt8](body.utf8)))
    }

    /// The newest one that the gateway got.
    func webhook() throws -> Webhook {
        guard let request = gateway.requests.last, let end = request.firstRange(of: "\r\n\r\n") else { throw Missing() }
        return Webhook(head: String(request[..<end.lowerBound]), body: String(request[end.upperBound...]))
    }

    func webhookJSON() throws -> ProviderJSON {
        let webhook = try webhook()
        let body = [UInt8](webhook.body.utf8)
        let signature = Hex.encode(Crypto.hmacSHA256(key: [UInt8](graph.appSecret.utf8), message: body))
        guard webhook.head.contains("X-Hub-Signature-256: sha256=\(signature)"), let json = ProviderJSON(body) else {
            throw Missing()
        }
        return json
    }

    func whatsAppMessage() throws -> ProviderJSON {
        let value = try webhookJSON()["entry"]?.elements.first?["changes"]?.elements.first?["value"]
        guard let message = value?["messages"]?.elements.first else { throw Missing() }
        return message
    }
}
