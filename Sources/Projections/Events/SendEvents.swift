package import Log

// What goes out to customers.

/// Its position is the message. Sealed content: the request. `key`: keyed hash of the idempotency key; `fingerprint`: of the request.
/// `purges`: the body is purged once its outcome is settled. `window_until`: it must go out by then, unless the customer writes
/// again; 0 for ever.
package struct SendAccepted: EventPayload {
    package var platform = Platform.sms
    package var kind = ""
    package var key = LookupHash.absent
    package var fingerprint = LookupHash.absent
    package var keyExpiresAt = Timestamp(0)
    package var expiresAt = Timestamp(0)
    package var segments = UInt64(0)
    package var usageMonth = UInt64(0)
    package var opens = false
    package var purges = false
    package var windowUntil = Timestamp(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "kind", &kind)
        visitor.field(3, "key", &key)
        visitor.field(4, "fingerprint", &fingerprint)
        visitor.field(5, "key_expires_at", &keyExpiresAt)
        visitor.field(6, "expires_at", &expiresAt)
        visitor.field(7, "segments", &segments)
        visitor.field(8, "usage_month", &usageMonth)
        visitor.field(9, "opens", &opens)
        visitor.field(10, "purges", &purges)
        visitor.field(11, "window_until", &windowUntil)
    }
}

/// Refused on policy. No body is kept.
package struct SendRefused: EventPayload {
    package var platform = Platform.sms
    package var code = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "code", &code)
    }
}

/// Canceled while queued. message: the canceled one.
package struct SendCanceled: EventPayload {
    package var by = ""
    package var previous = LogPosition.zero
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "by", &by)
        visitor.field(2, "previous", &previous)
    }
}

/// `expires_at` passed before the provider was called.
package struct SendExpired: EventPayload {
    package var previous = LogPosition.zero
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "previous", &previous)
    }
}

/// Durable before the first byte goes to the provider. One record for several messages.
package struct SendStarted: EventPayload {
    package var messages = ListField<LogPosition>()
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "messages", &messages)
    }
}

/// What became of a call. Sealed content: the provider's message id; sealed response excerpt. `provider_key`: keyed hash of that id.
package struct SendFinished: EventPayload {
    package var outcome = SendOutcome.unknown
    package var attempt = UInt64(0)
    package var startedAt = Timestamp(0)
    package var durationMilliseconds = UInt64(0)
    package var httpStatus = UInt64(0)
    package var code = ""
    package var retryAt = Timestamp(0)
    package var providerKey = LookupHash.absent
    package var previous = LogPosition.zero
    /// Whether nothing left this host for a lack on this host (descriptors, memory, ports): it does not count as an attempt.
    package var noAttempt = false
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "outcome", &outcome)
        visitor.field(2, "attempt", &attempt)
        visitor.field(3, "started_at", &startedAt)
        visitor.field(4, "duration_milliseconds", &durationMilliseconds)
        visitor.field(5, "http_status", &httpStatus)
        visitor.field(6, "code", &code)
        visitor.field(7, "retry_at", &retryAt)
        visitor.field(8, "provider_key", &providerKey)
        visitor.field(9, "previous", &previous)
        visitor.field(10, "no_attempt", &noAttempt)
    }
}

/// An unknown outcome was settled by asking the provider.
package struct SendReconciled: EventPayload {
    package var status = MessageStatus.queued
    package var providerKey = LookupHash.absent
    package var previous = LogPosition.zero
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "status", &status)
        visitor.field(2, "provider_key", &providerKey)
        visitor.field(3, "previous", &previous)
    }
}
