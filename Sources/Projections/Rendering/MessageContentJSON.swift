extension MessageContent {
    /// The content as it is sealed with its message. Members that begin with `_` are for Waybill alone.
    func stored(replyTo: String?) -> [UInt8] {
        JSONWriter.object { json in
            writeParts(&json, replyTo: replyTo, withSources: true)
            if shares.count > 1 {
                json.array("_shares") { json in
                    for share in shares { json.element { MessageContent.write(share, &$0) } }
                }
            }
            if let referral { json.object("_referral") { MessageContent.write(referral, &$0) } }
        }
    }

    /// The members of the contract's `message` that say what was written; parts that do not apply are absent.
    ///
    /// - Parameters:
    ///   - replyTo: our id of the message that this one answers; nil when there is none or it is not known here.
    ///   - places: where the files of this message will be had; nil where nobody fetches them.
    ///   - withSources: whether to add where the provider has the files.
    package func writeParts(
        _ json: inout JSONWriter,
        replyTo: String?,
        share: Share? = nil,
        places: MediaPlaces? = nil,
        withSources: Bool = false
    ) {
        json.string("platform_message_id", platformMessageID.isEmpty ? nil : platformMessageID)
        json.string("type", kind)
        json.string("text", text.isEmpty && kind != "text" ? nil : text)
        if !encoding.isEmpty { json.string("encoding", encoding) }
        if segments > 0 { json.number("segments", segments) }
        if !via.isEmpty { json.string("via", via) }
        json.array("media") { json in
            for (index, item) in media.enumerated() {
                json.element { json in
                    json.object { json in
                        places?.writeID(index, &json)
                        MessageContent.write(item, &json, leavesMimeType: places != nil && item.mimeType.isEmpty)
                        places?.writeRest(index, hasMimeType: !item.mimeType.isEmpty, &json)
                        if withSources { MessageContent.writeSource(of: item, &json) }
                    }
                }
            }
        }
        if let location { json.object("location") { MessageContent.write(location, &$0) } }
        if !contacts.isEmpty {
            json.array("contacts") { json in
                for contact in contacts { json.element { MessageContent.write(contact, &$0) } }
            }
        }
        if let interactive { json.object("interactive") { MessageContent.write(interactive, &$0) } }
        if let share = share ?? shares.first {
            json.key("share")
            MessageContent.write(share, &json)
        }
        if let order { json.object("order") { MessageContent.write(order, &$0) } }
        if let product { json.object("product") { MessageContent.write(product, &$0) } }
        if let story { json.object("story") { MessageContent.write(story, &$0) } }
        json.string("reply_to", replyTo)
    }

    private static func write(_ media: Media, _ json: inout JSONWriter, leavesMimeType: Bool) {
        json.string("type", media.type)
        if !leavesMimeType { json.string("mime_type", media.mimeType.isEmpty ? nil : media.mimeType) }
        if !media.filename.isEmpty { json.string("filename", media.filename) }
        if !media.caption.isEmpty { json.string("caption", media.caption) }
        if media.type == "audio" { json.bool("voice", media.isVoice) }
    }

    private static func writeSource(of media: Media, _ json: inout JSONWriter) {
        if !media.providerID.isEmpty { json.string("_provider_id", media.providerID) }
        if !media.sourceURL.isEmpty { json.string("_source_url", media.sourceURL) }
        if !media.sha256.isEmpty { json.string("_sha256", media.sha256) }
    }

    private static func write(_ location: Location, _ json: inout JSONWriter) {
        json.raw("latitude", [UInt8](location.latitude.utf8))
        json.raw("longitude", [UInt8](location.longitude.utf8))
        if !location.name.isEmpty { json.string("name", location.name) }
        if !location.address.isEmpty { json.string("address", location.address) }
    }

    private static func write(_ contact: Contact, _ json: inout JSONWriter) {
        json.object { json in
            json.string("name", contact.name)
            json.array("phones") { json in
                for phone in contact.phones { json.element { $0.string(phone) } }
            }
            json.array("emails") { json in
                for email in contact.emails { json.element { $0.string(email) } }
            }
        }
    }

    private static func write(_ interactive: Interactive, _ json: inout JSONWriter) {
        json.string("kind", interactive.kind)
        json.string("id", interactive.id)
        json.string("title", interactive.title)
    }

    private static func write(_ share: Share, _ json: inout JSONWriter) {
        json.object { json in
            json.string("kind", share.kind)
            json.string("media_id", share.mediaID.isEmpty ? nil : share.mediaID)
            if !share.title.isEmpty { json.string("title", share.title) }
            json.string("url", share.url.isEmpty ? nil : share.url)
        }
    }

    private static func write(_ order: Order, _ json: inout JSONWriter) {
        json.string("catalog_id", order.catalogID)
        json.array("items") { json in
            for item in order.items {
                json.element { json in
                    json.object { json in
                        json.string("product_id", item.productID)
                        json.raw("quantity", [UInt8](item.quantity.utf8))
                        json.raw("price", [UInt8](item.price.utf8))
                        json.string("currency", item.currency)
                    }
                }
            }
        }
    }

    private static func write(_ product: Product, _ json: inout JSONWriter) {
        json.string("catalog_id", product.catalogID.isEmpty ? nil : product.catalogID)
        json.string("product_id", product.productID.isEmpty ? nil : product.productID)
    }

    private static func write(_ story: Story, _ json: inout JSONWriter) {
        json.string("id", story.id.isEmpty ? nil : story.id)
        json.string("url", story.url.isEmpty ? nil : story.url)
    }

    /// The contract's `referral`.
    package static func write(_ referral: Referral, _ json: inout JSONWriter) {
        json.string("source", referral.source)
        if !referral.adID.isEmpty { json.string("ad_id", referral.adID) }
        if !referral.headline.isEmpty { json.string("headline", referral.headline) }
        if !referral.body.isEmpty { json.string("body", referral.body) }
        if !referral.clickID.isEmpty { json.string("click_id", referral.clickID) }
        if !referral.sourceURL.isEmpty { json.string("source_url", referral.sourceURL) }
        if !referral.ref.isEmpty { json.string("ref", referral.ref) }
    }
}
