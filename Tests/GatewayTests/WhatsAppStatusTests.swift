import Gateway
import Projections
import Testing

/// What WhatsApp reports about our messages, and those that the business wrote in its own app.
@Suite struct WhatsAppStatusTests {
    private typealias Wire = WhatsAppWire

    private func event(status: String) throws -> ChannelEvent {
        try Wire.onlyEvent(Wire.request(Wire.change(#""statuses":[\#(status)]"#)))
    }

    private func report(_ event: ChannelEvent) throws -> ChannelEvent.Report {
        let report: ChannelEvent.Report? =
            switch event.action {
            case .report(let report): report
            default: nil
            }
        return try #require(report)
    }

    // MARK: Statuses

    struct Step: Sendable, CustomTestStringConvertible {
        let name: String
        let status: MessageStatus?

        init(_ name: String, _ status: MessageStatus?) {
            self.name = name
            self.status = status
        }

        var testDescription: String { name }
    }

    static let steps: [Step] = [
        Step("sent", .sent), Step("delivered", .delivered), Step("read", .read), Step("played", .read),
        Step("failed", .failed), Step("deleted", nil), Step("warning", nil), Step("received", nil), Step("Sent", nil),
    ]

    @Test(arguments: steps)
    func everyStatus(_ step: Step) throws {
        let item = #"{"id":"wamid.A=","status":"\#(step.name)","timestamp":"1790000005","recipient_id":"16505551234"}"#
        let event = try event(status: item)
        let expected = ChannelEvent.Report(.message(providerID: "wamid.A=", ourID: ""), step.status)
        #expect(event.action == .report(expected))
        #expect(event.duplicateKey == "status/wamid.A=/\(step.name)/16505551234")
        #expect(event.milliseconds == 1_790_000_005_000)
        #expect(event.account.id == Wire.numberID)
        #expect(event.customer == Wire.customer("16505551234", phone: "+16505551234"))
        #expect(event.bytes == [UInt8](item.utf8))
    }

    @Test func failureSaysItsCodeAndOurID() throws {
        let errors = #"[{"code":131047,"title":"Re-engagement message"},{"code":1}]"#
        let item = #"{"id":"a","status":"failed","biz_opaque_callback_data":"msg_77","errors":\#(errors)}"#
        let event = try event(status: item)
        var expected = ChannelEvent.Report(.message(providerID: "a", ourID: "msg_77"), .failed)
        expected.code = "131047"
        #expect(event.action == .report(expected))
        #expect(event.customer == nil)
        #expect(event.duplicateKey == "status/a/failed")
    }

    @Test(arguments: [#""errors":[]"#, #""errors":null"#, #""errors":[5]"#, #""errors":[{}]"#, #""errors":{"code":1}"#])
    func failureWithoutCode(_ errors: String) throws {
        let event = try event(status: #"{"id":"a","status":"failed",\#(errors)}"#)
        let report = try report(event)
        #expect(report.status == .failed)
        #expect(report.code == "")
    }

    @Test func recipientByScopedID() throws {
        let event = try event(status: #"{"id":"a","status":"sent","recipient_user_id":"US.1349"}"#)
        #expect(event.customer == Wire.customer("US.1349"))
        #expect(event.duplicateKey == "status/a/sent/US.1349")
    }

    @Test func recipientByBothIDs() throws {
        let ids = #""recipient_id":"16505551234","recipient_user_id":"US.1349""#
        let event = try event(status: #"{"id":"a","status":"sent",\#(ids)}"#)
        let ana = Wire.customer("US.1349", other: "16505551234", phone: "+16505551234")
        #expect(event.customer == ana)
        #expect(event.duplicateKey == "status/a/sent/16505551234")
    }

    /// So that a report finds the conversation that a message from the same person opened.
    @Test func recipientWhoseContactHasAScopedID() throws {
        let contacts = #""contacts":[{"profile":{"name":"Ana"},"wa_id":"16505551234","user_id":"US.1349"}]"#
        let statuses = #""statuses":[{"id":"a","status":"read","recipient_id":"16505551234"}]"#
        let event = try Wire.onlyEvent(Wire.request(Wire.change(contacts + "," + statuses)))
        #expect(event.customer?.id == "US.1349")
        #expect(event.customer?.name == "Ana")
        #expect(event.duplicateKey == "status/a/read/16505551234")
    }

    @Test func recipientsOfOneMessageAreTwoReports() throws {
        let items = ["1650", "1651"].map { recipient in #"{"id":"a","status":"read","recipient_id":"\#(recipient)"}"# }
        let change = Wire.change(#""statuses":[\#(items.joined(separator: ","))]"#)
        let events = try Wire.events(Wire.request(change))
        #expect(events.map(\.duplicateKey) == ["status/a/read/1650", "status/a/read/1651"])
    }

    @Test(arguments: [
        #"{"status":"sent"}"#, #"{"id":"","status":"sent"}"#, #"{"id":"a"}"#, #"{"id":"a","status":""}"#,
        #"{"id":"a","status":{}}"#, "null", "[]",
    ])
    func statusOfNothing(_ item: String) throws {
        let event = try event(status: item)
        #expect(Wire.isUnrecognized(event))
        #expect(event.bytes == [UInt8](item.utf8))
    }

    // MARK: Echoes

    private func echo(_ members: String) throws -> ChannelEvent {
        let item = #"{"from":"15550783881","id":"wamid.E=","timestamp":"1790000007",\#(members)}"#
        let change = Wire.change(#""message_echoes":[\#(item)]"#, field: "smb_message_echoes")
        return try Wire.onlyEvent(Wire.request(change))
    }

    @Test(arguments: ["16505551234", "+16505551234", "+1 650-555-1234"])
    func echoIsAboutWhomItWentTo(_ to: String) throws {
        let event = try echo(#""to":"\#(to)","type":"text","text":{"body":"Bye"}"#)
        var content = MessageContent()
        content.platformMessageID = "wamid.E="
        content.text = "Bye"
        #expect(event.action == .echo(content, metadata: ""))
        #expect(event.customer == Wire.customer("16505551234", phone: "+16505551234"))
        #expect(event.duplicateKey == "message/wamid.E=")
        #expect(event.milliseconds == 1_790_000_007_000)
        #expect(event.account.id == Wire.numberID)
    }

    @Test func echoToAScopedID() throws {
        let event = try echo(#""to_user_id":"US.1349","type":"text","text":{"body":"Bye"}"#)
        #expect(event.customer == Wire.customer("US.1349"))
        #expect(event.duplicateKey == "message/wamid.E=")
    }

    @Test(arguments: [
        #""type":"reaction","reaction":{"message_id":"a","emoji":"x"}"#,
        #""type":"revoke","revoke":{}"#,
        #""type":"edit","edit":{"original_message_id":"a"}"#,
    ])
    func echoThatIsNoMessage(_ members: String) throws {
        let event = try echo(#""to":"16505551234",\#(members)"#)
        #expect(event.action == .unrecognized)
        #expect(event.customer?.id == "16505551234")
    }

    /// Also where it does not say to whom: the message does.
    @Test(arguments: [#""to":"16505551234","#, ""])
    func whatTheBusinessDeletesAndEditsInItsApp(_ to: String) throws {
        let deleted = try echo(to + #""type":"revoke","revoke":{"original_message_id":"a"}"#)
        #expect(deleted.action == .unsend(of: "a"))
        #expect(deleted.duplicateKey == "unsend/wamid.E=")
        let part = #"{"original_message_id":"a","message":{"type":"text","text":{"body":"b"}}}"#
        let edited = try echo(to + #""type":"edit","edit":\#(part)"#)
        var content = MessageContent()
        content.platformMessageID = "a"
        content.text = "b"
        #expect(edited.action == .edit(of: "a", number: 0, content))
        #expect(edited.duplicateKey == "edit/wamid.E=")
        for event in [deleted, edited] {
            #expect(event.isByBusiness)
            #expect(event.customer?.id == (to.isEmpty ? nil : "16505551234"))
        }
    }

    /// What waits for its message must not come back as something that the customer did.
    @Test func whatTheBusinessDidIsReadAgainAsItsOwn() throws {
        let event = try echo(#""to":"16505551234","type":"revoke","revoke":{"original_message_id":"a"}"#)
        let body = try #require(ProviderJSON(MetaWebhook.envelope(of: event)))
        let again = try #require(MetaWebhook.events(body).first)
        #expect(again.isByBusiness)
        #expect(again.action == event.action)
        #expect(again.customer == event.customer)
        #expect(again.duplicateKey == event.duplicateKey)
    }

    @Test func echoOfAnUnknownTypeIsAMessage() throws {
        let event = try echo(#""to":"16505551234","type":"hologram","hologram":{}"#)
        var content = MessageContent()
        content.platformMessageID = "wamid.E="
        content.kind = "unsupported"
        #expect(event.action == .echo(content, metadata: ""))
    }

    @Test func echoToNobody() throws {
        let event = try echo(#""type":"text","text":{"body":"Bye"}"#)
        #expect(Wire.isUnrecognized(event))
        #expect(event.customer == nil)
    }
}
