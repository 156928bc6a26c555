/// One message on its way to a provider, with everything that the provider has to be told; ids are the provider's own here.
package struct OutgoingMessage: Sendable, Equatable {
    package enum Content: Sendable, Equatable {
        case text(String)
        case media(Media)
        case template(Template)
        /// - emoji: empty takes the reaction back.
        case reaction(to: String, emoji: String)
        /// - lastInbound: the customer's last message, which WhatsApp marks as read with it.
        case typing(isOn: Bool, lastInbound: String)
    }

    package struct Media: Sendable, Equatable {
        package var url: String
        /// `image`, `video`, `audio`, `document`, `sticker`.
        package var type: String
        package var caption = ""
        package var filename = ""

        package init(url: String, type: String) {
            self.url = url
            self.type = type
        }
    }

    package struct Template: Sendable, Equatable {
        package var name: String
        package var language: String
        /// A JSON array, byte for byte as the client gave it; empty for none.
        package var components: [UInt8]

        package init(name: String, language: String, components: [UInt8]) {
            self.name = name
            self.language = language
            self.components = components
        }
    }

    /// PSID, IGSID, `wa_id`, business-scoped id, or a phone number.
    package var recipient: String
    package var content: Content
    /// The message that this one answers; empty for none.
    package var replyTo = ""
    /// Meta's seven days for answers written by a person.
    package var isByHuman = false
    /// Our id of the message, which comes back in echoes and statuses.
    package var ourID: String

    package init(recipient: String, content: Content, ourID: String) {
        self.recipient = recipient
        self.content = content
        self.ourID = ourID
    }
}
