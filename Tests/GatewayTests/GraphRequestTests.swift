import Gateway
import Projections
import Testing

/// The call itself, and what Messenger and Instagram are told; WhatsApp's bodies are in `GraphWhatsAppRequestTests`.
@Suite struct GraphRequestTests {
    static let direct: [Platform] = [.facebook, .instagram]

    // MARK: The call

    struct Address: Sendable {
        let platform: Platform
        let usesInstagramLogin: Bool
        let url: String

        init(_ platform: Platform, usesInstagramLogin: Bool = false, _ url: String) {
            self.platform = platform
            self.usesInstagramLogin = usesInstagramLogin
            self.url = url
        }
    }

    static let addresses: [Address] = [
        Address(.whatsapp, "https://graph.example/v25.0/1001/messages"),
        Address(.facebook, "https://graph.example/v25.0/1001/messages"),
        Address(.instagram, "https://graph.example/v25.0/me/messages"),
        Address(.instagram, usesInstagramLogin: true, "https://graph.example/v25.0/me/messages"),
    ]

    @Test(arguments: addresses)
    func theCall(_ row: Address) throws {
        var credentials = GraphSample.credentials
        credentials.usesInstagramLogin = row.usesInstagramLogin
        let message = GraphSample.message(.text("hi"))
        let answer = GraphRequest.request(row.platform, credentials, message, baseURL: GraphSample.baseURL)
        let call = try #require(answer)
        #expect(call.method == "POST")
        #expect(call.url == row.url)
        #expect(call.timeout == .seconds(30))
        #expect(call.connectTimeout == .seconds(10))
        #expect(call.atMostOnce)
        let headers = call.headers.map { "\($0.name): \($0.value)" }
        #expect(
            headers == [
                "Authorization: Bearer EAAtoken", "Content-Type: application/json", "Accept: application/json",
                "User-Agent: Waybill/\(WaybillVersion.current)",
            ]
        )
    }

    @Test func nothingIsCalledForWhatAPlatformDoesNotHave() {
        let typing = GraphSample.message(.typing(isOn: true, lastInbound: "wamid.A"))
        #expect(!GraphSample.hasCall(.sms, GraphSample.message(.text("hi"))))
        #expect(!GraphSample.hasCall(.sms, typing))
        #expect(!GraphSample.hasCall(.facebook, GraphSample.template("")))
        #expect(!GraphSample.hasCall(.instagram, GraphSample.template("[]")))
        #expect(GraphSample.hasCall(.whatsapp, typing))
        let ending = GraphSample.message(.typing(isOn: false, lastInbound: "wamid.A"))
        #expect(!GraphSample.hasCall(.whatsapp, ending))
        let withoutInbound = GraphSample.message(.typing(isOn: true, lastInbound: ""))
        #expect(!GraphSample.hasCall(.whatsapp, withoutInbound))
    }

    // MARK: Contents

    private static func response(_ content: String) -> String {
        #"{"recipient":{"id":"9001"},"messaging_type":"RESPONSE","message":{\#(content),"metadata":"msg_1"}}"#
    }

    private static func attachment(_ type: String) -> String {
        let payload = #"{"url":"https://files.example/a?b=1","is_reusable":false}"#
        return response(#""attachment":{"type":"\#(type)","payload":\#(payload)}"#)
    }

    private static func action(_ name: String, _ rest: String = "") -> String {
        #"{"recipient":{"id":"9001"},"sender_action":"\#(name)"\#(rest)}"#
    }

    static let rows: [GraphSample.Row] = [
        GraphSample.Row(GraphSample.message(.text("Café \"☕\"\n")), response(#""text":"Café \"☕\"\n""#)),
        GraphSample.Row(GraphSample.media("image"), attachment("image")),
        GraphSample.Row(GraphSample.media("video"), attachment("video")),
        GraphSample.Row(GraphSample.media("audio"), attachment("audio")),
        GraphSample.Row(GraphSample.media("document", filename: "a.pdf"), attachment("file")),
        GraphSample.Row(GraphSample.media("sticker"), attachment("image")),
        GraphSample.Row(GraphSample.media("image", caption: "left behind"), attachment("image")),
        GraphSample.Row(
            GraphSample.message(.reaction(to: "m_A1", emoji: "😊")),
            action("react", #","payload":{"message_id":"m_A1","reaction":"😊"}"#)
        ),
        GraphSample.Row(
            GraphSample.message(.reaction(to: "m_A1", emoji: "")),
            action("unreact", #","payload":{"message_id":"m_A1"}"#)
        ),
        GraphSample.Row(GraphSample.message(.typing(isOn: true, lastInbound: "m_A1")), action("typing_on")),
        GraphSample.Row(GraphSample.message(.typing(isOn: false, lastInbound: "")), action("typing_off")),
    ]

    @Test(arguments: direct, rows)
    func contents(_ platform: Platform, _ row: GraphSample.Row) throws {
        try GraphSample.expect(platform, row.message, sends: row.json)
    }

    @Test(arguments: direct, ["+1", "US.1349"])
    func recipientsStayAsTheyAre(_ platform: Platform, _ id: String) throws {
        let body = try GraphSample.body(platform, GraphSample.message(.text("hi"), to: id))
        #expect(body["recipient"]?["id"]?.text == id)
    }

    // MARK: Options

    @Test(arguments: direct)
    func anAnswerNamesItsMessage(_ platform: Platform) throws {
        for sample in [GraphSample.message(.text("hi")), GraphSample.media("image")] {
            var message = sample
            message.replyTo = "m_Z"
            let body = try GraphSample.body(platform, message)
            #expect(body["reply_to"]?["mid"]?.text == "m_Z")
            #expect(body["message"]?["reply_to"]?.raw == nil)
        }
    }

    @Test(arguments: direct)
    func aPersonsAnswerIsTagged(_ platform: Platform) throws {
        var message = GraphSample.message(.text("hi"))
        message.isByHuman = true
        let head = #""recipient":{"id":"9001"},"messaging_type":"MESSAGE_TAG","tag":"HUMAN_AGENT""#
        let json = #"{\#(head),"message":{"text":"hi","metadata":"msg_1"}}"#
        try GraphSample.expect(platform, message, sends: json)
    }

    @Test(arguments: [Platform.facebook, .instagram, .whatsapp])
    func whatIsNoMessageAnswersNothing(_ platform: Platform) throws {
        let contents: [OutgoingMessage.Content] = [
            .reaction(to: "m_A1", emoji: "😊"), .typing(isOn: true, lastInbound: "m_A1"),
        ]
        for content in contents {
            var message = GraphSample.message(content)
            let plain = try GraphSample.body(platform, message)
            message.replyTo = "m_Z"
            message.isByHuman = true
            let other = try GraphSample.body(platform, message)
            #expect(other.raw == plain.raw)
        }
    }
}
