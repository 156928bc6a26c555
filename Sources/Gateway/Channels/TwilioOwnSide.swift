import Projections

/// The client's own side of a conversation over Twilio.
struct TwilioOwnSide: Sendable, Equatable {
    /// The messaging service that answers, where there is one.
    let id: String
    /// The number that the customer wrote to; empty where that is no number, but RCS's name of a business.
    let phone: String
    /// Whether answers go out from that number. One of WhatsApp need not be able to send an SMS.
    let isAnswering: Bool

    init(_ inbound: TwilioChannel.Inbound, _ credentials: TwilioCredentials) {
        phone = PhoneNumber.isSender(inbound.to) ? inbound.to : ""
        isAnswering = !phone.isEmpty && (inbound.via != "whatsapp" || !credentials.fromPhone.isEmpty)
        let named = inbound.messagingServiceSID
        let service = named.isEmpty ? credentials.messagingServiceSID : named
        id = isAnswering || phone.isEmpty ? service : ""
    }

    /// The number of a messaging service that a conversation is answered from; empty leaves the choice to the service. A number that
    /// the client wrote from by another connection may not be the service's.
    static func sender(_ identifiers: ConversationIdentifiers, _ credentials: TwilioCredentials) -> String {
        let isOurs = identifiers.accountID == credentials.messagingServiceSID
        return isOurs && PhoneNumber.isSender(identifiers.accountPhone) ? identifiers.accountPhone : ""
    }
}
