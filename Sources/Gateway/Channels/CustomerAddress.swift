import Log
package import Projections

/// How customers are told apart on each platform.
package enum CustomerAddress {
    /// The keyed hash by which a customer is found.
    static func hash(_ platform: Platform, _ id: String, _ lookup: (LookupDomain, [UInt8]) -> LookupHash) -> LookupHash
    {
        lookup(domain(platform), [UInt8](form(platform, id).utf8))
    }

    /// The hashes by which earlier versions may have kept the customer. They are asked after the hash of today, and may stand for
    /// somebody else too.
    static func earlierHashes(
        _ platform: Platform,
        _ id: String,
        _ lookup: (LookupDomain, [UInt8]) -> LookupHash
    ) -> [LookupHash] {
        earlierForms(platform, id).map { lookup(domain(platform), [UInt8]($0.utf8)) }
    }

    private static func domain(_ platform: Platform) -> LookupDomain {
        switch platform {
        case .facebook: .facebookCustomer
        case .instagram: .instagramCustomer
        case .sms: .smsCustomer
        case .whatsapp: .whatsappCustomer
        }
    }

    /// The form under which a customer is found again.
    package static func form(_ platform: Platform, _ id: String) -> String {
        switch platform {
        case .facebook, .instagram: id
        case .sms: TwilioAddress(id).address
        case .whatsapp: digits(id).map { NumberingPlan.form($0) } ?? id
        }
    }

    /// What earlier versions made of it, where that was something else.
    package static func earlierForms(_ platform: Platform, _ id: String) -> [String] {
        let current = form(platform, id)
        switch platform {
        case .facebook, .instagram: return []
        case .sms:
            // The scheme of the channel was taken for a part of the number.
            return PhoneNumber.isE164(current) ? ["rcs:" + current, "whatsapp:" + current] : []
        case .whatsapp:
            let earlier = digits(id).map { NumberingPlan.earlierForm($0) } ?? id
            return earlier == current ? [] : [earlier]
        }
    }

    /// Whether two addresses are of one customer.
    static func isSame(_ platform: Platform, _ one: String, _ other: String) -> Bool {
        form(platform, one) == form(platform, other)
    }

    /// Nil for what is no number.
    private static func digits(_ id: String) -> String? {
        let digits = id.hasPrefix("+") ? String(id.dropFirst()) : id
        return digits.utf8.allSatisfy { (48...57).contains($0) } ? digits : nil
    }
}

extension Ledger {
    func customerHash(_ client: LogPosition, _ platform: Platform, _ id: String) throws -> LookupHash {
        CustomerAddress.hash(platform, id, try lookup(client))
    }

    func earlierCustomerHashes(_ client: LogPosition, _ platform: Platform, _ id: String) throws -> [LookupHash] {
        CustomerAddress.earlierHashes(platform, id, try lookup(client))
    }

    /// What earlier versions made of a customer's ids, and the conversation that only this finds.
    func earlier(
        _ client: LogPosition,
        _ platform: Platform,
        _ ids: [String]
    ) throws -> (addresses: [LookupHash], conversation: LogPosition?) {
        let addresses = try ids.flatMap { try earlierCustomerHashes(client, platform, $0) }
        return (addresses, try conversation(client, platform, ids, earlier: addresses))
    }

    /// Such a hash may stand for two people, so it counts only where the sealed identifiers, to which answers go, name this one.
    private func conversation(
        _ client: LogPosition,
        _ platform: Platform,
        _ ids: [String],
        earlier: [LookupHash]
    ) throws -> LogPosition? {
        if earlier.isEmpty { return nil }
        let current = try ids.map { try customerHash(client, platform, $0) }
        let candidates = plan { state -> [LogPosition] in
            let isKnown = current.contains { state.inbox.conversation(client, platform, $0) != nil }
            return isKnown ? [] : earlier.compactMap { state.inbox.conversation(client, platform, $0)?.id }
        }
        return candidates.first { candidate in
            // Who cannot be read cannot be known: that is somebody new.
            guard let found = try? identifiers(candidate) else { return false }
            return ids.contains { id in
                [found.phone, found.platformUserID].contains { CustomerAddress.isSame(platform, $0, id) }
            }
        }
    }

    /// Whether the customer has another address in place of the one that a send names, which may have waited meanwhile.
    func isReplaced(
        _ named: String,
        in conversation: LogPosition,
        _ client: LogPosition,
        _ platform: Platform
    ) throws -> Bool {
        if named.isEmpty { return false }
        let hash = try customerHash(client, platform, named)
        return plan { $0.inbox.current(conversation)?.hasReplaced(hash) ?? false }
    }

    /// The hashes under which earlier versions may have kept that the customer of a conversation opted out.
    func earlierAddresses(of conversation: LogPosition, _ client: LogPosition) throws -> [LookupHash] {
        let row = plan { $0.inbox.current(conversation) }
        guard let row, row.client == client, row.platform == .sms || row.platform == .whatsapp,
            // What is not on the disk yet is not of an earlier version.
            let identifiers = try? identifiers(conversation)
        else { return [] }
        return try [identifiers.phone, identifiers.platformUserID].filter { !$0.isEmpty }.flatMap { id in
            [try customerHash(client, row.platform, id)] + (try earlierCustomerHashes(client, row.platform, id))
        }
    }
}
