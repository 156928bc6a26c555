import Gateway
import Testing

/// Who a message is from: by phone number, by business-scoped id, or by both.
@Suite struct WhatsAppCustomerTests {
    private typealias Wire = WhatsAppWire

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// Members of the message.
        let sender: String
        let contacts: String
        let customer: ChannelEvent.Customer?

        init(_ name: String, _ sender: String, contacts: String = "", _ customer: ChannelEvent.Customer?) {
            testDescription = name
            self.sender = sender
            self.contacts = contacts
            self.customer = customer
        }
    }

    static let phone = #""from":"16505551234""#
    static let scoped = #""from_user_id":"US.1349""#
    static let bob = #"{"profile":{"name":"Bob"},"wa_id":"4915112345678","user_id":"DE.7"}"#
    static let both = #"{"profile":{"name":"Ana"},"wa_id":"16505551234","user_id":"US.1349"}"#

    static let rows: [Row] = [
        Row("a phone number, no contacts", phone, Wire.customer("16505551234", phone: "+16505551234")),
        Row(
            "both ids",
            phone + "," + scoped,
            Wire.customer("US.1349", other: "16505551234", phone: "+16505551234")
        ),
        Row("no phone number", scoped, Wire.customer("US.1349")),
        Row(
            "no phone number here, but with the contact",
            scoped,
            contacts: bob + "," + both,
            Wire.customer("US.1349", other: "16505551234", phone: "+16505551234", name: "Ana")
        ),
        Row(
            "the contact knows the scoped id",
            phone,
            contacts: bob + "," + both,
            Wire.customer("US.1349", other: "16505551234", phone: "+16505551234", name: "Ana")
        ),
        Row(
            "the message's own scoped id counts",
            phone + #","from_user_id":"US.2""#,
            contacts: both + "," + bob,
            Wire.customer("US.2", other: "16505551234", phone: "+16505551234", name: "Ana")
        ),
        Row("the contact alone says who", #""x":1"#, contacts: #"{"user_id":"US.1349"}"#, Wire.customer("US.1349")),
        Row(
            "the contact alone is meant, whatever its number",
            #""from":"5511987654321""#,
            contacts: #"{"profile":{"name":"Rui"},"wa_id":"551187654321"}"#,
            Wire.customer("5511987654321", phone: "+5511987654321", name: "Rui")
        ),
        Row(
            "none of two contacts",
            #""from":"5511987654321""#,
            contacts: both + "," + bob,
            Wire.customer("5511987654321", phone: "+5511987654321")
        ),
        Row(
            "a contact with nothing but a profile",
            phone,
            contacts: #"{"profile":{"name":"Ana"}}"#,
            Wire.customer("16505551234", phone: "+16505551234", name: "Ana")
        ),
        Row(
            "no profile",
            phone,
            contacts: #"{"wa_id":"16505551234"}"#,
            Wire.customer("16505551234", phone: "+16505551234")
        ),
        Row(
            "contacts of no shape",
            phone,
            contacts: "5,null,[]",
            Wire.customer("16505551234", phone: "+16505551234")
        ),
        Row("a number that is too short", #""from":"123456""#, Wire.customer("123456")),
        Row("the shortest number", #""from":"1234567""#, Wire.customer("1234567", phone: "+1234567")),
        Row(
            "the longest number",
            #""from":"123456789012345""#,
            Wire.customer("123456789012345", phone: "+123456789012345")
        ),
        Row("a number that is too long", #""from":"1234567890123456""#, Wire.customer("1234567890123456")),
        Row("no number", #""from":"ana.b.1234""#, Wire.customer("ana.b.1234")),
        Row("a plus sign", #""from":"+16505551234""#, Wire.customer("16505551234", phone: "+16505551234")),
        Row("nobody", #""from":"","from_user_id":null"#, nil),
        Row("nobody of two", #""x":1"#, contacts: both + "," + bob, nil),
    ]

    @Test(arguments: rows)
    func sender(_ row: Row) throws {
        let item = #"{"id":"a","type":"text","text":{"body":"x"},\#(row.sender)}"#
        let event = try Wire.onlyEvent(Wire.request(Wire.change(messages: item, contacts: row.contacts)))
        #expect(event.customer == row.customer)
        #expect(Wire.isUnrecognized(event) == (row.customer == nil))
        #expect(event.bytes == [UInt8](item.utf8))
    }

    /// With two messages a lone contact may be of the other one.
    @Test func loneContactOfTwoMessages() throws {
        let change = Wire.change(
            messages: #"{"from":"4915112345678","id":"a","type":"text","text":{"body":"x"}}"#,
            Wire.text("y", id: "b")
        )
        let events = try Wire.events(Wire.request(change))
        #expect(events.map(\.customer?.name) == ["", "Ana"])
    }
}
