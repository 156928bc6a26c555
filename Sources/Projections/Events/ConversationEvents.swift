package import Log

// What happens to a conversation with one customer.

/// Sealed identifiers: the customer's and our own address as JSON. `customer` is the keyed hash that finds it again.
package struct ConversationOpened: EventPayload {
    package var platform = Platform.sms
    package var customer = LookupHash.absent
    package var account = LookupHash.absent
    /// An `AddressKind`.
    package var kind = UInt64(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "customer", &customer)
        visitor.field(3, "account", &account)
        visitor.field(6, "kind", &kind)
    }
}

/// The customer is also known by another identifier. Sealed identifiers.
package struct ConversationIdentified: EventPayload {
    package var customer = LookupHash.absent
    /// An `AddressKind`.
    package var kind = UInt64(0)
    /// Our account that the provider said it to.
    package var account = LookupHash.absent
    /// A number that is the customer's no more.
    package var givenUp = LookupHash.absent
    /// Scoped ids known before say nothing any more about who has a number.
    package var retires = false
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "customer", &customer)
        visitor.field(6, "kind", &kind)
        visitor.field(7, "account", &account)
        visitor.field(8, "given_up", &givenUp)
        visitor.field(9, "retires", &retires)
    }
}

/// Two conversations are one from here on. conversation: the older one, which goes on.
package struct ConversationJoined: EventPayload {
    /// The younger one, which points to the older from here on.
    package var joined = LogPosition.zero
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "joined", &joined)
    }
}

/// status and ticket reference as they are now.
package struct ConversationUpdated: EventPayload {
    package var status = ConversationStatus.open
    package var ticketRef = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "status", &status)
        visitor.field(2, "ticket_ref", &ticketRef)
    }
}

/// Sealed content: the reason.
package struct ConversationEscalated: EventPayload {
    package var by = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "by", &by)
    }
}

/// An escalation ended.
package struct ConversationResolved: EventPayload {
    package var by = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "by", &by)
    }
}

/// The referral that started the conversation. Sealed content.
package struct ConversationAttributed: EventPayload {
    package var source = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "source", &source)
    }
}

/// From here on nobody reads the conversation.
package struct EraseRequested: EventPayload {
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {}
}

/// Keys of identifiers and of every message are destroyed. `customer` survives.
package struct ConversationErased: EventPayload {
    package var customer = LookupHash.absent
    package var rootGeneration = UInt64(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "customer", &customer)
        visitor.field(2, "root_generation", &rootGeneration)
    }
}

/// The customer asked for no more messages. `customer` survives an erasure. `source`: `provider` when it refused a message for
/// that; empty when the customer wrote so.
package struct CustomerOptedOut: EventPayload {
    /// The source of an opt-out that a provider's error told.
    package static let byProvider = "provider"

    package var platform = Platform.sms
    package var customer = LookupHash.absent
    package var source = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "customer", &customer)
        visitor.field(3, "source", &source)
    }
}

/// The customer asked for messages again.
package struct CustomerOptedIn: EventPayload {
    package var platform = Platform.sms
    package var customer = LookupHash.absent
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "customer", &customer)
    }
}

/// Drawn from a message. Sealed content: e-mail, phone, name.
package struct LeadCaptured: EventPayload {
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {}
}

/// The customer wrote to another number of the client's, from which answers go out now. `account`: its keyed hash. Sealed
/// identifiers.
package struct ConversationReaddressed: EventPayload {
    package var account = LookupHash.absent
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "account", &account)
    }
}
