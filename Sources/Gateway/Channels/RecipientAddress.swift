package import Projections

/// To which of a customer's addresses a message goes.
package enum RecipientAddress {
    /// The address that the client named, in the provider's own form where that is known. Without one, to a phone number where
    /// it is known, because some WhatsApp templates go to numbers only, else to the platform's id of the customer.
    ///
    /// - Parameters:
    ///   - named: `to_phone` or `platform_user_id` of the request; empty where it named the conversation.
    ///   - isReplaced: whether the customer has another address in its place since, and it may be somebody else's.
    package static func of(
        _ named: String,
        _ platform: Platform,
        _ identifiers: ConversationIdentifiers,
        isReplaced: Bool = false
    ) -> String {
        let known = [identifiers.phone, identifiers.platformUserID].filter { !$0.isEmpty }
        if let first = known.first, named.isEmpty || isReplaced { return first }
        return known.first { CustomerAddress.isSame(platform, $0, named) } ?? named
    }
}
