package import Log

// What happens to a client: account, keys, secrets, channels, endpoint, settings. `actor` says who made a change.

/// A new client. Sealed content: name and look-up key.
package struct ClientCreated: EventPayload {
    package var plan = Plan.creator
    package var addon = AddonStatus.none
    package var trialEndsAt = Timestamp(0)
    package var smsMonthlyQuota = UInt64(0)
    package var timeZone = ""
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "plan", &plan)
        visitor.field(2, "addon", &addon)
        visitor.field(3, "trial_ends_at", &trialEndsAt)
        visitor.field(4, "sms_monthly_quota", &smsMonthlyQuota)
        visitor.field(5, "time_zone", &timeZone)
        visitor.field(6, "actor", &actor)
    }
}

/// The whole account as it is now. Sealed content, when present: the new name.
package struct ClientUpdated: EventPayload {
    package var plan = Plan.creator
    package var addon = AddonStatus.none
    package var trialEndsAt = Timestamp(0)
    package var smsMonthlyQuota = UInt64(0)
    package var timeZone = ""
    package var trialUsed = false
    package var renamed = false
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "plan", &plan)
        visitor.field(2, "addon", &addon)
        visitor.field(3, "trial_ends_at", &trialEndsAt)
        visitor.field(4, "sms_monthly_quota", &smsMonthlyQuota)
        visitor.field(5, "time_zone", &timeZone)
        visitor.field(6, "trial_used", &trialUsed)
        visitor.field(7, "renamed", &renamed)
        visitor.field(8, "actor", &actor)
    }
}

/// The client is gone: its keys end and nothing of it can be asked for any more.
package struct ClientDeleted: EventPayload {
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "actor", &actor)
    }
}

/// `hash` is SHA-256 of the key.
package struct APIKeyCreated: EventPayload {
    package var hash = Digest.zero
    package var sandbox = false
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "hash", &hash)
        visitor.field(2, "sandbox", &sandbox)
        visitor.field(3, "actor", &actor)
    }
}

/// An older key ends at this time. subject: the record that created the key.
package struct APIKeyExpires: EventPayload {
    package var at = Timestamp(0)
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "at", &at)
        visitor.field(2, "actor", &actor)
    }
}

/// Sealed content: the 32 bytes of the secret.
package struct WebhookSecretCreated: EventPayload {
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "actor", &actor)
    }
}

/// An older secret ends at this time. subject: the record that created it.
package struct WebhookSecretExpires: EventPayload {
    package var at = Timestamp(0)
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "at", &at)
        visitor.field(2, "actor", &actor)
    }
}

/// The client's settings as they are now. Sealed content: AI prompt and escalation phrases.
package struct SettingsChanged: EventPayload {
    package var replyGlobal = false
    package var replyPlatforms = ListField<UInt64>()
    package var purgePlatforms = ListField<UInt64>()
    package var timeZone = ""
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "reply_global", &replyGlobal)
        visitor.field(2, "reply_platforms", &replyPlatforms)
        visitor.field(3, "purge_platforms", &purgePlatforms)
        visitor.field(4, "time_zone", &timeZone)
        visitor.field(5, "actor", &actor)
    }
}

/// Sealed content: account ids, numbers and credentials as JSON. `account` is the client's keyed hash of the account; `route` the
/// log's, by which inbound traffic of Meta's finds the client.
package struct ChannelConnected: EventPayload {
    package var platform = Platform.sms
    package var account = LookupHash.absent
    package var segmentsPerSecond = UInt64(0)
    package var route = LookupHash.absent
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "account", &account)
        visitor.field(3, "segments_per_second", &segmentsPerSecond)
        visitor.field(4, "route", &route)
        visitor.field(5, "actor", &actor)
    }
}

/// The channel is gone; its credential is not used any more.
package struct ChannelDisconnected: EventPayload {
    package var platform = Platform.sms
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "actor", &actor)
    }
}

/// The provider refused the credential; sends wait until it changes.
package struct ChannelPaused: EventPayload {
    package var platform = Platform.sms
    package var providerCode = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
        visitor.field(2, "provider_code", &providerCode)
    }
}

/// Sends go on.
package struct ChannelResumed: EventPayload {
    package var platform = Platform.sms
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "platform", &platform)
    }
}

/// The whole webhook endpoint as it is now. Sealed content: URL and headers as JSON.
package struct EndpointConfigured: EventPayload {
    package var enabled = false
    package var events = ListField<String>()
    package var channels = ListField<UInt64>()
    package var retrySchedule = ListField<UInt64>()
    package var maxInFlight = UInt64(0)
    package var strictOrdering = false
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "enabled", &enabled)
        visitor.field(2, "events", &events)
        visitor.field(3, "channels", &channels)
        visitor.field(4, "retry_schedule", &retrySchedule)
        visitor.field(5, "max_in_flight", &maxInFlight)
        visitor.field(6, "strict_ordering", &strictOrdering)
        visitor.field(7, "actor", &actor)
    }
}

/// Waybill disabled the endpoint.
package struct EndpointDisabled: EventPayload {
    package var reason = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "reason", &reason)
    }
}

/// A half-open probe of a failing endpoint.
package struct EndpointProbed: EventPayload {
    package var succeeded = false
    package var status = UInt64(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "succeeded", &succeeded)
        visitor.field(2, "status", &status)
    }
}
