import Gateway
import Projections
import Testing

/// Whose an item is, and that none is lost; what a message says is in `WhatsAppContentTests`.
@Suite struct WhatsAppInboundTests {
    private typealias Wire = WhatsAppWire

    // MARK: One item

    @Test func everythingOfATextMessage() throws {
        let message = Wire.text("Hi", id: "wamid.HBgL=")
        let event = try Wire.onlyEvent(Wire.request(Wire.change(messages: message)))
        var account = ChannelEvent.Account(id: "106540352242922")
        account.phone = "+15550783881"
        var customer = ChannelEvent.Customer(id: "16505551234")
        customer.phone = "+16505551234"
        customer.name = "Ana"
        var content = MessageContent()
        content.platformMessageID = "wamid.HBgL="
        content.kind = "text"
        content.text = "Hi"
        let expected = ChannelEvent(
            platform: .whatsapp,
            account: account,
            customer: customer,
            duplicateKey: "message/wamid.HBgL=",
            milliseconds: 1_790_000_000_000,
            action: .message(content),
            bytes: [UInt8](message.utf8)
        )
        #expect(event == expected)
    }

    @Test func unknownMembersChangeNothing() throws {
        let plain = try Wire.onlyEvent(Wire.request(Wire.change(messages: Wire.text("Hi"))))
        let members = #""new":{"deep":[1,{"x":null}]},"type":"text","text":{"body":"Hi","more":[]},"group":null"#
        let contact = #"{"profile":{"name":"Ana","more":1},"wa_id":"16505551234","new":[]}"#
        let values = #""new":{"messages":[1]},"contacts":[\#(contact)],"messages":[\#(Wire.message(members))]"#
        var event = try Wire.onlyEvent(Wire.request(Wire.change(values)))
        event.bytes = plain.bytes
        #expect(event == plain)
    }

    struct Time: Sendable, CustomTestStringConvertible {
        let written: String
        let milliseconds: UInt64

        init(_ written: String, _ milliseconds: UInt64) {
            self.written = written
            self.milliseconds = milliseconds
        }

        var testDescription: String { written }
    }

