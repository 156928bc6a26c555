/// A messaging platform; the raw value is part of the event format, the name part of the public contract.
package enum Platform: UInt8, Sendable, CaseIterable {
    case facebook = 1
    case instagram = 2
    case sms = 3
    case whatsapp = 4

    package var name: String {
        switch self {
        case .facebook: "facebook"
        case .instagram: "instagram"
        case .sms: "sms"
        case .whatsapp: "whatsapp"
        }
    }

    package init?(name: String) {
        guard let match = Platform.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }
}

package enum Plan: UInt8, Sendable, CaseIterable {
    case creator = 1
    case professional = 2
    case business = 3

    package var name: String {
        switch self {
        case .creator: "creator"
        case .professional: "professional"
        case .business: "business"
        }
    }
}

package enum AddonStatus: UInt8, Sendable, CaseIterable {
    case none = 1
    case trial = 2
    case active = 3

    package var name: String {
        switch self {
        case .none: "none"
        case .trial: "trial"
        case .active: "active"
        }
    }
}

package enum TokenRole: UInt8, Sendable, CaseIterable {
    case `operator` = 1
    case auditor = 2

    package var name: String { self == .operator ? "operator" : "auditor" }
}

package enum Direction: UInt8, Sendable {
    case inbound = 1
    case outbound = 2

    package var name: String { self == .inbound ? "inbound" : "outbound" }
}

/// Where a message stands. Raw values rise in the order in which a status may only go up.
package enum MessageStatus: UInt8, Sendable, CaseIterable, Comparable {
    /// Inbound messages have no other status.
    case received = 1
    case queued = 2
    case canceled = 3
    case sending = 4
    case outcomeUnknown = 5
    case sent = 6
    case failed = 7
    case delivered = 8
    case read = 9

    package static func < (a: MessageStatus, b: MessageStatus) -> Bool { a.rawValue < b.rawValue }

    package var name: String {
        switch self {
        case .received: "received"
        case .queued: "queued"
        case .canceled: "canceled"
        case .sending: "sending"
        case .outcomeUnknown: "outcome_unknown"
        case .sent: "sent"
        case .failed: "failed"
        case .delivered: "delivered"
        case .read: "read"
        }
    }
}

/// What became of one call to a provider.
package enum SendOutcome: UInt8, Sendable, CaseIterable {
    /// The provider took the message.
    case accepted = 1
    /// The provider refused it for good.
    case rejected = 2
    /// The provider refused it for now, or nothing was sent: another attempt is safe.
    case retryLater = 3
    /// The credential or its set-up is at fault; the channel pauses.
    case misconfigured = 4
    /// The call may have had an effect. Never repeated blindly.
    case unknown = 5

    package var name: String {
        switch self {
        case .accepted: "accepted"
        case .rejected: "rejected"
        case .retryLater: "retry_later"
        case .misconfigured: "misconfigured"
        case .unknown: "unknown"
        }
    }
}

package enum DeliveryState: UInt8, Sendable, CaseIterable {
    case scheduled = 1
    case inFlight = 2
    case delivered = 3
    case dead = 4
    case discarded = 5
    case purged = 6

    package var name: String {
        switch self {
        case .scheduled: "scheduled"
        case .inFlight: "in_flight"
        case .delivered: "delivered"
        case .dead: "dead"
        case .discarded: "discarded"
        case .purged: "purged"
        }
    }
}

package enum ConversationStatus: UInt8, Sendable, CaseIterable {
    case open = 1
    case closed = 2
    case erased = 3

    package var name: String {
        switch self {
        case .open: "open"
        case .closed: "closed"
        case .erased: "erased"
        }
    }
}

/// A keyed hash that stands for an identifier: HMAC-SHA-256 under the client's look-up key, first 16 bytes.
package struct LookupHash: Hashable, Sendable {
    package let high: UInt64
    package let low: UInt64

    /// The first 16 bytes; nil when there are fewer.
    package init?(_ bytes: [UInt8]) {
        guard let hash = bytes.withUnsafeBytes({ LookupHash($0) }) else { return nil }
        self = hash
    }

    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= 16 else { return nil }
        high = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
        low = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    package var bytes: [UInt8] {
        withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { [UInt8]($0) }
    }
}
