package import Log

/// What a conversation says of its customer beyond what a provider said this time, looked up before anything is decided. By then
/// the conversation may be erased and the customer somebody new, so it counts for that conversation only.
package struct KnownCustomer: Sendable, Equatable {
    package let conversation: LogPosition
    /// E.164.
    package let phone: String

    package init(conversation: LogPosition, phone: String) {
        self.conversation = conversation
        self.phone = phone
    }
}

extension ConversationIdentifiers {
    /// With what is known and was not said, unless the number became somebody else's meanwhile.
    func completed(by known: KnownCustomer?, in row: Inbox.ConversationRow?) -> ConversationIdentifiers {
        guard let known, let row, known.conversation == row.id, !row.hasLostNumber, phone.isEmpty else { return self }
        var completed = self
        completed.phone = known.phone
        return completed
    }
}
