import Projections

/// What WhatsApp's ids of a person look like.
enum WhatsAppAddress {
    /// `US.13491208655302741918`: a country, a dot, and an id that only this business knows the person by. A `wa_id` is a number.
    static func isScopedID(_ id: String) -> Bool {
        let bytes = Array(id.utf8.prefix(4))
        guard bytes.count == 4, bytes[2] == UInt8(ascii: ".") else { return false }
        return bytes[..<2].allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
    }

    static func kind(_ id: String) -> AddressKind {
        if isScopedID(id) { return .scopedID }
        return !id.isEmpty && id.utf8.allSatisfy { (48...57).contains($0) } ? .number : .unknown
    }
}

/// What a `system` message says: that a customer has another number, or another business-scoped id.
struct WhatsAppSystem {
    private let item: ProviderJSON
    private let system: ProviderJSON

    /// Nil for any other message, and for one that says no new address.
    init?(_ item: ProviderJSON) {
        guard item["type"]?.text == "system", let system = item["system"], system.isObject else { return nil }
        self.item = item
        self.system = system
        if move == nil { return nil }
    }

    /// The addresses from here on.
    var move: ChannelEvent.Move? {
        let phoneID = WhatsAppContacts.plain(text("wa_id") ?? text("new_wa_id") ?? "")
        let userID = text("user_id") ?? ""
        switch type {
        case "user_changed_number", "customer_changed_number":
            return phoneID.isEmpty ? nil : ChannelEvent.Move(phoneID: phoneID, userID: userID)
        case "user_changed_user_id":
            return userID.isEmpty ? nil : ChannelEvent.Move(phoneID: phoneID, userID: userID)
        default: return nil
        }
    }

    /// The business-scoped id until now; empty where nobody says it.
    var formerUserID: String {
        item["from_user_id"]?.text ?? text("previous_user_id") ?? formerInBody ?? ""
    }

    /// The number until now. One that says only its new id may say the number that stays.
    var formerPhoneID: String {
        let from = item["from"]?.text ?? ""
        return from.isEmpty && type == "user_changed_user_id" ? text("wa_id") ?? "" : from
    }

    private var type: String { system["type"]?.text ?? "" }

    private func text(_ name: String) -> String? {
        system[name]?.text.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// `User NAME changed from OLD to NEW`. The name is whatever its bearer likes, so only the end counts, and only ids do, for
    /// numbers can be guessed.
    private var formerInBody: String? {
        let words = (text("body") ?? "").split(separator: " ").suffix(5).map { String($0) }
        guard words.count == 5, words[0] == "changed", words[1] == "from", words[3] == "to",
            words[4] == text("user_id"), WhatsAppAddress.isScopedID(words[2])
        else { return nil }
        return words[2]
    }
}