    static let times: [Time] = [
        Time(#""1790000000""#, 1_790_000_000_000), Time("1790000000", 1_790_000_000_000),
        Time("1790000000123", 1_790_000_000_123), Time(#""1790000000123""#, 1_790_000_000_123),
        Time(#""2026-09-21T14:13:20Z""#, 1_790_000_000_000), Time(#""2026-09-21T16:13:20.5+0200""#, 1_790_000_000_500),
        Time(#""2026-09-21T14:13:20""#, 0), Time(#""2026-13-21T14:13:20Z""#, 0),
        Time("null", 0), Time("\"\"", 0), Time(#""soon""#, 0), Time("-5", 0), Time("{}", 0),
        Time("100000000000", 0), Time("100000000001", 100_000_000_001), Time("18446744073", 18_446_744_073_000),
        Time("18446744073709", 18_446_744_073_709), Time("18446744073710", 0), Time("9223372036854775807", 0),
        Time("99999999999999999999999", 0),
    ]

    @Test(arguments: times)
    func timeOfAnItem(_ time: Time) throws {
        let item = #"{"from":"16505551234","id":"a","timestamp":\#(time.written),"type":"text","text":{"body":"x"}}"#
        let event = try Wire.onlyEvent(Wire.request(Wire.change(messages: item)))
        #expect(event.milliseconds == time.milliseconds)
        #expect(event.duplicateKey == "message/a")
    }

    @Test func noTimeIsZero() throws {
        let item = #"{"from":"16505551234","id":"a","type":"text","text":{"body":"x"}}"#
        let event = try Wire.onlyEvent(Wire.request(Wire.change(messages: item)))
        #expect(event.milliseconds == 0)
    }

    // MARK: Groups

    static let groups = [
        #""group_id":"Y2FwaV9ncm91cA""#, #""group_id":7"#, #""group_id":{}"#, #""recipient_type":"Group""#,
    ]
    private static let types = [
        #""type":"text","text":{"body":"x"}"#, #""type":"reaction","reaction":{"message_id":"a","emoji":"x"}"#,
        #""type":"revoke","revoke":{"original_message_id":"a"}"#,
        #""type":"edit","edit":{"original_message_id":"a","message":{"type":"text","text":{"body":"y"}}}"#,
    ]

    /// Told as a private message it would be answered to one person.
    @Test(arguments: groups)
    func whatIsSaidInAGroupIsKeptOnly(_ group: String) throws {
        for type in WhatsAppInboundTests.types {
            let item = Wire.message(type + "," + group)
            let event = try Wire.onlyEvent(Wire.request(Wire.change(messages: item)))
            #expect(event.action == .unrecognized)
            #expect(event.customer?.id == "16505551234", "an erasure of the writer reaches it")
            #expect(event.bytes == [UInt8](item.utf8))
        }
        let status = #"{"id":"a","status":"read","recipient_id":"g",\#(group)}"#
        let report = try Wire.onlyEvent(Wire.request(Wire.change(#""statuses":[\#(status)]"#)))
        #expect(Wire.isUnrecognized(report))
        #expect(report.customer == nil)
        let echo = #"{"from":"15550783881","to":"g","id":"a","type":"text","text":{"body":"x"},\#(group)}"#
        let change = Wire.change(#""message_echoes":[\#(echo)]"#, field: "smb_message_echoes")
        let echoed = try Wire.onlyEvent(Wire.request(change))
        #expect(Wire.isUnrecognized(echoed))
        #expect(echoed.customer == nil)
    }

    @Test(arguments: [#""group_id":null"#, #""group_id":"""#, #""recipient_type":"individual""#])
    func whatNamesNoGroupIsPrivate(_ group: String) throws {
        let content = try Wire.content(#""type":"text","text":{"body":"x"},"# + group)
        #expect(content.text == "x")
    }

    // MARK: Account

    @Test(arguments: [
        [#""15550783881""#, "+15550783881"], [#""+1 (555) 078-3881""#, "+15550783881"],
        ["15550783881", "+15550783881"],
        ["\"\"", ""], [#""none""#, ""], ["null", ""],
    ])
    func displayNumber(_ row: [String]) throws {
        let metadata = #"{"display_phone_number":\#(row[0]),"phone_number_id":"106540352242922"}"#
        let change = Wire.change(#""messages":[\#(Wire.text("x"))]"#, metadata: metadata)
        let event = try Wire.onlyEvent(Wire.request(change))
        #expect(event.account.phone == row[1])
        #expect(event.account.id == Wire.numberID)
    }

    @Test func idsKeepMoreDigitsThanADoubleHas() throws {
        let metadata = #"{"phone_number_id":123456789012345678901}"#
        let item = #"{"from":16505551234,"id":98765432109876543210987,"type":"text","text":{"body":"x"}}"#
        let change = Wire.change(#""messages":[\#(item)]"#, metadata: metadata)
        let event = try Wire.onlyEvent(Wire.request(change))
        #expect(event.account == ChannelEvent.Account(id: "123456789012345678901"))
        #expect(event.customer?.id == "16505551234")
        #expect(event.duplicateKey == "message/98765432109876543210987")
    }

    // MARK: Batches

    @Test func severalMessagesOfOneValue() throws {
        let bob = #"{"profile":{"name":"Bob"},"wa_id":"4915112345678"}"#
        let second = #"{"from":"4915112345678","id":"b","timestamp":"1790000001","type":"text","text":{"body":"two"}}"#
        let change = Wire.change(
            messages: Wire.text("one", id: "a"),
            second,
            Wire.text("three", id: "c"),
            contacts: bob + "," + Wire.ana
        )
        let events = try Wire.events(Wire.request(change))
        #expect(events.map(\.duplicateKey) == ["message/a", "message/b", "message/c"])
        #expect(events.map(\.customer?.name) == ["Ana", "Bob", "Ana"])
        let texts = events.compactMap { event in Wire.content(of: event.action)?.text }
        #expect(texts == ["one", "two", "three"])
        try #require(events.count == 3)
        #expect(events[1].bytes == [UInt8](second.utf8))
    }

    static let malformed = [
        "5", "null", #""text""#, "[]", "{}", #"{"from":"16505551234","type":"text","text":{"body":"x"}}"#,
        #"{"from":"16505551234","id":"","type":"text","text":{"body":"x"}}"#,
        #"{"from":"16505551234","id":{},"type":"text","text":{"body":"x"}}"#,
    ]

    /// A lone contact must not lend its name to something that is no message.
    @Test(arguments: malformed)
    func malformedMessageAlone(_ item: String) throws {
        let event = try Wire.onlyEvent(Wire.request(Wire.change(messages: item)))
        #expect(Wire.isUnrecognized(event))
        #expect(event.account.id == Wire.numberID)
        #expect(event.account.phone == "+15550783881")
        #expect(event.customer == nil)
        #expect(event.bytes == [UInt8](item.utf8))
    }

    @Test(arguments: malformed)
    func malformedMessageKeepsNothingFromOthers(_ item: String) throws {
        let otherNumber = #"{"display_phone_number":"15550000000","phone_number_id":"77"}"#
        let first = Wire.change(messages: Wire.text("one", id: "a"), item, Wire.text("two", id: "b"))
        let status = #""statuses":[{"id":"c","status":"sent","recipient_id":"16505551234"},\#(item)]"#
        let events = try Wire.events(Wire.request(first, Wire.change(status, metadata: otherNumber)))
        try #require(events.count == 5)
        #expect(events[0].duplicateKey == "message/a")
        #expect(Wire.isUnrecognized(events[1]))
        #expect(events[2].duplicateKey == "message/b")
        #expect(events[3].duplicateKey == "status/c/sent/16505551234")
        #expect(Wire.isUnrecognized(events[4]))
        #expect(events.map(\.account.id) == [Wire.numberID, Wire.numberID, Wire.numberID, "77", "77"])
    }

    @Test func messagesStatusesAndErrorsOfOneValue() throws {
        let status = #"{"id":"b","status":"read","timestamp":"1790000001","recipient_id":"16505551234"}"#
        let members = #""statuses":[\#(status)],"errors":[{"code":1}],"messages":[\#(Wire.text("x", id: "a"))]"#
        let events = try Wire.events(Wire.request(Wire.change(members)))
        try #require(events.count == 3)
        #expect(events[0].duplicateKey == "message/a")
        #expect(events[1].duplicateKey == "status/b/read/16505551234")
        #expect(Wire.isUnrecognized(events[2]))
        #expect(events[2].bytes == [UInt8](#"[{"code":1}]"#.utf8))
    }

    @Test(arguments: ["messages", "statuses", "message_echoes"])
    func whatIsNoListIsKept(_ name: String) throws {
        let members = #""\#(name)":{"id":"a"}"#
        let event = try Wire.onlyEvent(Wire.request(Wire.change(members)))
        #expect(Wire.isUnrecognized(event))
        #expect(event.account.id == Wire.numberID)
        #expect(event.bytes == [UInt8](#"{"id":"a"}"#.utf8))
    }

    // MARK: Changes without items

    @Test(arguments: [
        #"{"field":"account_update","value":{"event":"VERIFIED_ACCOUNT"}}"#,
        #"{"field":"messages","value":{"messages":[{"from":"16505551234","id":"a"}]}}"#,
        #"{"field":"messages","value":{"metadata":{"phone_number_id":""},"messages":[{"id":"a"}]}}"#,
        #"{"field":"messages","value":{"metadata":{"phone_number_id":null}}}"#,
        #"{"field":"messages","value":{"metadata":"106540352242922"}}"#,
        #"{"field":"messages","value":[1]}"#, #"{"field":"messages"}"#, "{}", "[]", "null", "7", #""messages""#,
    ])
    func changeWithoutAccount(_ change: String) throws {
        let events = try Wire.events(Wire.request(change, Wire.change(messages: Wire.text("x", id: "a"))))
        try #require(events.count == 2)
        #expect(Wire.isUnrecognized(events[0]))
        #expect(events[0].account == ChannelEvent.Account(id: ""))
        #expect(events[0].bytes == [UInt8](change.utf8))
        #expect(events[1].duplicateKey == "message/a")
    }

    @Test(arguments: ["history", "phone_number_quality_update", "group_status_update", "", "Messages"])
    func otherField(_ field: String) throws {
        let change = Wire.change(#""messages":[\#(Wire.text("x"))]"#, field: field)
        let event = try Wire.onlyEvent(Wire.request(change))
        #expect(Wire.isUnrecognized(event))
        #expect(event.account.id == Wire.numberID)
        #expect(event.bytes == [UInt8](change.utf8))
    }

    @Test(arguments: [#""contacts":[]"#, #""messages":[]"#, #""messages":null,"statuses":[]"#])
    func knownFieldWithoutItems(_ members: String) throws {
        let change = Wire.change(members)
        let event = try Wire.onlyEvent(Wire.request(change))
        #expect(Wire.isUnrecognized(event))
        #expect(event.account.id == Wire.numberID)
        #expect(event.bytes == [UInt8](change.utf8))
    }

    @Test(arguments: [#""errors":[{"code":131000}]"#, #""errors":[{"code":131000}],"messages":[]"#])
    func onlyErrors(_ members: String) throws {
        let event = try Wire.onlyEvent(Wire.request(Wire.change(members)))
        #expect(Wire.isUnrecognized(event))
        #expect(event.account.id == Wire.numberID)
        let value = #"{"messaging_product":"whatsapp","metadata":\#(Wire.metadata),\#(members)}"#
        #expect(event.bytes == [UInt8](value.utf8))
    }

    @Test(arguments: [#"{"id":"2002"}"#, #"{"id":"2002","changes":[]}"#, #"{"changes":{"field":"messages"}}"#, "3"])
    func entryWithoutChanges(_ entry: String) throws {
        let json = #"{"object":"whatsapp_business_account","entry":[\#(entry)]}"#
        let event = try Wire.onlyEvent(json)
        #expect(Wire.isUnrecognized(event))
        #expect(event.account.id == "")
        #expect(event.bytes == [UInt8](entry.utf8))
    }

    @Test func allEntriesAreRead() throws {
        let entries = ["a", "b"].map { id in
            let change = Wire.change(messages: Wire.text("x", id: id))
            return #"{"id":"\#(id)","changes":[\#(change)]}"#
        }
        let list = entries.joined(separator: ",")
        let events = try Wire.events(#"{"object":"whatsapp_business_account","entry":[\#(list)]}"#)
        #expect(events.map(\.duplicateKey) == ["message/a", "message/b"])
    }
}
