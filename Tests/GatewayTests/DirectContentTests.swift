import Gateway
import Projections
import Testing

/// What messages of Messenger and Instagram hold, beside text.
@Suite struct DirectContentTests {
    private func share(_ kind: String, _ id: String, _ title: String, _ url: String) -> MessageContent.Share {
        var share = MessageContent.Share(kind: kind)
        share.mediaID = id
        share.title = title
        share.url = url
        return share
    }

    // MARK: Replies and choices

    @Test func quickReplyIsAChoice() throws {
        let content = try DirectProbe.message(.facebook, #""text":"Yes","quick_reply":{"payload":"Y"}"#)
        #expect(content.kind == "interactive")
        #expect(content.interactive == MessageContent.Interactive(kind: "quick_reply", id: "Y", title: "Yes"))
        #expect(content.text == "Yes")
    }

    @Test(arguments: [Platform.facebook, .instagram])
    func replyNamesWhatItAnswers(_ platform: Platform) throws {
        let content = try DirectProbe.message(
            platform,
            #""text":"Size M?","reply_to":{"mid":"m_0","is_self_reply":false}"#
        )
        #expect(content.replyTo == "m_0")
        #expect(content.kind == "text")
        #expect(content.story == nil)
    }

    @Test func storyReplyKeepsStoryAndText() throws {
        let content = try DirectProbe.message(
            .instagram,
            #""text":"Nice","reply_to":{"story":{"id":"17906265140000001","url":"https:\/\/cdn.test\/s"}}"#
        )
        #expect(content.kind == "story_reply")
        #expect(content.text == "Nice")
        #expect(content.story == MessageContent.Story(id: "17906265140000001", url: "https://cdn.test/s"))
        #expect(content.replyTo.isEmpty)
    }

    @Test func storyMentionHasOnlyAURL() throws {
        let content = try DirectProbe.attachments(
            .instagram,
            #"{"type":"story_mention","payload":{"url":"https://cdn.test/s"}}"#
        )
        #expect(content.kind == "story_mention")
        #expect(content.story == MessageContent.Story(id: "", url: "https://cdn.test/s"))
        #expect(content.media.isEmpty)
    }

    @Test func storyReplyWinsOverItsFiles() throws {
        let content = try DirectProbe.message(
            .instagram,
            #""reply_to":{"story":{"id":"1","url":"u"}},"attachments":[{"type":"image","payload":{"url":"i"}}]"#
        )
        #expect(content.kind == "story_reply")
        #expect(content.media.map(\.sourceURL) == ["i"])
    }

    // MARK: Files

    @Test(arguments: [
        ["image", "image"], ["video", "video"], ["audio", "audio"], ["file", "document"], ["sticker", "sticker"],
    ])
    func filesKeepTypeAndURL(_ row: [String]) throws {
        let content = try DirectProbe.attachments(
            .instagram,
            #"{"type":"\#(row[0])","payload":{"url":"https:\/\/cdn.test\/video.mp4"}}"#
        )
        #expect(content.kind == row[1])
        #expect(content.media.map(\.type) == [row[1]])
        #expect(content.media.map(\.sourceURL) == ["https://cdn.test/video.mp4"])
        #expect(content.media.map(\.isVoice) == [false])
        #expect(content.media.map(\.providerID) == [""])
    }

    @Test func severalFilesKeepTheirOrderAndText() throws {
        let content = try DirectProbe.message(
            .facebook,
            #""text":"these","attachments":[{"type":"video","payload":{"url":"a"}},"#
                + #"{"type":"image","payload":{"url":"b"}},{"type":"image","payload":{"url":"c"}}]"#
        )
        #expect(content.kind == "video")
        #expect(content.text == "these")
        #expect(content.media.map(\.type) == ["video", "image", "image"])
        #expect(content.media.map(\.sourceURL) == ["a", "b", "c"])
    }

    private static let sticker = #"{"url":"a","sticker_id":369239263222822}"#
    private static let oldForm = #"{"url":"b","sticker_id":369239263222822}"#

    static let stickers: [String] = [
        #"{"type":"image","payload":\#(sticker)}"#,
        #"{"type":"sticker","payload":\#(sticker)}"#,
        #"{"type":"sticker","payload":\#(sticker)},{"type":"image","payload":\#(oldForm)}"#,
        #"{"type":"image","payload":\#(oldForm)},{"type":"sticker","payload":\#(sticker)}"#,
        #"{"type":"image","payload":{"url":"a"}},{"type":"sticker","payload":\#(sticker)}"#,
    ]

    @Test(arguments: stickers)
    func stickerCountsOnceInEveryForm(_ attachments: String) throws {
        let content = try DirectProbe.attachments(.facebook, attachments)
        #expect(content.kind == "sticker")
        #expect(content.media.map(\.type) == ["sticker"])
        #expect(content.media.map(\.providerID) == ["369239263222822"])
        #expect(content.media.map(\.sourceURL) == ["a"])
    }

    @Test func pictureBesideAStickerStays() throws {
        let content = try DirectProbe.attachments(
            .facebook,
            #"{"type":"sticker","payload":{"sticker_id":1}},{"type":"image","payload":{"url":"b"}},"#
                + #"{"type":"image","payload":{}}"#
        )
        #expect(content.media.map(\.type) == ["sticker", "image", "image"])
    }

    @Test func locationKeepsItsDigits() throws {
        let content = try DirectProbe.attachments(
            .facebook,
            #"{"type":"location","title":"Pier","payload":{"coordinates":{"lat":37.80,"long":-122.4100000000000001}}}"#
        )
        var location = MessageContent.Location(latitude: "37.80", longitude: "-122.4100000000000001")
        location.name = "Pier"
        #expect(content.location == location)
        #expect(content.kind == "location")
        let half = try DirectProbe.attachments(
            .facebook,
            #"{"type":"location","payload":{"coordinates":{"lat":"north","long":1}}}"#
        )
        #expect(half.location == nil)
        #expect(half.kind == "unsupported")
    }

    // MARK: Nothing to show

    @Test(arguments: [
        #""is_unsupported":true"#,
        #""is_unsupported":true,"text":"a""#,
        #""attachments":[{"type":"ephemeral"}]"#,
        #""attachments":[{"type":"template","payload":{}}]"#,
        #""attachments":[{"type":"appointment_booking","payload":{"url":"a"}}]"#,
        #""attachments":[{"type":"hologram","payload":{"url":"a"}}]"#,
        #""attachments":[{"type":"fallback","payload":null}]"#,
        #""attachments":[7,null,{},[]]"#,
        #""attachments":"a""#,
        #""text":"""#,
    ])
    func messageWithNothingToShowIsUnsupported(_ members: String) throws {
        let content = try DirectProbe.message(.instagram, members)
        #expect(content.kind == "unsupported")
        #expect(content.platformMessageID == "m_1")
        #expect(content.media.isEmpty)
        #expect(content.shares.isEmpty)
    }

    @Test func textBesideNothingToShowStaysText() throws {
        let content = try DirectProbe.message(.facebook, #""text":"a","attachments":[{"type":"template"}]"#)
        #expect(content.kind == "text")
        #expect(content.text == "a")
    }

    // MARK: Shares

    struct Shared: Sendable, CustomTestStringConvertible {
        let attachments: String
        let kind: String
        let id: String
        let title: String
        let url: String

        init(_ attachments: String, _ kind: String, _ id: String, _ title: String, _ url: String) {
            self.attachments = attachments
            self.kind = kind
            self.id = id
            self.title = title
            self.url = url
        }

        var testDescription: String { attachments }
    }

    private static let post = #"{"ig_post_media_id":"17897654940000001","title":"t","url":"u"}"#
    private static let reel = #"{"reel_video_id":"17906265140000001","title":"t","url":"u"}"#

    static let shares: [Shared] = [
        Shared(#"{"type":"ig_reel","payload":\#(reel)}"#, "reel", "17906265140000001", "t", "u"),
        Shared(#"{"type":"reel","payload":\#(reel)}"#, "reel", "17906265140000001", "t", "u"),
        Shared(#"{"type":"ig_reel"}"#, "reel", "", "", ""),
        Shared(#"{"type":"ig_reel","payload":{"reel_video_id":9007199254740993}}"#, "reel", "9007199254740993", "", ""),
        Shared(#"{"type":"ig_post","payload":\#(post)}"#, "post", "17897654940000001", "t", "u"),
        Shared(#"{"type":"post","payload":{"post_id":"1_2","url":"u"}}"#, "post", "1_2", "", "u"),
        Shared(#"{"type":"post","payload":{"id":"12","title":"t"}}"#, "post", "12", "t", ""),
        Shared(#"{"type":"ig_story","payload":{"story_media_id":"5","story_media_url":"u"}}"#, "story", "5", "", "u"),
        Shared(#"{"type":"share","payload":\#(post)}"#, "post", "17897654940000001", "t", "u"),
        Shared(#"{"type":"share","payload":{"title":"t","url":"u"}}"#, "link", "", "t", "u"),
        Shared(#"{"type":"fallback","title":"t","url":"u"}"#, "link", "", "t", "u"),
        Shared(#"{"type":"fallback","payload":{"title":"t","url":"u"}}"#, "link", "", "t", "u"),
    ]

    @Test(arguments: shares)
    func shareKeepsWhatWasShared(_ row: Shared) throws {
        let content = try DirectProbe.attachments(.instagram, row.attachments)
        #expect(content.shares == [share(row.kind, row.id, row.title, row.url)])
        #expect(content.kind == "share")
        #expect(content.media.isEmpty)
    }

    static let postsInTwoForms: [String] = [
        #"{"type":"share","payload":\#(post)},{"type":"ig_post","payload":\#(post)}"#,
        #"{"type":"ig_post","payload":\#(post)},{"type":"share","payload":\#(post)}"#,
        #"{"type":"ig_post","payload":\#(post)},{"type":"share","payload":{"url":"u"}}"#,
        #"{"type":"share","payload":{"url":"u"}},{"type":"post","payload":\#(post)}"#,
        #"{"type":"post","payload":\#(post)},{"type":"ig_post","payload":\#(post)}"#,
        #"{"type":"share","payload":\#(post)},{"type":"share","payload":\#(post)}"#,
    ]

    @Test(arguments: postsInTwoForms)
    func postInTwoFormsCountsOnce(_ attachments: String) throws {
        let content = try DirectProbe.attachments(.instagram, attachments)
        #expect(content.shares == [share("post", "17897654940000001", "t", "u")])
    }

    @Test func differentSharesOfOneMessageAllCount() throws {
        let content = try DirectProbe.attachments(
            .instagram,
            #"{"type":"ig_reel","payload":{"reel_video_id":"1"}},{"type":"ig_reel","payload":{"reel_video_id":"2"}},"#
                + #"{"type":"ig_post","payload":{}},{"type":"ig_post","payload":{}},"#
                + #"{"type":"image","payload":{"url":"i"}}"#
        )
        #expect(content.shares.map(\.mediaID) == ["1", "2", "", ""])
        #expect(content.media.map(\.sourceURL) == ["i"])
        #expect(content.kind == "share")
    }

    @Test func pastedLinkIsText() throws {
        let content = try DirectProbe.message(.instagram, #""text":"https://www.instagram.com/reel/AbC/""#)
        #expect(content.kind == "text")
        #expect(content.shares.isEmpty)
    }

    // MARK: Referral

    @Test func messageFromAnAdNamesTheAd() throws {
        let content = try DirectProbe.message(
            .instagram,
            #""text":"Hi","referral":{"ref":"r","ad_id":23842000000000001,"source":"ADS","type":"OPEN_THREAD","#
                + #""ads_context_data":{"ad_title":"Sale","photo_url":"p","product_id":"9"}}"#
        )
        var referral = MessageContent.Referral(source: "ad")
        referral.adID = "23842000000000001"
        referral.ref = "r"
        referral.headline = "Sale"
        referral.sourceURL = "p"
        #expect(content.referral == referral)
        #expect(content.kind == "text")
    }

    /// The referral as it comes, then source, ref and URL.
    static let referrals: [[String]] = [
        [#"{"source":"ADS","product":{"id":"P1"}}"#, "ad", "P1", ""],
        [#"{"source":"SHORTLINK","ref":"r"}"#, "link", "r", ""],
        [#"{"product":{"id":"P1"}}"#, "product", "P1", ""],
        [#"{"product":{"id":"P1"},"ref":"r"}"#, "product", "r", ""],
        [#"{"source":"CUSTOMER_CHAT_PLUGIN","referer_uri":"u"}"#, "customer_chat_plugin", "", "u"],
        [#"{"ref":"r","ads_context_data":{"video_url":"v","photo_url":"p"}}"#, "", "r", "v"],
        [#"{"ref":"r","referer_uri":"u","ads_context_data":{"video_url":"v"}}"#, "", "r", "u"],
    ]

    @Test(arguments: referrals)
    func referralNamesItsSource(_ row: [String]) throws {
        let content = try DirectProbe.message(.facebook, #""text":"Hi","referral":\#(row[0])"#)
        let referral = try #require(content.referral)
        #expect(referral.source == row[1])
        #expect(referral.ref == row[2])
        #expect(referral.sourceURL == row[3])
    }

    @Test(arguments: ["{}", "null", "[]", #""ads""#])
    func emptyReferralIsNone(_ written: String) throws {
        let content = try DirectProbe.message(.facebook, #""text":"Hi","referral":\#(written)"#)
        #expect(content.referral == nil)
        #expect(content.text == "Hi")
    }
}
