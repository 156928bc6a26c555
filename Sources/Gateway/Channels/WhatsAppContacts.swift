/// The people that `value.contacts` names, and who of them an item is about.
struct WhatsAppContacts {
    private struct Contact {
        let userID: String
        let phoneID: String
        let name: String
    }

    /// Read once, since each of up to a thousand items looks for its contact.
    private let contacts: [Contact]

    init(_ value: ProviderJSON) {
        let elements = value["contacts"]?.elements ?? []
        contacts = elements.map { contact in
            Contact(
                userID: contact["user_id"]?.text ?? "",
                phoneID: WhatsAppContacts.plain(contact["wa_id"]?.text ?? ""),
                name: contact["profile"]?["name"]?.text ?? ""
            )
        }
    }

    /// Keyed by the business-scoped id where the item or its contact says one, else by the `wa_id`, which may be
    /// missing for people with a user name. Nil without either.
    ///
    /// - Parameter isOnlyItem: no other item could be meant by a contact that is alone, so its ids need not match.
    func customer(userID: String, phoneID: String, isOnlyItem: Bool) -> ChannelEvent.Customer? {
        let statedPhoneID = WhatsAppContacts.plain(phoneID)
        let only = isOnlyItem && contacts.count == 1 ? contacts.first : nil
        let contact = match(userID: userID, phoneID: statedPhoneID) ?? only
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
        if !userID.isEmpty, let contact = contacts.first(where: { $0.userID == userID }) { return contact }
        return phoneID.isEmpty ? nil : contacts.first(where: { $0.phoneID == phoneID })
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
