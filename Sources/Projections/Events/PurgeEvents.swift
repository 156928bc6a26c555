package import Log

// Destroying keys.

/// From here on nobody reads the body. message: the purged one.
package struct PurgeRequested: EventPayload {
    package var reason = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "reason", &reason)
    }
}

/// The keys are destroyed. One record for several messages.
package struct PurgeCompleted: EventPayload {
    package var messages = ListField<LogPosition>()
    package var rootGenerationBefore = UInt64(0)
    package var rootGenerationAfter = UInt64(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "messages", &messages)
        visitor.field(2, "root_generation_before", &rootGenerationBefore)
        visitor.field(3, "root_generation_after", &rootGenerationAfter)
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
