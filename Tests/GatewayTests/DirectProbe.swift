import Gateway
import Projections
import Testing

/// Builds what Messenger and Instagram send, and reads it as the webhook does.
enum DirectProbe {
    /// Neither fits a double.
    static let page = "17841400000000001"
    static let person = "9007199254740993"

    static func events(
        _ platform: Platform,
        _ items: String,
        list: String = "messaging"
    ) throws -> [ChannelEvent] {
        let object = platform == .facebook ? "page" : "instagram"
        let entry = #"{"id":"\#(page)","time":1790000000500,"\#(list)":[\#(items)]}"#
        let json = #"{"object":"\#(object)","entry":[\#(entry)]}"#
        let body = try #require(ProviderJSON([UInt8](json.utf8)))
        return MetaWebhook.events(body)
    }

    /// An item from the person to the page.
    static func item(_ members: String, timestamp: String = "1790000000001") -> String {
        let parties = #""sender":{"id":"\#(person)"},"recipient":{"id":"\#(page)"}"#
        return #"{\#(parties),"timestamp":\#(timestamp),\#(members)}"#
    }

    /// An item from the page to the person.
    static func echo(_ members: String) -> String {
        let parties = #""sender":{"id":"\#(page)"},"recipient":{"id":"\#(person)"}"#
        return #"{\#(parties),"timestamp":1790000000001,\#(members)}"#
    }

    /// The event of a request that must have one.
    static func only(_ platform: Platform, _ item: String) throws -> ChannelEvent {
        let found = try events(platform, item)
        try #require(found.count == 1)
        return try #require(found.first)
    }

    static func content(_ event: ChannelEvent) -> MessageContent? {
        guard case .message(let content) = event.action else { return nil }
        return content
    }

    /// The content of a message with the id `m_1` and these members.
    static func message(_ platform: Platform, _ members: String) throws -> MessageContent {
        let event = try only(platform, item(#""message":{"mid":"m_1",\#(members)}"#))
        return try #require(content(event))
    }

    static func attachments(_ platform: Platform, _ attachments: String) throws -> MessageContent {
        try message(platform, #""attachments":[\#(attachments)]"#)
    }
}
