/// What a message says, in one shape for all channels. Sealed under the message's key as JSON whose members are those of the
/// contract's `message`, so that webhooks and the API show what is stored; members that begin with `_` are for Waybill alone.
package struct MessageContent: Sendable, Equatable {
    package struct Media: Sendable, Equatable {
        /// `image`, `video`, `audio`, `document`, `sticker`.
        package var type: String
        package var mimeType = ""
        package var filename = ""
        package var caption = ""
        /// A voice note.
        package var isVoice = false
        /// The provider's id of the file, to ask it for a URL; empty where there is only a URL.
        package var providerID = ""
        /// Where the provider has it, for a while.
        package var sourceURL = ""
        /// SHA-256 as the provider wrote it, hexadecimal or Base64; empty when it said nothing.
        package var sha256 = ""

        package init(type: String) { self.type = type }
    }

    package struct Location: Sendable, Equatable {
        /// JSON numbers as they were written.
        package var latitude: String
        package var longitude: String
        package var name = ""
        package var address = ""

        package init(latitude: String, longitude: String) {
            self.latitude = latitude
            self.longitude = longitude
        }
    }

    package struct Contact: Sendable, Equatable {
        package var name: String
        package var phones: [String] = []
        package var emails: [String] = []

        package init(name: String) { self.name = name }
    }

    /// A choice that the customer made: a reply button, a row of a list, a quick reply, a postback, a form.
    package struct Interactive: Sendable, Equatable {
        /// `button_reply`, `list_reply`, `flow_reply`, `quick_reply`, `postback`, `button`.
        package var kind: String
        package var id: String
        package var title: String

        package init(kind: String, id: String, title: String) {
            self.kind = kind
            self.id = id
            self.title = title
        }
    }

    package struct Share: Sendable, Equatable {
        /// `reel`, `post`, `story`, `link`.
        package var kind: String
        package var mediaID = ""
        package var title = ""
        package var url = ""

        package init(kind: String) { self.kind = kind }
    }

    package struct Order: Sendable, Equatable {
        package struct Item: Sendable, Equatable {
            package var productID: String
            /// JSON numbers as they were written.
            package var quantity: String
            package var price: String
            package var currency: String

            package init(productID: String, quantity: String, price: String, currency: String) {
                self.productID = productID
                self.quantity = quantity
                self.price = price
                self.currency = currency
            }
        }

        package var catalogID: String
        package var items: [Item]

        package init(catalogID: String, items: [Item]) {
            self.catalogID = catalogID
            self.items = items
        }
    }

    /// The product that the customer asks about.
    package struct Product: Sendable, Equatable {
        package var catalogID: String
        package var productID: String

        package init(catalogID: String, productID: String) {
            self.catalogID = catalogID
            self.productID = productID
        }
    }

    /// The story of ours that the customer answered or mentions us in.
    package struct Story: Sendable, Equatable {
        package var id: String
        package var url: String

        package init(id: String, url: String) {
            self.id = id
            self.url = url
        }
    }

    /// What led the customer here.
    package struct Referral: Sendable, Equatable {
        /// `ad`, `post`, `link`, `product`, or the provider's own word in lower case.
        package var source: String
        package var adID = ""
        package var headline = ""
        package var body = ""
        package var clickID = ""
        package var sourceURL = ""
        /// The parameter of an m.me or ig.me link.
        package var ref = ""

        package init(source: String) { self.source = source }
    }

    package var platformMessageID = ""
    /// The contract's `message.type`.
    package var kind = "text"
    package var text = ""
    package var encoding = ""
    package var segments = UInt64(0)
    /// The channel that a message came by which is not the platform's own, as `rcs`; empty otherwise.
    package var via = ""
    package var media: [Media] = []
    package var location: Location?
    package var contacts: [Contact] = []
    package var interactive: Interactive?
    package var shares: [Share] = []
    package var order: Order?
    package var product: Product?
    package var story: Story?
    /// The provider's id of the message that this one answers.
    package var replyTo = ""
    package var referral: Referral?

    package init() {}
}
