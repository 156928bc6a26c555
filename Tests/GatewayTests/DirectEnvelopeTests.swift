import Gateway
import Projections
import Testing

/// Items of Messenger and Instagram whose form is not as documented, and lists of them.
@Suite struct DirectEnvelopeTests {
    // MARK: Time

    struct Moment: Sendable, CustomTestStringConvertible {
        let written: String
        let milliseconds: UInt64

        init(_ written: String, _ milliseconds: UInt64) {
            self.written = written
            self.milliseconds = milliseconds
        }

        var testDescription: String { written }
    }

    static let moments: [Moment] = [
        Moment("1790000000001", 1_790_000_000_001),
        Moment(#""1790000000001""#, 1_790_000_000_001),
        Moment("1790000000", 1_790_000_000_000),
        Moment(#""1790000000""#, 1_790_000_000_000),
        Moment("1790000000001.7", 1_790_000_000_001),
        Moment("1790000000001002", 1_790_000_000_001),
        Moment("1.790000000001e12", 1_790_000_000_001),
        Moment("100000000000", 100_000_000_000),
        Moment("18000000000", 18_000_000_000_000),
        Moment("99999999999", 0),
        Moment("99999999999999", 0),
        Moment("9223372036854775807", 0),
        Moment("18446744073709551615", 0),
        Moment("1e400", 0),
        Moment("-1790000000", 0),
        Moment("-9223372036854775808", 0),
        Moment(#""2026-09-24T05:18:41Z""#, 1_790_227_121_000),
        Moment(#""2026-09-24T05:18:41.250Z""#, 1_790_227_121_250),
        Moment(#""2026-09-24T05:18:41+0000""#, 1_790_227_121_000),
        Moment(#""2026-09-23T22:18:41-07:00""#, 1_790_227_121_000),
        Moment(#""2026-09-23T22:18:41-0700""#, 1_790_227_121_000),
        Moment(#""2026-09-24T05:18:41""#, 0),
        Moment(#""2026-09-24 05:18:41Z""#, 0),
        Moment(#""2026-09-24T05:18:41+00""#, 0),
        Moment(#""2026-02-30T05:18:41Z""#, 0),
        Moment(#""1969-12-31T23:59:59Z""#, 0),
        Moment(#""9999-01-01T00:00:00Z""#, 0),
        Moment(#""+0000""#, 0),
        Moment("\"\"", 0),
        Moment("null", 0),
        Moment("{}", 0),
    ]

    @Test(arguments: moments)
    func unitIsToldByMagnitude(_ moment: Moment) throws {
        let item = DirectProbe.item(#""message":{"mid":"m_1","text":"a"}"#, timestamp: moment.written)
        let event = try DirectProbe.only(.instagram, item)
        #expect(event.milliseconds == moment.milliseconds)
        #expect(event.duplicateKey == "message/m_1")
    }

    @Test func watermarkInSecondsIsOneInMilliseconds() throws {
        let event = try DirectProbe.only(.facebook, DirectProbe.item(#""read":{"watermark":1790000005}"#))
        #expect(event.duplicateKey == "read/\(DirectProbe.person)/1790000005000")
    }

    // MARK: What is not understood

    static let unclear: [String] = [
        #""message":{"text":"no id"}"#,
        #""message":{"mid":"","text":"no id"}"#,
        #""message":{"is_deleted":true}"#,
        #""message":"text""#,
        #""message":[]"#,
        #""message":null"#,
        #""message_edit":{"text":"no id","num_edit":1}"#,
        #""message_edit":{"mid":"m_1","num_edit":"second"}"#,
        #""reaction":{"action":"react","emoji":"x"}"#,
        #""reaction":{"mid":"m_1","emoji":"x"}"#,
        #""reaction":{"mid":"m_1","action":"wave"}"#,
        #""read":{}"#,
        #""read":{"watermark":"soon"}"#,
        #""delivery":{"mids":[]}"#,
        #""delivery":{"mids":[{}]}"#,
        #""postback":"GO""#,
        #""referral":{}"#,
        #""optin":{"ref":"a"}"#,
        #""account_linking":{"status":"linked"}"#,
        #""pass_thread_control":{"new_owner_app_id":1}"#,
        #""take_thread_control":{}"#,
        #""request_thread_control":{}"#,
        #""app_roles":{}"#,
        #""policy_enforcement":{"action":"block"}"#,
        #""response_feedback":{"mid":"m_1"}"#,
        #""something_new":{"mid":"m_1"}"#,
    ]

    @Test(arguments: unclear)
    func unclearItemIsKept(_ members: String) throws {
        let item = DirectProbe.item(members)
        let event = try DirectProbe.only(.facebook, item)
        #expect(event.action == .unrecognized)
        #expect(event.customer?.id == DirectProbe.person)
        #expect(event.account.id == DirectProbe.page)
        #expect(event.bytes == [UInt8](item.utf8))
        #expect(event.duplicateKey.hasPrefix("unrecognized/"))
    }

    @Test(arguments: ["7", "[]", "null", #""text""#, "{}"])
    func whatIsNoItemIsKept(_ item: String) throws {
        let event = try DirectProbe.only(.instagram, item)
        #expect(event.action == .unrecognized)
        #expect(event.customer == nil)
        #expect(event.bytes == [UInt8](item.utf8))
    }

    static let anonymous: [String] = [
        #"{"message":{"mid":"m_1","text":"a"}}"#,
        #"{"sender":{"id":""},"message":{"mid":"m_1","text":"a"}}"#,
        #"{"sender":"9001","message":{"mid":"m_1","text":"a"}}"#,
        #"{"sender":{"id":"1001"},"message":{"mid":"m_1","text":"a","is_echo":true}}"#,
        #"{"postback":{"mid":"m_1","title":"a","payload":"b"}}"#,
        #"{"referral":{"ref":"a"}}"#,
    ]

    @Test(arguments: anonymous)
    func messageOfNobodyIsKept(_ item: String) throws {
        let event = try DirectProbe.only(.facebook, item)
        #expect(event.action == .unrecognized)
        #expect(event.customer == nil)
        #expect(event.bytes == [UInt8](item.utf8))
    }

    // MARK: Lists

    @Test func unclearItemTakesNothingFromTheOthers() throws {
        let good = DirectProbe.item(#""message":{"mid":"m_1","text":"a"}"#)
        let last = DirectProbe.item(#""message":{"mid":"m_2","text":"b"}"#)
        let events = try DirectProbe.events(.facebook, "\(good),{\"message\":{\"mid\":[]}},\(last)")
        let expected: [String] = ["message/m_1", "message/m_2"]
        try #require(events.count == 3)
        #expect([events[0].duplicateKey, events[2].duplicateKey] == expected)
        #expect(events[1].action == .unrecognized)
    }

    @Test(arguments: [Platform.facebook, .instagram])
    func standbyIsReadLikeMessaging(_ platform: Platform) throws {
        let item = DirectProbe.item(#""message":{"mid":"m_1","text":"a"}"#)
        let waiting = try DirectProbe.events(platform, item, list: "standby")
        #expect(waiting.count == 1)
        #expect(waiting.first?.duplicateKey == "message/m_1")
        #expect(waiting.first?.isStandby == true)
        var direct = try DirectProbe.events(platform, item)
        #expect(direct.first?.isStandby == false)
        for index in direct.indices { direct[index].isStandby = true }
        #expect(waiting == direct)
    }

    /// What waits for its message is still what came while another app held the conversation.
    @Test func standbyIsReadAgainAsStandby() throws {
        let item = DirectProbe.item(#""reaction":{"mid":"m_1","action":"react","emoji":"x"}"#)
        let event = try #require(try DirectProbe.events(.facebook, item, list: "standby").first)
        let again = try #require(ProviderJSON(MetaWebhook.envelope(of: event)).map { MetaWebhook.events($0) })
        #expect(again == [event])
    }

    // MARK: Changes

    private func changes(_ platform: Platform, _ field: String, _ value: String) throws -> [ChannelEvent] {
        try DirectProbe.events(platform, #"{"field":"\#(field)","value":\#(value)}"#, list: "changes")
    }

    @Test(arguments: [Platform.facebook, .instagram])
    func messageAsAChangeIsTheSameMessage(_ platform: Platform) throws {
        let item = DirectProbe.item(#""message":{"mid":"m_1","text":"a"}"#)
        let changed = try changes(platform, "messages", item)
        #expect(changed.map(\.duplicateKey) == ["message/m_1"])
        let direct = try DirectProbe.events(platform, item)
        #expect(changed == direct)
        let echo = DirectProbe.echo(#""message":{"mid":"m_2","is_echo":true,"text":"b"}"#)
        let echoed = try changes(platform, "message_echoes", echo)
        let directEcho = try DirectProbe.events(platform, echo)
        #expect(echoed == directEcho)
        let standby = try changes(platform, "standby", item)
        #expect(standby.first?.isStandby == true)
    }

    @Test(arguments: [
        ["comments", #"{"id":"1","text":"a","from":{"id":"2"}}"#],
        ["messages", #"{"sender":{"id":"12334"},"recipient":{"id":"23245"},"message":{"mid":"mid","text":"a"}}"#],
        ["messages", #"{"message":{"mid":"m_1","text":"a"}}"#], ["messages", "[]"], ["messages", "null"],
        ["feed", DirectProbe.item(#""message":{"mid":"m_1","text":"a"}"#)],
        ["messages", DirectProbe.item(#""something_new":{}"#)],
    ])
    func anotherChangeIsKept(_ row: [String]) throws {
        let events = try changes(.instagram, row[0], row[1])
        try #require(events.count == 1)
        #expect(events[0].action == .unrecognized)
        #expect(events[0].bytes == [UInt8](#"{"field":"\#(row[0])","value":\#(row[1])}"#.utf8))
    }

    // MARK: Depth

    @Test(arguments: [63, 64, 65, 5000, 20_000])
    func aDeepItemTakesNothingFromTheOthers(_ depth: Int) throws {
        let deep = String(repeating: #"[{"a":"#, count: depth) + "1" + String(repeating: "}]", count: depth)
        let items = [
            DirectProbe.item(#""message":{"mid":"m_1","text":"a"}"#), deep,
            DirectProbe.item(#""message":{"new":\#(deep),"mid":"m_2","text":"b"}"#),
            DirectProbe.item(#""message":{"mid":"m_3","text":"c"}"#),
        ]
        let events = try DirectProbe.events(.facebook, items.joined(separator: ","))
        try #require(events.count == 4)
        #expect(events[0].duplicateKey == "message/m_1")
        #expect(events[1].action == .unrecognized)
        #expect(events[1].bytes == [UInt8](deep.utf8))
        #expect(DirectProbe.content(events[2])?.text == "b")
        #expect(DirectProbe.content(events[3])?.text == "c")
    }

    @Test(arguments: [
        "[", "]", "{", "}", "[}", "{]", "[[}]", #"[{"a":[}]]"#, "[1,]", "[,1]", "[1 2]", "[]]", "{}}", "[] []",
        #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, #"{,"a":1}"#, #"{"a":1 "b":2}"#, #"{"a":1,2}"#, "{1:2}", "{a:1}", "",
        String(repeating: "[", count: 64) + String(repeating: "]", count: 65),
        String(repeating: "[", count: 65) + "}" + String(repeating: "]", count: 64),
        String(repeating: "[", count: 100_000), String(repeating: #"{"a":"#, count: 130) + "1" + "]",
    ])
    func whatIsNoJSONIsNone(_ text: String) {
        #expect(ProviderJSON([UInt8](text.utf8)) == nil)
    }

    @Test func postbackInStandbyHasNoPayload() throws {
        let item = DirectProbe.item(#""postback":{"title":"Start"}"#)
        let events = try DirectProbe.events(.facebook, item, list: "standby")
        #expect(events.count == 1)
        let event = try #require(events.first)
        #expect(event.duplicateKey == "postback/\(DirectProbe.person)/1790000000001/")
        let content = try #require(DirectProbe.content(event))
        #expect(content.interactive == MessageContent.Interactive(kind: "postback", id: "", title: "Start"))
    }

    @Test func everyKeyOfAnItemCounts() throws {
        let item = DirectProbe.item(
            #""message":{"mid":"m_1","text":"a"},"read":{"watermark":1790000005900},"optin":{},"app_roles":{}"#
        )
        let events = try DirectProbe.events(.facebook, item)
        try #require(events.count == 3)
        #expect(events[0].duplicateKey == "message/m_1")
        #expect(events[1].duplicateKey == "read/\(DirectProbe.person)/1790000005900")
        #expect(events[2].action == .unrecognized)
        #expect(events.allSatisfy { event in event.bytes == [UInt8](item.utf8) })
    }

    @Test func unknownMembersChangeNothing() throws {
        let plain = try DirectProbe.message(.instagram, #""text":"a""#)
        let event = try DirectProbe.only(
            .instagram,
            DirectProbe.item(
                #""hop_context":[{"app_id":1}],"message":{"mid":"m_1","nlp":{"x":[1,2]},"text":"a","is_new":true}"#
            )
        )
        #expect(event.action == .message(plain))
        #expect(plain.text == "a")
    }
}
