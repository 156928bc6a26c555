package import Log

/// The JSON that client backends receive, rendered once and then stored: every attempt and every pull gives these bytes.
package struct WebhookBody: Sendable {
    package static let apiVersion = "2026-11-01"

    /// The parts that every event has.
    package struct Head: Sendable {
        package let event: LogPosition
        package let type: String
        package let time: Timestamp
        package let sequence: UInt64
        package let previousSequence: UInt64
        package let client: LogPosition

        package init(
            event: LogPosition,
            type: String,
            time: Timestamp,
            sequence: UInt64,
            previousSequence: UInt64,
            client: LogPosition
        ) {
            self.event = event
            self.type = type
            self.time = time
            self.sequence = sequence
            self.previousSequence = previousSequence
            self.client = client
        }
    }

    package let ids: OpaqueID

    package init(ids: OpaqueID) { self.ids = ids }

    /// The whole body, with `data` filled by the caller after `client_id`.
    package func render(_ head: Head, data: (inout JSONWriter) -> Void) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", ids.encode(.event, head.event))
            json.string("type", head.type)
            json.time("timestamp", head.time)
            json.string("api_version", WebhookBody.apiVersion)
            json.number("sequence", head.sequence)
            json.number("previous_sequence", head.previousSequence == 0 ? nil : head.previousSequence)
            json.object("data") { json in
                json.string("client_id", ids.encode(.client, head.client))
                data(&json)
            }
        }
    }

    package func conversation(
        _ json: inout JSONWriter,
        id: LogPosition,
        status: ConversationStatus,
        ticketRef: String,
        windowExpiresAt: Timestamp?,
        repliesExternally: Bool
    ) {
        json.object("conversation") { json in
            json.string("id", ids.encode(.conversation, id))
            json.string("status", status.name)
            json.string("ticket_ref", ticketRef.isEmpty ? nil : ticketRef)
            if let windowExpiresAt { json.time("window_expires_at", windowExpiresAt) }
            json.bool("external_reply_mode", repliesExternally)
        }
    }

    /// Members of `message`: when the provider says that it was sent, and whether another app held the conversation.
    func said(_ json: inout JSONWriter, at time: Timestamp, isStandby: Bool) {
        if time.nanoseconds > 0 { json.time("sent_at", time) }
        if isStandby { json.bool("standby", true) }
    }

    package func account(_ json: inout JSONWriter, _ identifiers: ConversationIdentifiers) {
        json.object("account") { json in
            if !identifiers.accountID.isEmpty { json.string("id", identifiers.accountID) }
            if !identifiers.accountPhone.isEmpty { json.string("phone", identifiers.accountPhone) }
        }
    }

    package func customer(_ json: inout JSONWriter, _ identifiers: ConversationIdentifiers) {
        json.object("customer") { json in
            if !identifiers.platformUserID.isEmpty { json.string("platform_user_id", identifiers.platformUserID) }
            if !identifiers.phone.isEmpty { json.string("phone", identifiers.phone) }
            if !identifiers.name.isEmpty { json.string("name", identifiers.name) }
        }
    }
}

/// Who a conversation is with, and which account of ours it runs over. Stored sealed under the conversation's key.
package struct ConversationIdentifiers: Sendable, Equatable {
    package var phone = ""
    package var platformUserID = ""
    package var name = ""
    package var accountID = ""
    package var accountPhone = ""

    package init() {}

    /// With what was known before where nothing new is said.
    package mutating func complete(from known: ConversationIdentifiers) {
        if phone.isEmpty { phone = known.phone }
        if platformUserID.isEmpty { platformUserID = known.platformUserID }
        if name.isEmpty { name = known.name }
    }

    package var json: [UInt8] {
        JSONWriter.object { json in
            json.string("phone", phone)
            json.string("platform_user_id", platformUserID)
            json.string("name", name)
            json.string("account_id", accountID)
            json.string("account_phone", accountPhone)
        }
    }
}
