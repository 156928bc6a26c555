package import Log

// What goes out to client backends.

/// An event of the client's numbered sequence. Sealed rendering: the webhook body, exact but for what is told of files. Its position is
/// the event and, when wanted, its delivery. `files`: the rendering has places for what is known of the message's files when it is delivered.
/// `held`: why its delivery may not begin yet; absent when it may.
package struct EventPublished: EventPayload {
    package var type = ""
    package var sequence = UInt64(0)
    package var previousSequence = UInt64(0)
    package var wanted = false
    package var test = false
    package var files = false
    package var held = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "type", &type)
        visitor.field(2, "sequence", &sequence)
        visitor.field(3, "previous_sequence", &previousSequence)
        visitor.field(4, "wanted", &wanted)
        visitor.field(5, "test", &test)
        visitor.field(6, "files", &files)
        visitor.field(7, "held", &held)
    }
}

/// Durable before the first byte goes out. One record for several deliveries.
package struct DeliveryStarted: EventPayload {
    package var deliveries = ListField<LogPosition>()
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "deliveries", &deliveries)
    }
}

/// Outcome and next attempt in one record. subject: the delivery. Sealed response excerpt.
package struct DeliveryFinished: EventPayload {
    package var attempt = UInt64(0)
    package var startedAt = Timestamp(0)
    package var durationMilliseconds = UInt64(0)
    package var httpStatus = UInt64(0)
    package var error = ""
    package var secret = LogPosition.zero
    package var succeeded = false
    package var nextAttemptAt = Timestamp(0)
    package var retry = UInt64(0)
    package var final = ""
    package var previous = LogPosition.zero
    /// Whether it is certain that no byte of the request left this host.
    package var nothingSent = false
    /// The same, for a lack on this host (descriptors, memory, ports): it does not count as an attempt.
    package var noAttempt = false
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "attempt", &attempt)
        visitor.field(2, "started_at", &startedAt)
        visitor.field(3, "duration_milliseconds", &durationMilliseconds)
        visitor.field(4, "http_status", &httpStatus)
        visitor.field(5, "error", &error)
        visitor.field(6, "secret", &secret)
        visitor.field(7, "succeeded", &succeeded)
        visitor.field(8, "next_attempt_at", &nextAttemptAt)
        visitor.field(9, "retry", &retry)
        visitor.field(10, "final", &final)
        visitor.field(11, "previous", &previous)
        visitor.field(12, "nothing_sent", &nothingSent)
        visitor.field(13, "no_attempt", &noAttempt)
    }
}

/// A dead letter is delivered again under a delivery id of its own, which is this position. subject: the event.
package struct DeliveryReplayed: EventPayload {
    package var replaces = LogPosition.zero
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "replaces", &replaces)
    }
}

/// Deliveries that were held may begin. One record for several of a client.
package struct DeliveryReleased: EventPayload {
    package var deliveries = ListField<LogPosition>()
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "deliveries", &deliveries)
    }
}

/// A dead letter was discarded by hand. subject: the delivery.
package struct DeliveryDiscarded: EventPayload {
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {}
}
