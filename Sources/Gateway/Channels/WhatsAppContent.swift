import Projections

/// What one message object of WhatsApp says, whoever wrote it. Facts: `reference/channels.md` section E.1.
enum WhatsAppContent {
    /// - Parameter id: the provider's id of the message; for what an edit put in its place, that of the original.
    static func content(_ message: ProviderJSON, id: String) -> MessageContent {
        var content = MessageContent()
        content.platformMessageID = id
        content.replyTo = message["context"]?["id"]?.text ?? ""
        content.referral = referral(message["referral"])
        content.product = product(message["context"]?["referred_product"])
        let type = message["type"]?.text ?? ""
        let isKnown = fill(&content, type, message)
        content.kind = isKnown ? type : "unsupported"
        return content
    }

    /// False, with nothing filled in, for a type that is new to us and for one without its object, which bears the
    /// type's name.
    private static func fill(_ content: inout MessageContent, _ type: String, _ message: ProviderJSON) -> Bool {
        guard let part = message[type] else { return false }
        switch type {
        case "text": return text(part, &content)
        case "image", "video", "audio", "document", "sticker": return media(type, part, &content)
        case "location": return location(part, &content)
        case "contacts": return contacts(part, &content)
        case "interactive": return interactive(part, &content)
        case "button": return button(part, &content)
        case "order": return order(part, &content)
        default: return false
        }
    }

    private static func text(_ part: ProviderJSON, _ content: inout MessageContent) -> Bool {
        guard let body = part["body"]?.text else { return false }
        content.text = body
        return true
    }

    /// The caption is the medium's; the message itself has no text.
    private static func media(_ type: String, _ part: ProviderJSON, _ content: inout MessageContent) -> Bool {
        guard part.isObject else { return false }
        var media = MessageContent.Media(type: type)
        media.mimeType = part["mime_type"]?.text ?? ""
        media.filename = part["filename"]?.text ?? ""
        media.caption = part["caption"]?.text ?? ""
        media.isVoice = part["voice"]?.bool ?? false
        media.providerID = part["id"]?.text ?? ""
        media.sourceURL = part["url"]?.text ?? ""
        media.sha256 = part["sha256"]?.text ?? ""
        content.media = [media]
        return true
    }

    private static func location(_ part: ProviderJSON, _ content: inout MessageContent) -> Bool {
        guard let latitude = part["latitude"]?.number, let longitude = part["longitude"]?.number else { return false }
        var location = MessageContent.Location(latitude: latitude, longitude: longitude)
        location.name = part["name"]?.text ?? ""
        location.address = part["address"]?.text ?? ""
        content.location = location
        return true
    }

    // MARK: Contacts

    /// Cards that the customer sent; not `value.contacts`, which has the same name and says who the customer is.
    private static func contacts(_ part: ProviderJSON, _ content: inout MessageContent) -> Bool {
        guard part.isArray else { return false }
        let cards = part.elements.filter { card in card.isObject }
        content.contacts = cards.map { card in contact(card) }
        return true
    }

    private static func contact(_ card: ProviderJSON) -> MessageContent.Contact {
        let name = firstText(card["name"], "formatted_name", "first_name") ?? ""
        var contact = MessageContent.Contact(name: name)
        let phones = card["phones"]?.elements ?? []
        let emails = card["emails"]?.elements ?? []
        contact.phones = phones.compactMap { phone in firstText(phone, "phone", "wa_id") }
        contact.emails = emails.compactMap { email in firstText(email, "email") }
        return contact
    }

    private static func firstText(_ object: ProviderJSON?, _ names: String...) -> String? {
        for name in names {
            if let text = object?[name]?.text, !text.isEmpty { return text }
        }
        return nil
    }

    // MARK: Choices

    private static func interactive(_ part: ProviderJSON, _ content: inout MessageContent) -> Bool {
        let type = part["type"]?.text ?? ""
        guard let reply = part[type], reply.isObject else { return false }
        switch type {
        case "button_reply", "list_reply":
            let title = reply["title"]?.text ?? ""
            let id = reply["id"]?.text ?? ""
            content.interactive = MessageContent.Interactive(kind: type, id: id, title: title)
            content.text = title
        case "nfm_reply":
            let name = reply["name"]?.text ?? ""
            let body = reply["body"]?.text ?? ""
            content.interactive = MessageContent.Interactive(kind: "flow_reply", id: name, title: body)
            content.text = reply["response_json"]?.text ?? ""
        default:
            return false
        }
        return true
    }

    private static func button(_ part: ProviderJSON, _ content: inout MessageContent) -> Bool {
        guard part.isObject else { return false }
        let title = part["text"]?.text ?? ""
        let payload = part["payload"]?.text ?? ""
        content.interactive = MessageContent.Interactive(kind: "button", id: payload, title: title)
        content.text = title
        return true
    }

    // MARK: Orders

    private static func order(_ part: ProviderJSON, _ content: inout MessageContent) -> Bool {
        guard part.isObject else { return false }
        let products = part["product_items"]?.elements ?? []
        let items = products.filter { product in product.isObject }.map { product in item(product) }
        content.order = MessageContent.Order(catalogID: part["catalog_id"]?.text ?? "", items: items)
        content.text = part["text"]?.text ?? ""
        return true
    }

    /// What is no number becomes 0, since these are written as JSON numbers again.
    private static func item(_ product: ProviderJSON) -> MessageContent.Order.Item {
        MessageContent.Order.Item(
            productID: product["product_retailer_id"]?.text ?? "",
            quantity: product["quantity"]?.number ?? "0",
            price: product["item_price"]?.number ?? "0",
            currency: product["currency"]?.text ?? ""
        )
    }

    /// Of the catalogue, which the message was written from.
    private static func product(_ part: ProviderJSON?) -> MessageContent.Product? {
        let catalogID = part?["catalog_id"]?.text ?? ""
        let productID = part?["product_retailer_id"]?.text ?? ""
        if catalogID.isEmpty, productID.isEmpty { return nil }
        return MessageContent.Product(catalogID: catalogID, productID: productID)
    }

    // MARK: Referral

    /// Of a message that an ad or a post led to. The `source_id` of a post is that post's.
    private static func referral(_ part: ProviderJSON?) -> MessageContent.Referral? {
        guard let part, part.isObject else { return nil }
        let source = part["source_type"]?.text ?? ""
        var referral = MessageContent.Referral(source: source.lowercased())
        referral.adID = part["source_id"]?.text ?? ""
        referral.headline = part["headline"]?.text ?? ""
        referral.body = part["body"]?.text ?? ""
        referral.clickID = part["ctwa_clid"]?.text ?? ""
        referral.sourceURL = part["source_url"]?.text ?? ""
        return referral
    }
}
