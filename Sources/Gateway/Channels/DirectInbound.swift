package import Projections

/// One item of Messenger or Instagram: wire to domain, without sockets. Facts: `reference/channels.md`, C and D.
package enum DirectInbound {
    /// What one element of `messaging` or `standby` says; at least one event, whatever it is.
    ///
    /// - Parameters:
    ///   - account: `entry.id`. The sender and recipient of an item swap for echoes, this does not.
    ///   - isStandby: whether it stands in `standby`.
    package static func events(
        _ platform: Platform,
        account: String,
        _ item: ProviderJSON,
        isStandby: Bool = false
    ) -> [ChannelEvent] {
        DirectItem(platform, account: account, item).events.map { event in
            var event = event
            event.isStandby = isStandby
            return event
        }
    }
}

private struct DirectItem {
    private let platform: Platform
    private let account: String
    private let json: ProviderJSON
    private let customer: ChannelEvent.Customer?
    private let milliseconds: UInt64

    init(_ platform: Platform, account: String, _ json: ProviderJSON) {
        let isEcho = DirectField.isTrue(json["message"]?["is_echo"])
        let person = DirectField.text(json[isEcho ? "recipient" : "sender"], "id")
        self.platform = platform
        self.account = account
        self.json = json
        customer = person.isEmpty ? nil : ChannelEvent.Customer(id: person)
        milliseconds = DirectField.milliseconds(json["timestamp"])
    }

    private static let understood = [
        "message", "message_edit", "postback", "referral", "reaction", "read", "delivery",
    ]
    /// Known, but nothing that Waybill acts on. Named here so that one beside an understood key is kept as well.
    private static let kept = [
        "optin", "account_linking", "pass_thread_control", "take_thread_control", "request_thread_control", "app_roles",
        "policy_enforcement", "policy-enforcement", "response_feedback",
    ]

    /// One event for each key. Whatever is not understood adds one that keeps the item, since the bytes have it all.
    var events: [ChannelEvent] {
        var found: [ChannelEvent] = []
        var isComplete = true
        for key in DirectItem.understood {
            guard let value = json[key] else { continue }
            if let understood = event(key, value) { found.append(understood) } else { isComplete = false }
        }
        if DirectItem.kept.contains(where: { key in json[key] != nil }) { isComplete = false }
        if found.isEmpty || !isComplete {
            found.append(ChannelEvent.unrecognized(platform, account: account, customer: customer, json))
        }
        return found
    }

    private func event(_ key: String, _ value: ProviderJSON) -> ChannelEvent? {
        switch key {
        case "message": return message(value)
        case "message_edit": return edit(value)
        case "postback": return postback(value)
        case "referral": return referral(value)
        case "reaction": return reaction(value)
        case "read": return read(value)
        case "delivery": return delivery(value)
        default: return nil
        }
    }

    private func event(duplicateKey: String, _ action: ChannelEvent.Action) -> ChannelEvent {
        ChannelEvent(
            platform: platform,
            account: ChannelEvent.Account(id: account),
            customer: customer,
            duplicateKey: duplicateKey,
            milliseconds: milliseconds,
            action: action,
            bytes: json.raw
        )
    }

    private var customerID: String { customer?.id ?? "" }

    /// What the business does in its own app is nothing that the customer did.
    private var isByBusiness: Bool { customer?.id == account }

    // MARK: Messages

    private func message(_ message: ProviderJSON) -> ChannelEvent? {
        let mid = DirectField.text(message, "mid")
        guard !mid.isEmpty else { return nil }
        // Of an echo too: what the business took back must not come back as an empty message.
        if DirectField.isTrue(message["is_deleted"]) {
            return event(duplicateKey: "unsend/\(mid)", .unsend(of: mid))
        }
        guard customer != nil else { return nil }
        let content = DirectContent.message(message, mid: mid)
        guard DirectField.isTrue(message["is_echo"]) else {
            return event(duplicateKey: "message/\(mid)", .message(content))
        }
        let metadata = message["metadata"]?.text ?? ""
        return event(duplicateKey: "message/\(mid)", .echo(content, metadata: metadata))
    }

