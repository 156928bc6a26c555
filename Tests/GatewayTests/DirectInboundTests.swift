import Gateway
import Projections
import Testing

@Suite struct DirectInboundTests {
    private let person = DirectProbe.person

    private func only(
        _ members: String,
        on platform: Platform = .facebook,
        timestamp: String = "1790000000001"
    ) throws -> ChannelEvent {
        try DirectProbe.only(platform, DirectProbe.item(members, timestamp: timestamp))
    }

    // MARK: Messages

    @Test func signedSampleIsReadUnescaped() throws {
        let json =
            #"{"object":"page","entry":[{"id":"1001","time":1790000000123,"messaging":[{"sender":{"id":"9001"},"#
            + #""recipient":{"id":"1001"},"timestamp":1790000000001,"message":{"mid":"m_A1","#
            + #""text":"caf\u00e9 \ud83d\ude00 https:\/\/x.test\/a"}}]}]}"#
        let body = try #require(ProviderJSON([UInt8](json.utf8)))
        let events = MetaWebhook.events(body)
        try #require(events.count == 1)
        let event = try #require(events.first)
        let content = try #require(DirectProbe.content(event))
        #expect(content.text == "café 😀 https://x.test/a")
        #expect(content.kind == "text")
        #expect(content.platformMessageID == "m_A1")
        #expect(event.platform == .facebook)
        #expect(event.account == ChannelEvent.Account(id: "1001"))
        #expect(event.customer == ChannelEvent.Customer(id: "9001"))
        #expect(event.duplicateKey == "message/m_A1")
        #expect(event.milliseconds == 1_790_000_000_001)
    }

