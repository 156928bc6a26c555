import Gateway
import Projections
import Testing

@Suite struct GraphWhatsAppRequestTests {
    private static func sent(_ type: String, _ content: String, to: String = #""to":"9001""#) -> String {
        let head = #""messaging_product":"whatsapp","recipient_type":"individual",\#(to)"#
        return #"{\#(head),"type":"\#(type)","\#(type)":\#(content),"biz_opaque_callback_data":"msg_1"}"#
    }

    // MARK: Contents

    private static func link(_ type: String, _ rest: String = "") -> String {
        sent(type, #"{"link":"https://files.example/a?b=1"\#(rest)}"#)
    }

    private static func media(_ type: String) -> OutgoingMessage {
        GraphSample.media(type, caption: "c", filename: "f")
    }

    private static let language = #""language":{"code":"en_US","policy":"deterministic"}"#

    static let rows: [GraphSample.Row] = [
        GraphSample.Row(GraphSample.message(.text("Café \"☕\"\n")), sent("text", #"{"body":"Café \"☕\"\n"}"#)),
        GraphSample.Row(media("image"), link("image", #","caption":"c""#)),
        GraphSample.Row(media("video"), link("video", #","caption":"c""#)),
        GraphSample.Row(media("audio"), link("audio")),
        GraphSample.Row(media("sticker"), link("sticker")),
        GraphSample.Row(media("document"), link("document", #","caption":"c","filename":"f""#)),
        GraphSample.Row(GraphSample.media("document"), link("document")),
        GraphSample.Row(GraphSample.template(""), sent("template", #"{"name":"hello",\#(language)}"#)),
        GraphSample.Row(
            GraphSample.template("[]"),
            sent("template", #"{"name":"hello",\#(language),"components":[]}"#)
        ),
        GraphSample.Row(
            GraphSample.message(.reaction(to: "wamid.A", emoji: "😊")),
            sent("reaction", #"{"message_id":"wamid.A","emoji":"😊"}"#)
        ),
        GraphSample.Row(
            GraphSample.message(.reaction(to: "wamid.A", emoji: "")),
            sent("reaction", #"{"message_id":"wamid.A","emoji":""}"#)
        ),
    ]

    @Test(arguments: rows)
    func contents(_ row: GraphSample.Row) throws {
        try GraphSample.expect(.whatsapp, row.message, sends: row.json)
    }

    @Test func typingMarksAsRead() throws {
        let message = GraphSample.message(.typing(isOn: true, lastInbound: "wamid.A"))
        let head = #""messaging_product":"whatsapp","status":"read","message_id":"wamid.A""#
        try GraphSample.expect(.whatsapp, message, sends: #"{\#(head),"typing_indicator":{"type":"text"}}"#)
    }

    /// Another parser's idea of the same JSON could be another template.
    @Test(arguments: ["[{\"type\" : \"body\",\n\"parameters\":[{\"a\":1.0e0,\"a\":\"\\u00e9\\/\"}]} ]", "[ ]"])
    func componentsStayByteForByte(_ components: String) throws {
        let body = try GraphSample.body(.whatsapp, GraphSample.template(components))
        #expect(body["template"]?["components"]?.raw == [UInt8](components.utf8))
    }

    @Test func anAnswerQuotes() throws {
        let samples = [
            GraphSample.message(.text("hi")), GraphSample.media("image"), GraphSample.template(""),
        ]
        for sample in samples {
            var message = sample
            message.replyTo = "wamid.Z"
            let body = try GraphSample.body(.whatsapp, message)
            #expect(body["context"]?["message_id"]?.text == "wamid.Z")
        }
    }

    /// Without a tag, because WhatsApp has no lane for people.
    @Test func aPersonsAnswerIsLikeAnyOther() throws {
        var message = GraphSample.message(.text("hi"))
        message.isByHuman = true
        try GraphSample.expect(.whatsapp, message, sends: Self.sent("text", #"{"body":"hi"}"#))
    }

    // MARK: Recipients

    struct Recipient: Sendable, CustomTestStringConvertible {
        let id: String
        let json: String

        init(_ id: String, _ json: String) {
            self.id = id
            self.json = json
        }

        var testDescription: String { id }
    }

    static let recipients: [Recipient] = [
        Recipient("16505551234", #""to":"16505551234""#), Recipient("+16505551234", #""to":"16505551234""#),
        Recipient("US.13491208655302741918", #""recipient":"US.13491208655302741918""#),
        Recipient("US.ENT.1349", #""recipient":"US.ENT.1349""#), Recipient("us.1349", #""to":"us.1349""#),
        Recipient("US.", #""to":"US.""#), Recipient("U1.1349", #""to":"U1.1349""#),
        Recipient("USA1349", #""to":"USA1349""#),
    ]

    @Test(arguments: recipients)
    func aBusinessScopedIdIsNoPhoneNumber(_ row: Recipient) throws {
        let text = GraphSample.message(.text("hi"), to: row.id)
        try GraphSample.expect(.whatsapp, text, sends: Self.sent("text", #"{"body":"hi"}"#, to: row.json))
        let template = GraphSample.template("", to: row.id)
        let content = #"{"name":"hello",\#(Self.language)}"#
        try GraphSample.expect(.whatsapp, template, sends: Self.sent("template", content, to: row.json))
    }
}
