package import Log

/// What is known against reaching a customer: what the provider said when it could not, until the customer writes or something
/// is delivered.
package struct Reachability: Sendable, Equatable {
    /// The provider's code.
    package let code: String
    /// When the provider said so first.
    package let since: Timestamp
    /// The last message that it said so about.
    package let message: LogPosition

    package init(code: String, since: Timestamp, message: LogPosition) {
        self.code = code
        self.since = since
        self.message = message
    }

    enum News {
        case reached
        case refused(code: String)
    }

    /// What an event says about its customer; nil when nothing.
    static func news(_ event: Event) -> News? {
        switch event {
        case .messageReceived: return .reached
        case .messageStatusChanged(let event): return news(event.status, event.code)
        case .sendReconciled(let event): return news(event.status, "")
        case .sendFinished(let event): return event.outcome == .rejected ? .refused(code: event.code) : nil
        default: return nil
        }
    }

    private static func news(_ status: MessageStatus, _ code: String) -> News? {
        if status >= .delivered { return .reached }
        return status == .failed ? .refused(code: code) : nil
    }
}

/// What providers' error codes say about the customer, apart from the message.
package enum RecipientCode {
    /// Why the customer cannot be reached, as the API names it; nil for a code that says no such thing.
    package static func reason(_ platform: Platform, _ code: String) -> String? {
        switch (platform, code.prefix { $0 != "/" }) {
        case (.sms, "21211"): "invalid_number"
        case (.sms, "21614"): "not_a_mobile_number"
        case (.sms, "30003"): "unreachable"
        case (.sms, "30004"): "blocked"
        case (.sms, "30005"): "unknown_number"
        case (.sms, "30006"): "landline"
        case (.whatsapp, "131026"): "undeliverable"
        case (.whatsapp, "131030"): "not_allowed"
        case (.facebook, "551"), (.instagram, "551"): "unavailable"
        default: nil
        }
    }

    /// Whether the provider refuses because the customer asked for no more messages. Who wants no more marketing over WhatsApp
    /// (131050) may still be written to.
    static func isOptOut(_ platform: Platform, _ code: String) -> Bool {
        platform == .sms && code == "21610"
    }
}
