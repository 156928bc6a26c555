import Gateway
import Projections
import Testing

/// What each type of message says.
@Suite struct WhatsAppContentTests {
    private typealias Wire = WhatsAppWire

    /// What a message of Ana's says, but for its id.
    private static func content(_ kind: String, text: String = "") -> MessageContent {
        var content = MessageContent()
        content.platformMessageID = "wamid.A="
        content.kind = kind
        content.text = text
        return content
    }

    // MARK: Text

    /// As Meta writes it: escaped, with surrogate pairs.
    @Test func escapedText() throws {
        let body = #"caf\u00e9 \ud83d\ude00 https:\/\/x.test\/a\n\"q\" \\ \ud83d."#
        let content = try Wire.content(#""type":"text","text":{"body":"\#(body)"}"#)
        #expect(content.text == "caf\u{E9} \u{1F600} https://x.test/a\n\"q\" \\ \u{FFFD}.")
        #expect(content.kind == "text")
    }

    @Test func emptyTextIsText() throws {
        let content = try Wire.content(#""type":"text","text":{"body":""}"#)
        #expect(content == WhatsAppContentTests.content("text"))
    }

    // MARK: Media

    @Test(arguments: ["image", "video", "audio", "document", "sticker"])
    func mediaWithEverything(_ type: String) throws {
        let members = #""mime_type":"a/b; c=d","sha256":"qL8=","caption":"Look","filename":"f.pdf","voice":true"#
        let part = #"{"id":"1908647269898587","url":"https:\/\/l.test\/?m=1",\#(members)}"#
        var media = MessageContent.Media(type: type)
        media.providerID = "1908647269898587"
        media.sourceURL = "https://l.test/?m=1"
        media.mimeType = "a/b; c=d"
        media.sha256 = "qL8="
        media.caption = "Look"
        media.filename = "f.pdf"
        media.isVoice = true
        var expected = WhatsAppContentTests.content(type)
        expected.media = [media]
        #expect(try Wire.content(#""type":"\#(type)","\#(type)":\#(part)"#) == expected)
    }

    @Test(arguments: ["image", "video", "audio", "document", "sticker"])
    func mediaWithAnIDOnly(_ type: String) throws {
        var media = MessageContent.Media(type: type)
        media.providerID = "98765432109876543210987"
        var expected = WhatsAppContentTests.content(type)
        expected.media = [media]
        let part = #"{"id":98765432109876543210987,"voice":false}"#
        #expect(try Wire.content(#""type":"\#(type)","\#(type)":\#(part)"#) == expected)
    }

    // MARK: Location

    @Test func location() throws {
        let numbers = #""latitude":37.44216251868683,"longitude":-122.16153582049394000001"#
        let part = #"{\#(numbers),"name":"HQ","address":"1 Hacker Way","url":"https://x.test"}"#
        var location = MessageContent.Location(latitude: "37.44216251868683", longitude: "-122.16153582049394000001")
        location.name = "HQ"
        location.address = "1 Hacker Way"
        var expected = WhatsAppContentTests.content("location")
        expected.location = location
        #expect(try Wire.content(#""type":"location","location":\#(part)"#) == expected)
    }

    @Test func locationInQuotes() throws {
        let content = try Wire.content(#""type":"location","location":{"latitude":"1.5","longitude":"-2e1"}"#)
        #expect(content.location == MessageContent.Location(latitude: "1.5", longitude: "-2e1"))
    }

    // MARK: Contacts

    /// The sender's own contact stands in `value.contacts`, the card that was sent in the message.
    @Test func contactsAreNotTheSender() throws {
        let phones = #"[{"phone":"+1 650","wa_id":"1650","type":"HOME"},{"wa_id":"1651"},{"type":"WORK"},5]"#
        let name = #"{"formatted_name":"Bob B.","first_name":"Bob"}"#
        let bob = #"{"name":\#(name),"phones":\#(phones),"emails":[{"email":"b@x"}]}"#
        let cat = #"{"name":{"first_name":"Cat"},"vcard":"BEGIN:VCARD"}"#
        let event = try Wire.event(#""type":"contacts","contacts":[\#(bob),\#(cat),7,{}]"#)
        var first = MessageContent.Contact(name: "Bob B.")
        first.phones = ["+1 650", "1651"]
        first.emails = ["b@x"]
        var expected = WhatsAppContentTests.content("contacts")
        expected.contacts = [first, MessageContent.Contact(name: "Cat"), MessageContent.Contact(name: "")]
        #expect(event.action == .message(expected))
        #expect(event.customer?.name == "Ana")
    }

    // MARK: Choices

    @Test(arguments: ["button_reply", "list_reply"])
    func reply(_ kind: String) throws {
        let part = #"{"type":"\#(kind)","\#(kind)":{"id":"yes-1","title":"Yes","description":"of course"}}"#
        var expected = WhatsAppContentTests.content("interactive", text: "Yes")
        expected.interactive = MessageContent.Interactive(kind: kind, id: "yes-1", title: "Yes")
        #expect(try Wire.content(#""type":"interactive","interactive":\#(part)"#) == expected)
    }

    @Test func flow() throws {
        let reply = #"{"name":"flow","body":"Sent","response_json":"{\"a\":\"\u00e9\"}"}"#
        var expected = WhatsAppContentTests.content("interactive", text: "{\"a\":\"\u{E9}\"}")
        expected.interactive = MessageContent.Interactive(kind: "flow_reply", id: "flow", title: "Sent")
        let part = #"{"type":"nfm_reply","nfm_reply":\#(reply)}"#
        #expect(try Wire.content(#""type":"interactive","interactive":\#(part)"#) == expected)
    }

    @Test func buttonOfATemplate() throws {
        var expected = WhatsAppContentTests.content("button", text: "Stop")
        expected.interactive = MessageContent.Interactive(kind: "button", id: "stop-1", title: "Stop")
        #expect(try Wire.content(#""type":"button","button":{"payload":"stop-1","text":"Stop"}"#) == expected)
    }

    // MARK: Order

    @Test func order() throws {
        let first = #"{"product_retailer_id":"sku-1","quantity":2,"item_price":19.990,"currency":"EUR"}"#
        let second = #"{"product_retailer_id":7,"quantity":"many","item_price":"1.5"}"#
        let part = #"{"catalog_id":"c1","text":"Please","product_items":[\#(first),null,\#(second)]}"#
        var expected = WhatsAppContentTests.content("order", text: "Please")
        expected.order = MessageContent.Order(
            catalogID: "c1",
            items: [
                MessageContent.Order.Item(productID: "sku-1", quantity: "2", price: "19.990", currency: "EUR"),
                MessageContent.Order.Item(productID: "7", quantity: "0", price: "1.5", currency: ""),
            ]
        )
        #expect(try Wire.content(#""type":"order","order":\#(part)"#) == expected)
    }

    // MARK: Unsupported

    @Test(arguments: [
        #""type":"unsupported","errors":[{"code":131051}],"unsupported":{"type":"poll"}"#, #""type":"unknown""#,
        #""type":"hologram","hologram":{"body":"x"}"#, #""type":"","":{}"#, #""type":5"#, #""text":{"body":"x"}"#,
        #""type":"interactive","interactive":{"type":"call_permission_reply","call_permission_reply":{"id":"a"}}"#,
        #""type":"interactive","interactive":{"type":"list_reply","button_reply":{"id":"a","title":"b"}}"#,
        #""type":"interactive","interactive":{"button_reply":{"id":"a","title":"b"}}"#,
        #""type":"interactive","interactive":{"type":"type"}"#,
        #""type":"interactive","interactive":{"type":"button_reply","button_reply":"a"}"#,
        #""type":"text","text":{}"#, #""type":"text","text":"x""#, #""type":"text","text":{"body":["x"]}"#,
        #""type":"location","location":{"latitude":1}"#, #""type":"location","location":{"longitude":1}"#,
        #""type":"location","location":{"latitude":"north","longitude":1}"#,
        #""type":"location","location":{"latitude":1,"longitude":"01"}"#, #""type":"contacts","contacts":{}"#,
    ])
    func whatIsNotUnderstood(_ members: String) throws {
        let event = try Wire.event(members)
        #expect(event.action == .message(WhatsAppContentTests.content("unsupported")))
        #expect(event.duplicateKey == "message/wamid.A=")
    }

    static let types = [
        "text", "image", "video", "audio", "document", "sticker", "location", "contacts", "interactive", "button",
        "order",
    ]

    @Test(arguments: types, ["null", "5", #""x""#])
    func knownTypeWithoutItsObject(_ type: String, _ part: String) throws {
        let expected = WhatsAppContentTests.content("unsupported")
        #expect(try Wire.content(#""type":"\#(type)""#) == expected)
        #expect(try Wire.content(#""type":"\#(type)","\#(type)":\#(part)"#) == expected)
    }

    // MARK: Around the content

    @Test func replyToAnother() throws {
        let context = #"{"from":"15550783881","id":"wamid.Q=","referred_product":{"catalog_id":"c"}}"#
        let content = try Wire.content(#""context":\#(context),"type":"text","text":{"body":"x"}"#)
        var expected = WhatsAppContentTests.content("text", text: "x")
        expected.replyTo = "wamid.Q="
        expected.product = MessageContent.Product(catalogID: "c", productID: "")
        #expect(content == expected)
    }

    @Test func questionAboutAProduct() throws {
        let context = #"{"referred_product":{"catalog_id":194836987003835,"product_retailer_id":"di9"}}"#
        let content = try Wire.content(#""context":\#(context),"type":"text","text":{"body":"x"}"#)
        #expect(content.product == MessageContent.Product(catalogID: "194836987003835", productID: "di9"))
        let empty = #"{"referred_product":{"catalog_id":"","product_retailer_id":null}}"#
        let other = try Wire.content(#""context":\#(empty),"type":"text","text":{"body":"x"}"#)
        #expect(other.product == nil)
    }

    @Test(arguments: [#"{"forwarded":true}"#, #"{"from":"15550783881"}"#, "null", "[]"])
    func contextWithoutID(_ context: String) throws {
        let content = try Wire.content(#""context":\#(context),"type":"text","text":{"body":"x"}"#)
        #expect(content.replyTo == "")
    }

    @Test func referralOfAnAd() throws {
        let ad = #""source_url":"https:\/\/fb.me\/3","source_type":"AD","source_id":"120","ctwa_clid":"Afc""#
        let referral = #"{\#(ad),"headline":"Sale","body":"Now","media_type":"image","image_url":"https:\/\/i"}"#
        var found = MessageContent.Referral(source: "ad")
        found.adID = "120"
        found.headline = "Sale"
        found.body = "Now"
        found.clickID = "Afc"
        found.sourceURL = "https://fb.me/3"
        var expected = WhatsAppContentTests.content("text", text: "x")
        expected.referral = found
        let content = try Wire.content(#""referral":\#(referral),"type":"text","text":{"body":"x"}"#)
        #expect(content == expected)
    }

    @Test(arguments: ["null", "[]", #""ad""#])
    func referralOfNoShape(_ referral: String) throws {
        let content = try Wire.content(#""referral":\#(referral),"type":"text","text":{"body":"x"}"#)
        #expect(content == WhatsAppContentTests.content("text", text: "x"))
    }
}
