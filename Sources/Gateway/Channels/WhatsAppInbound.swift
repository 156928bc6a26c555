import Projections

/// WhatsApp's part of Meta's webhook, without sockets. Facts: `reference/channels.md` section E.
///
/// Each message and each status becomes an event with its own bytes. What is of no known shape becomes one too, so that
/// it is kept without keeping its neighbours back.
package enum WhatsAppInbound {
    /// Every event of one entry, in the order in which it came; at least one.
    package static func events(_ entry: ProviderJSON) -> [ChannelEvent] {
        let changes = entry["changes"]?.elements ?? []
        guard !changes.isEmpty else { return [.unrecognized(.whatsapp, account: "", customer: nil, entry)] }
        return changes.flatMap { change in eventsOfChange(change) }
    }

    private static func eventsOfChange(_ change: ProviderJSON) -> [ChannelEvent] {
        guard let json = change["value"], let value = WhatsAppValue(json) else {
            return [.unrecognized(.whatsapp, account: "", customer: nil, change)]
        }
        switch change["field"]?.text {
        case "messages", "smb_message_echoes":
            let events = value.events()
            return events.isEmpty ? [value.unrecognized(change)] : events
        default:
            return [value.unrecognized(change)]
        }
    }
}

/// The items of one `value`, which share an account of ours and a list of contacts.
private struct WhatsAppValue {
    private let json: ProviderJSON
    private let account: ChannelEvent.Account
    private let contacts: WhatsAppContacts
    private let hasOneMessage: Bool

    /// Nil without a `phone_number_id`, by which everything is routed.
    init?(_ json: ProviderJSON) {
        guard let id = json["metadata"]?["phone_number_id"]?.text, !id.isEmpty else { return nil }
        var account = ChannelEvent.Account(id: id)
        let digits = WhatsAppContacts.digits(json["metadata"]?["display_phone_number"]?.text ?? "")
        account.phone = digits.isEmpty ? "" : "+" + digits
        self.json = json
        self.account = account
        contacts = WhatsAppContacts(json)
        let messages = json["messages"]?.elements ?? []
        hasOneMessage = messages.count == 1
    }

    /// Empty when the value holds nothing that we know of.
    func events() -> [ChannelEvent] {
        let messages = items("messages") { item in message(item) }
        let statuses = items("statuses") { item in status(item) }
        let echoes = items("message_echoes") { item in echo(item) }
        let events = messages + statuses + echoes
        guard let errors = json["errors"] else { return events }
        return events + [unrecognized(events.isEmpty ? json : errors)]
    }

    func unrecognized(_ item: ProviderJSON) -> ChannelEvent {
        var event = ChannelEvent.unrecognized(.whatsapp, account: account.id, customer: nil, item)
        event.account = account
        return event
    }

    /// - Parameter adapt: nil for an item that lacks what identifies it.
    private func items(_ name: String, _ adapt: (ProviderJSON) -> ChannelEvent?) -> [ChannelEvent] {
        guard let list = json[name] else { return [] }
        guard list.isArray else { return [unrecognized(list)] }
        return list.elements.map { item in adapt(item) ?? unrecognized(item) }
    }

    private func event(
        _ duplicateKey: String,
        _ customer: ChannelEvent.Customer?,
        _ action: ChannelEvent.Action,
        _ item: ProviderJSON
    ) -> ChannelEvent {
        ChannelEvent(
            platform: .whatsapp,
            account: account,
            customer: customer,
            duplicateKey: duplicateKey,
            milliseconds: WhatsAppValue.milliseconds(item["timestamp"]),
            action: action,
            bytes: item.raw
        )
    }

    /// WhatsApp says seconds. A time beyond what our own clock can say is taken for none.
    private static func milliseconds(_ timestamp: ProviderJSON?) -> UInt64 {
        guard let time = timestamp?.integer else { return MetaTime.milliseconds(timestamp) }
        guard time > 0 else { return 0 }
        let stated = UInt64(time)
        let milliseconds = stated > 100_000_000_000 ? stated : stated * 1000
        return milliseconds <= UInt64.max / 1_000_000 ? milliseconds : 0
    }

    // MARK: Messages

    private func message(_ item: ProviderJSON) -> ChannelEvent? {
        guard let id = item["id"]?.text, !id.isEmpty else { return nil }
        if let system = WhatsAppSystem(item), let moved = moved(system, id: id, item) { return moved }
        let sender = contacts.customer(
            userID: item["from_user_id"]?.text ?? "",
            phoneID: item["from"]?.text ?? "",
            isOnlyItem: hasOneMessage
        )
        guard let sender else { return nil }
        let type = item["type"]?.text ?? ""
        // An answer to what was said in a group would go to this one person, who did not ask for it alone.
        let action = WhatsAppValue.isInGroup(item) ? .unrecognized : action(type, id: id, item)
        return event(WhatsAppValue.keyKind(ofType: type) + "/" + id, sender, action, item)
    }

