package import Log

/// Why a command was not carried out. The code is stable; which HTTP status it becomes is decided in one place elsewhere.
package struct Refusal: Error, Sendable, Equatable {
    package enum Code: String, Sendable, CaseIterable {
        case planRequired = "plan_required"
        case channelNotConnected = "channel_not_connected"
        case smsNotEnabled = "sms_not_enabled"
        case unknownRecipient = "unknown_recipient"
        case recipientOptedOut = "recipient_opted_out"
        case conversationErased = "conversation_erased"
        case smsQuotaExceeded = "sms_quota_exceeded"
        case queueFull = "queue_full"
        case idempotencyMismatch = "idempotency_mismatch"
        case notFound = "not_found"
        case notCancelable = "not_cancelable"
        case notADeadLetter = "not_a_dead_letter"
        case endpointDisabled = "webhook_disabled"
        case bodyPurged = "body_purged"
        case purgeRequiresWebhook = "purge_requires_webhook"
        case trialUsed = "trial_used"
        case unsupportedChannel = "unsupported_channel"
        case invalidRequest = "invalid_request"
        case accountInUse = "account_in_use"
        case ambiguousRecipient = "ambiguous_recipient"
        case outsideWindow = "outside_24h_window"
    }

    package let code: Code
    /// What the caller can do about it; no personal data.
    package let detail: String
    /// The field of the request at fault, where it is one.
    package let field: String?

    package init(_ code: Code, _ detail: String, field: String? = nil) {
        self.code = code
        self.detail = detail
        self.field = field
    }

    package static func == (a: Refusal, b: Refusal) -> Bool { a.code == b.code }
}

/// The circumstances of a decision: what time it is and which position its first event will get.
package struct DecisionContext: Sendable {
    package let now: Timestamp
    package let next: LogPosition

    package init(now: Timestamp, next: LogPosition) {
        self.now = now
        self.next = next
    }
}
