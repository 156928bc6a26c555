import Gateway
import Projections
import Testing

/// Messages that are about another message, and those that say nothing.
@Suite struct WhatsAppActionTests {
    private typealias Wire = WhatsAppWire

    @Test func reaction() throws {
        let event = try Wire.event(#""type":"reaction","reaction":{"message_id":"wamid.O=","emoji":"\ud83d\ude00"}"#)
        #expect(event.action == .reaction(to: "wamid.O=", emoji: "\u{1F600}", removed: false))
        #expect(event.duplicateKey == "reaction/wamid.A=")
        #expect(event.customer?.id == "16505551234")
    }

    @Test(arguments: [#","emoji":"""#, #","emoji":null"#, ""])
    func reactionTakenBack(_ emoji: String) throws {
        let event = try Wire.event(#""type":"reaction","reaction":{"message_id":"wamid.O="\#(emoji)}"#)
        #expect(event.action == .reaction(to: "wamid.O=", emoji: "", removed: true))
        #expect(event.duplicateKey == "reaction/wamid.A=")
    }

    @Test func editHasTheOriginalsID() throws {
        let inner = #"{"context":{"id":"wamid.Q="},"type":"image","image":{"id":"9","caption":"new"}}"#
        let event = try Wire.event(#""type":"edit","edit":{"original_message_id":"wamid.O=","message":\#(inner)}"#)
        var image = MessageContent.Media(type: "image")
        image.providerID = "9"
        image.caption = "new"
        var content = MessageContent()
        content.platformMessageID = "wamid.O="
        content.kind = "image"
        content.media = [image]
        content.replyTo = "wamid.Q="
        #expect(event.action == .edit(of: "wamid.O=", number: 0, content))
        #expect(event.duplicateKey == "edit/wamid.A=")
        #expect(event.milliseconds == 1_790_000_000_000)
    }

    @Test(arguments: ["edit", "reaction", "revoke", "hologram"])
    func editIntoWhatIsNoContent(_ type: String) throws {
        let inner = #"{"type":"\#(type)","\#(type)":{"original_message_id":"a","message_id":"a"}}"#
        let event = try Wire.event(#""type":"edit","edit":{"original_message_id":"wamid.O=","message":\#(inner)}"#)
        var content = MessageContent()
        content.platformMessageID = "wamid.O="
        content.kind = "unsupported"
        #expect(event.action == .edit(of: "wamid.O=", number: 0, content))
    }

    @Test func revoke() throws {
        let event = try Wire.event(#""type":"revoke","revoke":{"original_message_id":"wamid.O="}"#)
        #expect(event.action == .unsend(of: "wamid.O="))
        #expect(event.duplicateKey == "unsend/wamid.A=")
    }

    /// Nothing is purged or replaced when we do not know what.
    @Test(arguments: [
        #""type":"reaction""#, #""type":"reaction","reaction":{"emoji":"x"}"#,
        #""type":"reaction","reaction":{"message_id":"","emoji":"x"}"#, #""type":"reaction","reaction":[]"#,
        #""type":"edit""#, #""type":"edit","edit":{"message":{"type":"text","text":{"body":"x"}}}"#,
        #""type":"edit","edit":{"original_message_id":"","message":{"type":"text","text":{"body":"x"}}}"#,
        #""type":"edit","edit":{"original_message_id":"a"}"#,
        #""type":"edit","edit":{"original_message_id":"a","message":"x"}"#,
        #""type":"revoke""#, #""type":"revoke","revoke":{}"#, #""type":"revoke","revoke":{"original_message_id":""}"#,
    ])
    func aboutNothing(_ members: String) throws {
        let event = try Wire.event(members)
        #expect(event.action == .unrecognized)
        #expect(event.customer?.id == "16505551234")
        #expect(event.bytes == [UInt8](Wire.message(members).utf8))
    }

    private func systemEvent(_ system: String, from: String = #""from":"16505551234","#) throws -> ChannelEvent {
        let item = #"{\#(from)"id":"wamid.A=","timestamp":"1790000000","type":"system","system":\#(system)}"#
        let event = try Wire.onlyEvent(Wire.request(Wire.change(#""messages":[\#(item)]"#)))
        #expect(event.bytes == [UInt8](item.utf8))
        return event
    }

    /// A system message comes without contacts.
    @Test(arguments: ["user_changed_number", "customer_changed_number"])
    func anotherNumber(_ type: String) throws {
        let system = #"{"body":"Ana changed","type":"\#(type)","wa_id":"16505550000","user_id":"US.2"}"#
        let event = try systemEvent(system)
        #expect(event.action == .moved(ChannelEvent.Move(phoneID: "16505550000", userID: "US.2")))
        #expect(event.customer == Wire.customer("16505551234", phone: "+16505551234"))
        #expect(event.duplicateKey == "message/wamid.A=")
    }

    struct Former: Sendable {
        let from: String
        let system: String
        let customer: ChannelEvent.Customer
    }

    static let formers: [Former] = [
        Former(from: #""from_user_id":"US.1","#, system: "", customer: Wire.customer("US.1")),
        Former(from: "", system: #","previous_user_id":"US.1""#, customer: Wire.customer("US.1")),
        Former(
            from: "",
            system: #","body":"User Ana changed from US.1 to US.2","wa_id":"16505551234""#,
            customer: Wire.customer("US.1", other: "16505551234", phone: "+16505551234")
        ),
        // A name may say anything.
        Former(
            from: #""from":"16505551234","#,
            system: #","body":"User x changed from US.9 to US.2 changed from 16505551234 to US.2""#,
            customer: Wire.customer("16505551234", phone: "+16505551234")
        ),
        Former(
            from: #""from":"16505551234","#,
            system: #","body":"User Ana changed from US.1 to US.3""#,
            customer: Wire.customer("16505551234", phone: "+16505551234")
        ),
    ]

    @Test(arguments: formers)
    func anotherID(_ row: Former) throws {
        let event = try systemEvent(#"{"type":"user_changed_user_id","user_id":"US.2"\#(row.system)}"#, from: row.from)
        guard case .moved(let move) = event.action else { return #expect(Bool(false), "no other address") }
        #expect(move.userID == "US.2")
        #expect(event.customer == row.customer)
    }

    @Test(arguments: [
        #"{"type":"user_changed_number"}"#, #"{"type":"user_changed_number","wa_id":""}"#,
        #"{"type":"user_changed_number","user_id":"US.2"}"#, #"{"type":"user_changed_user_id","wa_id":"16505550000"}"#,
        #"{"type":"customer_identity_changed","wa_id":"16505550000"}"#, #"{"wa_id":"16505550000"}"#, "[]", "null",
    ])
    func systemThatSaysNoNewAddress(_ system: String) throws {
        let event = try systemEvent(system)
        #expect(event.action == .unrecognized)
        #expect(event.customer == Wire.customer("16505551234", phone: "+16505551234"))
    }

    @Test func firstOpeningOfAChat() throws {
        let event = try Wire.event(#""type":"request_welcome""#)
        #expect(event.action == .unrecognized)
        #expect(event.customer?.id == "16505551234")
    }
}
