import Projections

/// `attachments[]` of Messenger and Instagram. When Meta changes a form, it sends the old one and the new one side by
/// side for months; of such a pair only the new one counts.
enum DirectAttachments {
    /// Types that carry nothing to show (`template`, `ephemeral`, …) or are new to us add nothing.
    static func add(_ attachments: [ProviderJSON], to content: inout MessageContent) {
        let attachments = attachments.map { json in Attachment(json) }
        let siblings = Siblings(attachments)
        for attachment in attachments {
            if let file = media(attachment, siblings) { content.media.append(file) }
            if let shared = share(attachment, siblings), isNew(shared, content.shares) { content.shares.append(shared) }
            if content.location == nil { content.location = location(attachment) }
            if content.story == nil, attachment.type == "story_mention" {
                content.story = MessageContent.Story(id: "", url: attachment.url)
            }
        }
    }

    private struct Attachment {
        let json: ProviderJSON
        let type: String
        /// Absent for what was deleted or is private.
        let payload: ProviderJSON?
        let url: String
        let stickerID: String

        init(_ json: ProviderJSON) {
            let payload = json["payload"]
            self.json = json
            self.payload = payload
            type = DirectField.text(json, "type")
            url = DirectField.text(payload, "url")
            stickerID = DirectField.text(payload, "sticker_id")
        }
    }

    /// What the new forms in one message say, for their old forms beside them.
    private struct Siblings {
        private(set) var hasPost = false
        private var stickerIDs: Set<String> = []
        private var stickerURLs: Set<String> = []

        init(_ attachments: [Attachment]) {
            for attachment in attachments {
                switch attachment.type {
                case "ig_post", "post":
                    hasPost = true
                case "sticker":
                    if !attachment.stickerID.isEmpty { stickerIDs.insert(attachment.stickerID) }
                    if !attachment.url.isEmpty { stickerURLs.insert(attachment.url) }
                default:
                    break
                }
            }
        }

        func isSticker(_ attachment: Attachment) -> Bool {
            stickerIDs.contains(attachment.stickerID) || stickerURLs.contains(attachment.url)
        }
    }

    // MARK: Files

    /// The type that Meta names counts, not that of the file: voice notes of Instagram are served as video.
    private static func media(_ attachment: Attachment, _ siblings: Siblings) -> MessageContent.Media? {
        switch attachment.type {
        case "image":
            if siblings.isSticker(attachment) { return nil }
            return file(attachment.stickerID.isEmpty ? "image" : "sticker", attachment)
        case "video", "audio", "sticker":
            return file(attachment.type, attachment)
        case "file":
            return file("document", attachment)
        default:
            return nil
        }
    }

    private static func file(_ type: String, _ attachment: Attachment) -> MessageContent.Media {
        var media = MessageContent.Media(type: type)
        media.providerID = attachment.stickerID
        media.sourceURL = attachment.url
        return media
    }

    private static func location(_ attachment: Attachment) -> MessageContent.Location? {
        guard attachment.type == "location", let coordinates = attachment.payload?["coordinates"],
            let latitude = coordinates["lat"]?.number, let longitude = coordinates["long"]?.number
        else { return nil }
        var location = MessageContent.Location(latitude: latitude, longitude: longitude)
        location.name = DirectField.text(attachment.json, "title")
        return location
    }

    // MARK: Shares

    private static func share(_ attachment: Attachment, _ siblings: Siblings) -> MessageContent.Share? {
        let payload = attachment.payload
        switch attachment.type {
        case "ig_reel", "reel":
            return shared("reel", DirectField.text(payload, "reel_video_id"), attachment)
        case "ig_post", "post":
            return shared("post", DirectField.text(payload, "ig_post_media_id", "post_id", "id"), attachment)
        case "ig_story":
            var story = MessageContent.Share(kind: "story")
            story.mediaID = DirectField.text(payload, "story_media_id")
            story.url = DirectField.text(payload, "story_media_url")
            return story
        case "share":
            if siblings.hasPost { return nil }
            let id = DirectField.text(payload, "ig_post_media_id")
            return id.isEmpty ? link(attachment) : shared("post", id, attachment)
        case "fallback":
            return link(attachment)
        default:
            return nil
        }
    }

    /// Kept without an id and a URL as well: that something was shared is worth telling, even when it is gone.
    private static func shared(_ kind: String, _ id: String, _ attachment: Attachment) -> MessageContent.Share {
        var share = MessageContent.Share(kind: kind)
        share.mediaID = id
        share.title = DirectField.text(attachment.payload, "title")
        share.url = attachment.url
        return share
    }

    /// A link of which nothing is left is none, and must not hide the text that it came with.
    private static func link(_ attachment: Attachment) -> MessageContent.Share? {
        let title = DirectField.text(attachment.json, "title")
        let url = DirectField.text(attachment.json, "url")
        var share = MessageContent.Share(kind: "link")
        share.title = title.isEmpty ? DirectField.text(attachment.payload, "title") : title
        share.url = url.isEmpty ? attachment.url : url
        return share.title.isEmpty && share.url.isEmpty ? nil : share
    }

    /// Receivers get one event for each media id of a message.
    private static func isNew(_ share: MessageContent.Share, _ others: [MessageContent.Share]) -> Bool {
        share.mediaID.isEmpty || !others.contains { other in other.mediaID == share.mediaID }
    }
}