    /// What is said and done in a group belongs to no conversation with one customer.
    private static func isInGroup(_ item: ProviderJSON) -> Bool {
        if item["recipient_type"]?.text?.lowercased() == "group" { return true }
        guard let group = item["group_id"] else { return false }
        return group.text != ""
    }

    /// Nil when nobody says who it was that moved. There are no contacts with it.
    private func moved(_ system: WhatsAppSystem, id: String, _ item: ProviderJSON) -> ChannelEvent? {
        let former = contacts.customer(
            userID: system.formerUserID,
            phoneID: system.formerPhoneID,
            isOnlyItem: false
        )
        guard let former, let move = system.move else { return nil }
        return event("message/" + id, former, .moved(move), item)
    }

    private static func keyKind(ofType type: String) -> String {
        switch type {
        case "edit": "edit"
        case "revoke": "unsend"
        case "reaction": "reaction"
        default: "message"
        }
    }

    private func action(_ type: String, id: String, _ item: ProviderJSON) -> ChannelEvent.Action {
        switch type {
        case "edit": edit(item["edit"])
        case "revoke": revoke(item["revoke"])
        case "reaction": reaction(item["reaction"])
        case "system": .unrecognized
        case "request_welcome": .unrecognized
        default: .message(WhatsAppContent.content(item, id: id))
        }
    }

    /// Without the new content nothing is replaced.
    private func edit(_ edit: ProviderJSON?) -> ChannelEvent.Action {
        guard let original = edit?["original_message_id"]?.text, !original.isEmpty,
            let message = edit?["message"], message.isObject
        else { return .unrecognized }
        return .edit(of: original, number: 0, WhatsAppContent.content(message, id: original))
    }

    private func revoke(_ revoke: ProviderJSON?) -> ChannelEvent.Action {
        guard let original = revoke?["original_message_id"]?.text, !original.isEmpty else { return .unrecognized }
        return .unsend(of: original)
    }

    /// An emoji that is empty or missing takes the reaction back.
    private func reaction(_ reaction: ProviderJSON?) -> ChannelEvent.Action {
        guard let target = reaction?["message_id"]?.text, !target.isEmpty else { return .unrecognized }
        let emoji = reaction?["emoji"]?.text ?? ""
        return .reaction(to: target, emoji: emoji, removed: emoji.isEmpty)
    }

    // MARK: Statuses

    private func status(_ item: ProviderJSON) -> ChannelEvent? {
        guard let id = item["id"]?.text, !id.isEmpty, let name = item["status"]?.text, !name.isEmpty,
            !WhatsAppValue.isInGroup(item)
        else { return nil }
        let userID = item["recipient_user_id"]?.text ?? ""
        let phoneID = item["recipient_id"]?.text ?? ""
        let recipient = phoneID.isEmpty ? userID : phoneID
        let customer = contacts.customer(userID: userID, phoneID: phoneID, isOnlyItem: false)
        let ourID = item["biz_opaque_callback_data"]?.text ?? ""
        let status = WhatsAppValue.messageStatus(named: name)
        var report = ChannelEvent.Report(.message(providerID: id, ourID: ourID), status)
        report.code = item["errors"]?.elements.first?["code"]?.text ?? ""
        let key = "status/\(id)/\(name)" + (recipient.isEmpty ? "" : "/\(recipient)")
        return event(key, customer, .report(report), item)
    }

    private static func messageStatus(named name: String) -> MessageStatus? {
        switch name {
        case "sent": .sent
        case "delivered": .delivered
        case "read", "played": .read
        case "failed": .failed
        default: nil
        }
    }

    // MARK: Echoes

    /// What the business did in its own app. Nothing in a group is kept with somebody: `to` is the group then.
    private func echo(_ item: ProviderJSON) -> ChannelEvent? {
        guard let id = item["id"]?.text, !id.isEmpty, !WhatsAppValue.isInGroup(item) else { return nil }
        let customer = contacts.customer(
            userID: item["to_user_id"]?.text ?? "",
            phoneID: item["to"]?.text ?? "",
            isOnlyItem: false
        )
        let type = item["type"]?.text ?? ""
        let action = echoAction(type, id: id, item)
        // An edit and a deletion name their message, and by that everything else.
        if customer == nil, case .echo = action { return nil }
        var event = event(WhatsAppValue.keyKind(ofType: type) + "/" + id, customer, action, item)
        event.isByBusiness = true
        return event
    }

    /// The business also edits and deletes in its app, what it sent from there and what it sent over us.
    private func echoAction(_ type: String, id: String, _ item: ProviderJSON) -> ChannelEvent.Action {
        switch type {
        case "edit": edit(item["edit"])
        case "revoke": revoke(item["revoke"])
        case "reaction", "system", "request_welcome": .unrecognized
        default: .echo(WhatsAppContent.content(item, id: id), metadata: "")
        }
    }
}
