import Log
import Projections

extension KnownCustomer {
    /// What the conversation knows of a customer of whom WhatsApp said an id only, as it does of people with a user name. Nil where
    /// it knows nothing, or nobody can read it: a message must not fail for that.
    static func find(for names: EventNames, _ ledger: Ledger) async throws -> KnownCustomer? {
        guard names.event.platform == .whatsapp, names.event.customer?.phone.isEmpty == true,
            let customer = names.customer
        else { return nil }
        let place = ledger.plan { state in
            state.inbox.conversation(names.client, .whatsapp, customer).map { ($0.id, $0.identifiersAt) }
        }
        guard let (conversation, record) = place else { return nil }
        // It is read from the log.
        try await ledger.log.waitUntilDurable(record)
        guard let phone = try? ledger.identifiers(conversation).phone, !phone.isEmpty else { return nil }
        return KnownCustomer(conversation: conversation, phone: phone)
    }
}
