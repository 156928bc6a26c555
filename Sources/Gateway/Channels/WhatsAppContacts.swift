/// The people that `value.contacts` names, and who of them an item is about.
struct WhatsAppContacts {
    private struct Contact {
        let userID: String
        let phoneID: String
        let name: String
    }

    /// Read once, since each of up to a thousand items looks for its contact. Of two with one id the first counts.
    private let byUserID: [String: Contact]
    private let byPhoneID: [String: Contact]
    private let only: Contact?

    init(_ value: ProviderJSON) {
        let elements = value["contacts"]?.elements ?? []
        let contacts = elements.map { contact in
            Contact(
                userID: contact["user_id"]?.text ?? "",
                phoneID: WhatsAppContacts.plain(contact["wa_id"]?.text ?? ""),
                name: contact["profile"]?["name"]?.text ?? ""
            )
        }
        byUserID = Dictionary(contacts.map { ($0.userID, $0) }) { first, _ in first }
        byPhoneID = Dictionary(contacts.map { ($0.phoneID, $0) }) { first, _ in first }
        only = contacts.count == 1 ? contacts.first : nil
    }

    /// Keyed by the business-scoped id where the item or its contact says one, else by the `wa_id`, which may be
    /// missing for people with a user name. Nil without either.
    ///
    /// - Parameter isOnlyItem: no other item could be meant by a contact that is alone, so its ids need not match.
    func customer(userID: String, phoneID: String, isOnlyItem: Bool) -> ChannelEvent.Customer? {
        let statedPhoneID = WhatsAppContacts.plain(phoneID)
        let contact = match(userID: userID, phoneID: statedPhoneID) ?? (isOnlyItem ? only : nil)
        let knownUserID = userID.isEmpty ? contact?.userID ?? "" : userID
        let knownPhoneID = statedPhoneID.isEmpty ? contact?.phoneID ?? "" : statedPhoneID
        guard !knownUserID.isEmpty || !knownPhoneID.isEmpty else { return nil }
        var customer = ChannelEvent.Customer(id: knownUserID.isEmpty ? knownPhoneID : knownUserID)
        customer.otherID = knownUserID.isEmpty ? "" : knownPhoneID
        customer.phone = WhatsAppContacts.isPhone(knownPhoneID) ? "+" + knownPhoneID : ""
        customer.name = contact?.name ?? ""
        return customer
    }

    private func match(userID: String, phoneID: String) -> Contact? {
        if !userID.isEmpty, let contact = byUserID[userID] { return contact }
        return phoneID.isEmpty ? nil : byPhoneID[phoneID]
    }

    /// An echo's `to` may be written with a plus sign, which a `wa_id` never has.
    static func plain(_ phoneID: String) -> String {
        phoneID.hasPrefix("+") ? digits(phoneID) : phoneID
    }

    static func isPhone(_ phoneID: String) -> Bool {
        (7...15).contains(phoneID.utf8.count) && phoneID.utf8.allSatisfy { byte in isDigit(byte) }
    }

    /// Only the digits of a number that may be written with spaces, dashes and brackets.
    static func digits(_ text: String) -> String {
        let bytes = text.utf8.filter { byte in isDigit(byte) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }
}
