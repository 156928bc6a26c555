import Gateway
import Projections
import Testing

/// Requests as Meta sends them for WhatsApp, put together from the parts that a test is about.
enum WhatsAppWire {
    static let numberID = "106540352242922"
    static let metadata = #"{"display_phone_number":"15550783881","phone_number_id":"106540352242922"}"#
    static let ana = #"{"profile":{"name":"Ana"},"wa_id":"16505551234"}"#

    static func request(_ changes: String...) -> String {
        let changes = changes.joined(separator: ",")
        return #"{"object":"whatsapp_business_account","entry":[{"id":"2002","changes":[\#(changes)]}]}"#
    }

    /// - Parameter members: of `value`, beside its metadata.
    static func change(
        _ members: String,
        field: String = "messages",
        metadata: String = WhatsAppWire.metadata
    ) -> String {
        let value = #"{"messaging_product":"whatsapp","metadata":\#(metadata),\#(members)}"#
        return #"{"field":"\#(field)","value":\#(value)}"#
    }

    static func change(messages: String..., contacts: String = WhatsAppWire.ana) -> String {
        let messages = messages.joined(separator: ",")
        return change(#""contacts":[\#(contacts)],"messages":[\#(messages)]"#)
    }

    /// A message of Ana's.
    static func message(_ members: String, id: String = "wamid.A=") -> String {
        #"{"from":"16505551234","id":"\#(id)","timestamp":"1790000000",\#(members)}"#
    }

    static func text(_ body: String, id: String = "wamid.A=") -> String {
        message(#""type":"text","text":{"body":"\#(body)"}"#, id: id)
    }

    static func events(_ json: String) throws -> [ChannelEvent] {
        let body = try #require(ProviderJSON([UInt8](json.utf8)))
        return MetaWebhook.events(body)
    }

    /// What comes of the only item of a request.
    static func onlyEvent(_ json: String) throws -> ChannelEvent {
        let events = try WhatsAppWire.events(json)
        try #require(events.count == 1)
        return try #require(events.first)
    }

    /// What becomes of Ana's message with these members.
    static func event(_ members: String) throws -> ChannelEvent {
        try onlyEvent(request(change(messages: message(members))))
    }

    static func customer(
        _ id: String,
        other: String = "",
        phone: String = "",
        name: String = ""
    ) -> ChannelEvent.Customer {
        var customer = ChannelEvent.Customer(id: id)
        customer.otherID = other
        customer.phone = phone
        customer.name = name
        return customer
    }

    static func content(_ members: String) throws -> MessageContent {
        let event = try WhatsAppWire.event(members)
        return try #require(content(of: event.action))
    }

    static func content(of action: ChannelEvent.Action) -> MessageContent? {
        switch action {
        case .message(let content): content
        default: nil
        }
    }

    static func isUnrecognized(_ event: ChannelEvent) -> Bool {
        event.action == .unrecognized && event.duplicateKey.hasPrefix("unrecognized/")
    }
}
