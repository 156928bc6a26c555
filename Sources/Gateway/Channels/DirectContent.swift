import Projections

/// What a message, a tap or an opened link of Messenger or Instagram says.
enum DirectContent {
    static func message(_ message: ProviderJSON, mid: String) -> MessageContent {
        var content = MessageContent()
        content.platformMessageID = mid
        content.text = DirectField.text(message, "text")
        if let reply = message["quick_reply"], reply.isObject {
            content.interactive = MessageContent.Interactive(
                kind: "quick_reply",
                id: DirectField.text(reply, "payload"),
                title: content.text
            )
        }
        content.replyTo = DirectField.text(message["reply_to"], "mid")
        content.story = story(message["reply_to"]?["story"])
        let isStoryReply = content.story != nil
        content.referral = referral(message["referral"])
        DirectAttachments.add(message["attachments"]?.elements ?? [], to: &content)
        let isUnsupported = DirectField.isTrue(message["is_unsupported"])
        content.kind = isUnsupported ? "unsupported" : kind(content, isStoryReply: isStoryReply)
        return content
    }

    /// Text beside a file is its caption, so the file decides.
    private static func kind(_ content: MessageContent, isStoryReply: Bool) -> String {
        if content.story != nil { return isStoryReply ? "story_reply" : "story_mention" }
        if !content.shares.isEmpty { return "share" }
        if let file = content.media.first { return file.type }
        if content.location != nil { return "location" }
        if content.interactive != nil { return "interactive" }
        return content.text.isEmpty ? "unsupported" : "text"
    }

    private static func story(_ story: ProviderJSON?) -> MessageContent.Story? {
        guard let story, story.isObject else { return nil }
        return MessageContent.Story(id: DirectField.text(story, "id"), url: DirectField.text(story, "url"))
    }

    static func edit(_ edit: ProviderJSON, mid: String) -> MessageContent {
        var content = MessageContent()
        content.platformMessageID = mid
        content.text = DirectField.text(edit, "text")
        return content
    }

    /// A tap on a button, a menu or an ice breaker. The payload is withheld from an app that did not make the button.
    static func postback(_ postback: ProviderJSON) -> MessageContent {
        let title = DirectField.text(postback, "title")
        var content = MessageContent()
        content.platformMessageID = DirectField.text(postback, "mid")
        content.kind = "interactive"
        content.text = title
        content.interactive = MessageContent.Interactive(
            kind: "postback",
            id: DirectField.text(postback, "payload"),
            title: title
        )
        content.referral = referral(postback["referral"])
        return content
    }

    // MARK: Referral

    /// A link or an ad that the customer opened, without a word. Nil when it does not say what led here.
    static func opening(_ referral: ProviderJSON) -> MessageContent? {
        guard let source = self.referral(referral) else { return nil }
        var content = MessageContent()
        content.kind = "interactive"
        content.interactive = MessageContent.Interactive(kind: "referral", id: source.ref, title: "")
        content.referral = source
        return content
    }

    private static func referral(_ json: ProviderJSON?) -> MessageContent.Referral? {
        guard let json, json.isObject else { return nil }
        let ad = json["ads_context_data"]
        var referral = MessageContent.Referral(source: source(json))
        referral.adID = DirectField.text(json, "ad_id")
        referral.headline = DirectField.text(ad, "ad_title")
        referral.sourceURL = DirectField.text(json, "referer_uri")
        if referral.sourceURL.isEmpty { referral.sourceURL = DirectField.text(ad, "video_url", "photo_url") }
        referral.ref = DirectField.text(json, "ref")
        if referral.ref.isEmpty { referral.ref = DirectField.text(json["product"], "id") }
        return referral == MessageContent.Referral(source: "") ? nil : referral
    }

    /// An ad for a product is an ad.
    private static func source(_ json: ProviderJSON) -> String {
        let name = DirectField.text(json, "source").lowercased()
        switch name {
        case "ads": return "ad"
        case "shortlink": return "link"
        default: return json["product"] != nil ? "product" : name
        }
    }
}
