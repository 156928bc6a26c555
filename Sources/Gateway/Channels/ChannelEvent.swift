package import Projections

/// One thing that a provider told us, as its channel's adapter understood it: who, which account of ours, and what.
package struct ChannelEvent: Sendable, Equatable {
    /// Who wrote, or whom it is about.
    package struct Customer: Sendable, Equatable {
        /// What the conversation is keyed by: PSID, IGSID, WhatsApp's business-scoped id or, without one, the `wa_id`.
        package var id: String
        /// Another id of the same person: the `wa_id` beside a business-scoped id. Empty without one.
        package var otherID = ""
        /// E.164, where it is known.
        package var phone = ""
        package var name = ""

        package init(id: String) { self.id = id }
    }

    /// The addresses of a customer from here on.
    package struct Move: Sendable, Equatable {
        /// The `wa_id`; empty where the number stays.
        package var phoneID = ""
        /// WhatsApp's business-scoped id; empty where nobody said it.
        package var userID = ""

        package init(phoneID: String = "", userID: String = "") {
            self.phoneID = phoneID
            self.userID = userID
        }
    }

    package struct Account: Sendable, Equatable {
        /// What the event is routed by: page id, Instagram account id, `phone_number_id`.
        package var id: String
        /// E.164; WhatsApp only.
        package var phone = ""

        package init(id: String) { self.id = id }
    }

    /// What a provider reports about messages of ours.
    package struct Report: Sendable, Equatable {
        package enum Subject: Sendable, Equatable {
            /// One message: the provider's id of it, and our own id that came back; either may be empty.
            case message(providerID: String, ourID: String)
            /// Everything sent to the customer until then, in milliseconds since 1970, and those named.
            case watermark(milliseconds: UInt64, providerIDs: [String])
            /// This one and everything sent to the customer before it.
            case through(providerID: String)
        }

        package var subject: Subject
        /// Nil for a status name that is new to us.
        package var status: MessageStatus?
        /// The provider's error code, with `failed`.
        package var code = ""

        package init(_ subject: Subject, _ status: MessageStatus?) {
            self.subject = subject
            self.status = status
        }
    }

    package enum Action: Sendable, Equatable {
        case message(MessageContent)
        /// Sent by the business: by us, when `metadata` is a message id of ours or the id is known, or outside Waybill.
        case echo(MessageContent, metadata: String)
        /// - number: 0 where the provider does not count.
        case edit(of: String, number: UInt64, MessageContent)
        /// Whoever wrote it took it back.
        case unsend(of: String)
        /// - emoji: empty when `removed`.
        case reaction(to: String, emoji: String, removed: Bool)
        case report(Report)
        /// The customer has other addresses now; `customer` is who that was until then.
        case moved(Move)
        /// Only that there is this message, which is told by itself as well: Instagram's `message_edit` with number 0.
        case announcement(of: String)
        /// Verified, but of a kind that is new to us: it is kept as it came.
        case unrecognized
    }

    package var platform: Platform
    package var account: Account
    /// Nil where the provider did not say.
    package var customer: Customer?
    /// Tells a repeat from what is new, among all events of this account: `kind/provider's id[/more]`. That of a message or an
    /// echo is `message/<provider's id>` (of a postback `postback/<provider's id>`), by which replies, reactions, edits and reports find it.
    package var duplicateKey: String
    /// The provider's time, in milliseconds since 1970; zero when it said none.
    package var milliseconds: UInt64
    package var action: Action
    /// It came while another app held the conversation; nobody here is asked to answer.
    package var isStandby = false
    /// Done by the business in the provider's own app, in the list that tells of nothing else.
    package var isByBusiness = false
    /// The provider's own bytes of this one item.
    package var bytes: [UInt8]

    package init(
        platform: Platform,
        account: Account,
        customer: Customer?,
        duplicateKey: String,
        milliseconds: UInt64,
        action: Action,
        bytes: [UInt8]
    ) {
        self.platform = platform
        self.account = account
        self.customer = customer
        self.duplicateKey = duplicateKey
        self.milliseconds = milliseconds
        self.action = action
        self.bytes = bytes
    }
}