    /// Instagram announces ordinary new messages as edits with number 0, even without a sender.
    private func edit(_ edit: ProviderJSON) -> ChannelEvent? {
        let mid = DirectField.text(edit, "mid")
        var number: Int64 = 1
        let isCounted = edit["num_edit"] != nil
        if let counted = edit["num_edit"] {
            guard let read = DirectField.wholeNumber(counted) else { return nil }
            number = read
        }
        guard !mid.isEmpty else { return nil }
        guard number >= 1 else { return event(duplicateKey: "edit/\(mid)/\(number)", .announcement(of: mid)) }
        guard !isByBusiness else { return nil }
        let content = DirectContent.edit(edit, mid: mid)
        if !isCounted {
            return event(duplicateKey: "edit/\(mid)/at/\(milliseconds)", .edit(of: mid, number: 0, content))
        }
        return event(duplicateKey: "edit/\(mid)/\(number)", .edit(of: mid, number: UInt64(number), content))
    }

    private func postback(_ postback: ProviderJSON) -> ChannelEvent? {
        guard postback.isObject, customer != nil else { return nil }
        let content = DirectContent.postback(postback)
        let mid = content.platformMessageID
        let payload = content.interactive?.id ?? ""
        let key = mid.isEmpty ? "\(customerID)/\(milliseconds)/\(payload)" : mid
        return event(duplicateKey: "postback/\(key)", .message(content))
    }

    private func referral(_ referral: ProviderJSON) -> ChannelEvent? {
        guard customer != nil, let content = DirectContent.opening(referral) else { return nil }
        let ref = content.referral?.ref ?? ""
        return event(duplicateKey: "referral/\(customerID)/\(milliseconds)/\(ref)", .message(content))
    }

    // MARK: About messages

    private func reaction(_ reaction: ProviderJSON) -> ChannelEvent? {
        let mid = DirectField.text(reaction, "mid")
        let action = DirectField.text(reaction, "action")
        guard !mid.isEmpty, action == "react" || action == "unreact", !isByBusiness else { return nil }
        let isRemoved = action == "unreact"
        let emoji = isRemoved ? "" : DirectField.text(reaction, "emoji", "reaction")
        return event(
            duplicateKey: "reaction/\(mid)/\(customerID)/\(action)/\(milliseconds)",
            .reaction(to: mid, emoji: emoji, removed: isRemoved)
        )
    }

    /// Messenger says until when, Instagram which one.
    private func read(_ read: ProviderJSON) -> ChannelEvent? {
        let watermark = DirectField.milliseconds(read["watermark"])
        let mid = DirectField.text(read, "mid")
        if watermark > 0 {
            let subject = ChannelEvent.Report.Subject.watermark(milliseconds: watermark, providerIDs: [])
            let report = ChannelEvent.Report(subject, .read)
            return event(duplicateKey: "read/\(customerID)/\(watermark)", .report(report))
        }
        guard !mid.isEmpty else { return nil }
        let report = ChannelEvent.Report(.through(providerID: mid), .read)
        return event(duplicateKey: "read/\(customerID)/\(mid)", .report(report))
    }

    private func delivery(_ delivery: ProviderJSON) -> ChannelEvent? {
        let watermark = DirectField.milliseconds(delivery["watermark"])
        let elements = delivery["mids"]?.elements ?? []
        let mids = elements.compactMap { element in element.text }.filter { mid in !mid.isEmpty }
        guard watermark > 0 || !mids.isEmpty else { return nil }
        let moment = watermark > 0 ? String(watermark) : mids.joined(separator: ",")
        let subject = ChannelEvent.Report.Subject.watermark(milliseconds: watermark, providerIDs: mids)
        let report = ChannelEvent.Report(subject, .delivered)
        return event(duplicateKey: "delivered/\(customerID)/\(moment)", .report(report))
    }
}
