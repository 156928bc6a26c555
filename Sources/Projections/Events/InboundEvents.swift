package import Log

// What comes in from providers.

/// Sealed content: text and structure; sealed provider bytes. `duplicate_key` is the keyed hash of the provider's id.
/// `purge_by`: the body is purged after its one delivery, at the latest then. `files`: how many are to be fetched. `provider_time`: what
/// the provider said. `standby`: it came while another app held the conversation.
package struct MessageReceived: EventPayload {
    package var platform = Platform.sms
    package var kind = ""
    package var duplicateKey = LookupHash.absent
    package var providerTime = Timestamp(0)
    package var encoding = ""
    package var segments = UInt64(0)
    package var purgeBy = Timestamp(0)
    package var files = UInt64(0)
    package var standby = false
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "kind", &kind)
        visitor.field(3, "duplicate_key", &duplicateKey)
        visitor.field(4, "provider_time", &providerTime)
        visitor.field(5, "encoding", &encoding)
        visitor.field(6, "segments", &segments)
        visitor.field(7, "purge_by", &purgeBy)
        visitor.field(8, "files", &files)
        visitor.field(10, "standby", &standby)
    }
}

/// message: the edited one. Sealed content: the message as it is now. subject: where the edit was parked, if it was.
package struct MessageEdited: EventPayload {
    package var duplicateKey = LookupHash.absent
    package var number = UInt64(0)
    package var providerTime = Timestamp(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "duplicate_key", &duplicateKey)
        visitor.field(2, "number", &number)
        visitor.field(3, "provider_time", &providerTime)
    }
}

/// Whoever wrote it withdrew it; it is purged. message: the withdrawn one. subject: where this was parked, if it was.
package struct MessageUnsent: EventPayload {
    package var duplicateKey = LookupHash.absent
    package var providerTime = Timestamp(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "duplicate_key", &duplicateKey)
        visitor.field(2, "provider_time", &providerTime)
    }
}

/// message: the one reacted to. Sealed content: the emoji. subject: where the reaction was parked, if it was.
package struct MessageReacted: EventPayload {
    package var duplicateKey = LookupHash.absent
    package var removed = false
    package var providerTime = Timestamp(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "duplicate_key", &duplicateKey)
        visitor.field(2, "removed", &removed)
        visitor.field(3, "provider_time", &providerTime)
    }
}

/// Sent by the business outside Waybill. Sealed content.
package struct MessageEchoed: EventPayload {
    package var platform = Platform.sms
    package var kind = ""
    package var duplicateKey = LookupHash.absent
    package var providerTime = Timestamp(0)
    package var standby = false
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "kind", &kind)
        visitor.field(3, "duplicate_key", &duplicateKey)
        visitor.field(4, "provider_time", &providerTime)
        visitor.field(5, "standby", &standby)
    }
}

/// Verified but of a kind Waybill does not know, or of no effect. Sealed provider bytes. `customer`: keyed hash of the customer's
/// address. subject: where it was parked, if it was.
package struct ProviderEventUnrecognized: EventPayload {
    package var platform = Platform.sms
    package var duplicateKey = LookupHash.absent
    package var customer = LookupHash.absent
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "duplicate_key", &duplicateKey)
        visitor.field(3, "customer", &customer)
    }
}

/// Refers to a message that has not come yet. Sealed content: the provider's item in a request of its own. `target`: keyed hash of that
/// message's id; `customer`: of the customer's address.
package struct ProviderEventParked: EventPayload {
    package var platform = Platform.sms
    package var duplicateKey = LookupHash.absent
    package var target = LookupHash.absent
    package var customer = LookupHash.absent
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "duplicate_key", &duplicateKey)
        visitor.field(3, "target", &target)
        visitor.field(4, "customer", &customer)
    }
}

/// message: the one it belongs to, under whose key the file is sealed. Sealed content: its media type. `digest`: SHA-256 of the sealed file.
package struct MediaFetched: EventPayload {
    package var index = UInt64(0)
    package var bytes = UInt64(0)
    package var file = ""
    package var digest = RawBytes()
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "index", &index)
        visitor.field(2, "bytes", &bytes)
        visitor.field(3, "file", &file)
        visitor.field(4, "digest", &digest)
    }
}

/// message: the one it belongs to. `next_attempt_at`: when it is tried again; 0 when it is given up.
package struct MediaFailed: EventPayload {
    package var index = UInt64(0)
    package var code = ""
    package var nextAttemptAt = Timestamp(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "index", &index)
        visitor.field(2, "code", &code)
        visitor.field(3, "next_attempt_at", &nextAttemptAt)
    }
}

/// The provider reported a status. message: the one sent. `previous`: the message's status record before this. subject: where
/// the report was parked, if it was. `provider_key`: keyed hash of the provider's id, where that was
/// not known; sealed content: the id.
package struct MessageStatusChanged: EventPayload {
    package var status = MessageStatus.queued
    package var code = ""
    package var at = Timestamp(0)
    package var previous = LogPosition.zero
    package var providerKey = LookupHash.absent
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "status", &status)
        visitor.field(2, "code", &code)
        visitor.field(3, "at", &at)
        visitor.field(4, "previous", &previous)
        visitor.field(5, "provider_key", &providerKey)
    }
}
