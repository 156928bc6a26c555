import Log
import Projections

/// The envelope that Messenger, Instagram and WhatsApp share. Facts: `reference/channels.md` section B.
///
/// One request may carry events of many accounts; each item is adapted by itself, so that one of an unknown shape keeps
/// nothing from the others.
package enum MetaWebhook {
    /// Every event of a request, in the order in which it came. Empty for what is no envelope of Meta's.
    package static func events(_ body: ProviderJSON) -> [ChannelEvent] {
        let entries = body["entry"]?.elements ?? []
        switch body["object"]?.text {
        case "page": return entries.flatMap { direct(.facebook, $0) }
        case "instagram": return entries.flatMap { direct(.instagram, $0) }
        case "whatsapp_business_account": return entries.flatMap(WhatsAppInbound.events)
        default: return []
        }
    }

    /// A request that holds one item only and gives the same event again, but for what stood beside it: names of contacts.
    package static func envelope(of event: ChannelEvent) -> [UInt8] {
        JSONWriter.object { json in
            json.string("object", objectName(event.platform))
            json.array("entry") { json in
                json.element { json in
                    json.object { json in
                        json.string("id", event.account.id)
                        if event.platform == .whatsapp {
                            change(event, &json)
                        } else {
                            item(event.isStandby ? "standby" : "messaging", event, &json)
                        }
                    }
                }
            }
        }
    }

    private static func objectName(_ platform: Platform) -> String {
        switch platform {
        case .facebook: "page"
        case .instagram: "instagram"
        case .whatsapp, .sms: "whatsapp_business_account"
        }
    }

    private static func change(_ event: ChannelEvent, _ json: inout JSONWriter) {
        let isReport = if case .report = event.action { true } else { false }
        let list: StaticString = event.isByBusiness ? "message_echoes" : isReport ? "statuses" : "messages"
        json.array("changes") { json in
            json.element { json in
                json.object { json in
                    json.string("field", event.isByBusiness ? "smb_message_echoes" : "messages")
                    json.object("value") { json in
                        json.object("metadata") { $0.string("phone_number_id", event.account.id) }
                        if let customer = event.customer { contact(customer, &json) }
                        item(list, event, &json)
                    }
                }
            }
        }
    }

    /// Who it is from may stand here alone.
    private static func contact(_ customer: ChannelEvent.Customer, _ json: inout JSONWriter) {
        json.array("contacts") { json in
            json.element { json in
                json.object { json in
                    // A business-scoped id begins with a country and a dot.
                    if customer.id.contains(".") { json.string("user_id", customer.id) }
                    let number = customer.id.contains(".") ? customer.otherID : customer.id
                    if !number.isEmpty { json.string("wa_id", number) }
                }
            }
        }
    }

    private static func item(_ name: StaticString, _ event: ChannelEvent, _ json: inout JSONWriter) {
        json.array(name) { json in json.element { $0.raw(event.bytes) } }
    }

    /// An entry of Messenger or Instagram. `standby` has what came while another app holds the conversation.
    private static func direct(_ platform: Platform, _ entry: ProviderJSON) -> [ChannelEvent] {
        guard let account = entry["id"]?.text, !account.isEmpty else {
            return [.unrecognized(platform, account: "", customer: nil, entry)]
        }
        func events(_ items: [ProviderJSON], isStandby: Bool) -> [ChannelEvent] {
            items.flatMap { DirectInbound.events(platform, account: account, $0, isStandby: isStandby) }
        }
        return events(entry["messaging"]?.elements ?? [], isStandby: false)
            + events(entry["standby"]?.elements ?? [], isStandby: true)
            + (entry["changes"]?.elements ?? []).flatMap { DirectChange.events(platform, account: account, $0) }
    }
}

extension ChannelEvent {
    /// An item of an unknown kind. A repeat is told by its bytes.
    static func unrecognized(
        _ platform: Platform,
        account: String,
        customer: Customer?,
        _ item: ProviderJSON
    ) -> ChannelEvent {
        ChannelEvent(
            platform: platform,
            account: Account(id: account),
            customer: customer,
            duplicateKey: "unrecognized/" + Hex.encode(Crypto.sha256(item.raw)),
            milliseconds: 0,
            action: .unrecognized,
            bytes: item.raw
        )
    }
}