    @Test func bytesAreThoseOfTheItem() throws {
        let item = DirectProbe.item(#""message": {"mid":"m_1","text":"\u00e9"} , "new":[1]"#)
        let event = try DirectProbe.only(.instagram, item)
        #expect(event.bytes == [UInt8](item.utf8))
    }

    @Test(arguments: [Platform.facebook, .instagram])
    func idsKeepEveryDigitAlsoAsNumbers(_ platform: Platform) throws {
        let item = #"{"sender":{"id":9007199254740993},"message":{"mid":"m_1","text":"a"}}"#
        let event = try DirectProbe.only(platform, item)
        #expect(event.platform == platform)
        #expect(event.customer?.id == "9007199254740993")
        #expect(event.account.id == "17841400000000001")
        #expect(event.milliseconds == 0)
    }

    @Test func echoIsAboutTheRecipient() throws {
        let members =
            #""message":{"mid":"m_2","is_echo":true,"app_id":1517776481860111,"metadata":"out-77","text":"Yes"}"#
        let event = try DirectProbe.only(.facebook, DirectProbe.echo(members))
        var content = MessageContent()
        content.platformMessageID = "m_2"
        content.text = "Yes"
        #expect(event.action == .echo(content, metadata: "out-77"))
        #expect(event.customer?.id == person)
        #expect(event.account.id == DirectProbe.page)
        #expect(event.duplicateKey == "message/m_2")
    }

    @Test func echoTypedElsewhereHasNoMetadata() throws {
        let item = DirectProbe.echo(#""message":{"mid":"m_2","is_echo":"true","text":"Yes"}"#)
        let event = try DirectProbe.only(.instagram, item)
        guard case .echo(let content, let metadata) = event.action else {
            Issue.record("\(event.action)")
            return
        }
        #expect(content.text == "Yes")
        #expect(metadata.isEmpty)
    }

    @Test func unsendIsNoRepeatOfItsMessage() throws {
        let sent = try only(#""message":{"mid":"m_1","text":"a"}"#, on: .instagram)
        let unsent = try only(#""message":{"mid":"m_1","is_deleted":true}"#, on: .instagram)
        #expect(unsent.action == .unsend(of: "m_1"))
        #expect(unsent.duplicateKey == "unsend/m_1")
        #expect(unsent.customer?.id == person)
        #expect(sent.duplicateKey == "message/m_1")
        let anonymous = try DirectProbe.only(.instagram, #"{"message":{"mid":"m_1","is_deleted":true}}"#)
        #expect(anonymous.action == .unsend(of: "m_1"))
        #expect(anonymous.customer == nil)
    }

    @Test func takenBackEchoIsNoMessage() throws {
        let item = DirectProbe.echo(#""message":{"mid":"m_2","is_echo":true,"is_deleted":true}"#)
        let event = try DirectProbe.only(.instagram, item)
        #expect(event.action == .unsend(of: "m_2"))
        #expect(event.customer?.id == person)
    }

    // MARK: Edits

    @Test(arguments: ["1", #""1""#, "1.0"])
    func editIsOfItsMessage(_ number: String) throws {
        let event = try only(#""message_edit":{"mid":"m_1","text":"Size L?","num_edit":\#(number)}"#)
        var content = MessageContent()
        content.platformMessageID = "m_1"
        content.text = "Size L?"
        #expect(event.action == .edit(of: "m_1", number: 1, content))
        #expect(event.duplicateKey == "edit/m_1/1")
        #expect(event.customer?.id == person)
    }

    @Test func editWithoutNumberIsToldByItsTime() throws {
        let event = try only(#""message_edit":{"mid":"m_1","text":"b"}"#)
        #expect(event.duplicateKey == "edit/m_1/at/1790000000001")
        var content = MessageContent()
        content.platformMessageID = "m_1"
        content.text = "b"
        #expect(event.action == .edit(of: "m_1", number: 0, content))
        let later = try only(#""message_edit":{"mid":"m_1","text":"c","num_edit":"5"}"#)
        #expect(later.duplicateKey == "edit/m_1/5")
        let anonymous = try DirectProbe.only(.instagram, #"{"message_edit":{"mid":"m_1","text":"c","num_edit":2}}"#)
        #expect(anonymous.duplicateKey == "edit/m_1/2")
        #expect(anonymous.customer == nil)
    }

    @Test(arguments: ["0", #""0""#, "-1"])
    func editWithNumberZeroOnlyAnnouncesAMessage(_ number: String) throws {
        let edit = #""message_edit":{"mid":"m_1","text":"a","num_edit":\#(number)}"#
        let event = try only(edit, on: .instagram)
        #expect(event.action == .announcement(of: "m_1"))
        #expect(event.customer?.id == person)
        #expect(event.duplicateKey.hasPrefix("edit/m_1/"))
        let anonymous = try DirectProbe.only(.instagram, #"{"timestamp":1790000000001,\#(edit)}"#)
        #expect(anonymous.action == .announcement(of: "m_1"))
        #expect(anonymous.customer == nil)
        #expect(anonymous.milliseconds == 1_790_000_000_001)
    }

    // MARK: Taps and links

    @Test func postbackIsAMessageOfItsOwn() throws {
        let event = try only(#""postback":{"mid":"m_1","title":"Start","payload":"GO"}"#)
        var content = MessageContent()
        content.platformMessageID = "m_1"
        content.kind = "interactive"
        content.text = "Start"
        content.interactive = MessageContent.Interactive(kind: "postback", id: "GO", title: "Start")
        #expect(event.action == .message(content))
        #expect(event.duplicateKey == "postback/m_1")
    }

    @Test func postbackWithoutIDIsToldByWhatItSays() throws {
        let referral = #"{"ref":"spring","source":"SHORTLINK"}"#
        let event = try only(#""postback":{"title":"Start","payload":"GO","referral":\#(referral)}"#)
        #expect(event.duplicateKey == "postback/\(person)/1790000000001/GO")
        let content = try #require(DirectProbe.content(event))
        #expect(content.platformMessageID.isEmpty)
        #expect(content.referral?.source == "link")
        #expect(content.referral?.ref == "spring")
    }

    @Test func openedLinkIsAMessageWithoutWords() throws {
        let event = try only(
            #""referral":{"ref":"spring","source":"SHORTLINK","type":"OPEN_THREAD","referer_uri":"https://x.test/"}"#
        )
        var referral = MessageContent.Referral(source: "link")
        referral.ref = "spring"
        referral.sourceURL = "https://x.test/"
        var content = MessageContent()
        content.kind = "interactive"
        content.interactive = MessageContent.Interactive(kind: "referral", id: "spring", title: "")
        content.referral = referral
        #expect(event.action == .message(content))
        #expect(event.duplicateKey == "referral/\(person)/1790000000001/spring")
    }

    // MARK: About messages

    @Test func reactionNamesMessageAndPerson() throws {
        let event = try only(
            #""reaction":{"mid":"m_1","action":"react","reaction":"love","emoji":"\u2764\ufe0f"}"#
        )
        #expect(event.action == .reaction(to: "m_1", emoji: "\u{2764}\u{FE0F}", removed: false))
        #expect(event.duplicateKey == "reaction/m_1/\(person)/react/1790000000001")
        let named = try only(#""reaction":{"mid":"m_1","action":"react","reaction":"love"}"#)
        #expect(named.action == .reaction(to: "m_1", emoji: "love", removed: false))
    }

    @Test func reactionTakenBackHasNoEmoji() throws {
        let bare = try only(#""reaction":{"mid":"m_1","action":"unreact"}"#, on: .instagram)
        #expect(bare.action == .reaction(to: "m_1", emoji: "", removed: true))
        #expect(bare.duplicateKey == "reaction/m_1/\(person)/unreact/1790000000001")
        let named = try only(#""reaction":{"mid":"m_1","action":"unreact","reaction":"love","emoji":"x"}"#)
        #expect(named.action == .reaction(to: "m_1", emoji: "", removed: true))
        let anonymous = try DirectProbe.only(.instagram, #"{"reaction":{"mid":"m_1","action":"unreact"}}"#)
        #expect(anonymous.customer == nil)
        #expect(anonymous.duplicateKey == "reaction/m_1//unreact/0")
    }

    @Test func messengerReadsUpToAMoment() throws {
        let event = try only(#""read":{"watermark":1790000005900}"#)
        let subject = ChannelEvent.Report.Subject.watermark(milliseconds: 1_790_000_005_900, providerIDs: [])
        #expect(event.action == .report(ChannelEvent.Report(subject, .read)))
        #expect(event.duplicateKey == "read/\(person)/1790000005900")
    }

    @Test func instagramReadsUpToAMessage() throws {
        let event = try only(#""read":{"mid":"m_1"}"#, on: .instagram)
        #expect(event.action == .report(ChannelEvent.Report(.through(providerID: "m_1"), .read)))
        #expect(event.duplicateKey == "read/\(person)/m_1")
        let anonymous = try DirectProbe.only(.instagram, #"{"read":{"mid":"m_1"}}"#)
        #expect(anonymous.action == event.action)
        #expect(anonymous.customer == nil)
    }

    @Test func deliveryNamesMomentAndMessages() throws {
        let event = try only(#""delivery":{"watermark":"1790000005900","mids":["m_1","m_2"]}"#)
        let mids = ["m_1", "m_2"]
        let subject = ChannelEvent.Report.Subject.watermark(milliseconds: 1_790_000_005_900, providerIDs: mids)
        #expect(event.action == .report(ChannelEvent.Report(subject, .delivered)))
        #expect(event.duplicateKey == "delivered/\(person)/1790000005900")
        let named = try only(#""delivery":{"mids":["m_1","m_2"]}"#)
        let none = ChannelEvent.Report.Subject.watermark(milliseconds: 0, providerIDs: mids)
        #expect(named.action == .report(ChannelEvent.Report(none, .delivered)))
        #expect(named.duplicateKey == "delivered/\(person)/m_1,m_2")
    }
}
