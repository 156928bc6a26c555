package import Log

// Destroying keys.

/// From here on nobody reads the body. message: the purged one. `cancels`: it was queued and is not sent any more.
/// `previous`: the message's status record before this. `undelivered`: why the endpoint had no attempt at what it was to be told.
package struct PurgeRequested: EventPayload {
    package var reason = ""
    package var previous = LogPosition.zero
    package var cancels = false
    package var undelivered = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "reason", &reason)
        visitor.field(2, "previous", &previous)
        visitor.field(3, "cancels", &cancels)
        visitor.field(4, "undelivered", &undelivered)
    }
}

/// The keys are destroyed. One record for several messages, conversations, clients, and records that hold a secret.
package struct PurgeCompleted: EventPayload {
    package var messages = ListField<LogPosition>()
    package var rootGenerationBefore = UInt64(0)
    package var rootGenerationAfter = UInt64(0)
    package var conversations = ListField<LogPosition>()
    package var clients = ListField<LogPosition>()
    package var secrets = ListField<LogPosition>()
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "messages", &messages)
        visitor.field(2, "root_generation_before", &rootGenerationBefore)
        visitor.field(3, "root_generation_after", &rootGenerationAfter)
        visitor.field(4, "conversations", &conversations)
        visitor.field(5, "clients", &clients)
        visitor.field(6, "secrets", &secrets)
    }
}

/// Waybill's own assistant answered. message: the reply.
package struct AIReplied: EventPayload {
    package var model = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "model", &model)
    }
}
