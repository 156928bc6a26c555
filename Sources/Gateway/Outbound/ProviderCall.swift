import Log
import Projections

/// Where the providers are.
struct ProviderAddresses: Sendable {
    let twilio: String
    let graph: String
    let instagram: String

    init(_ configuration: GatewayConfiguration) {
        twilio = configuration.twilioBaseURL
        graph = configuration.graphBaseURL
        instagram = configuration.instagramBaseURL
    }
}

/// One call to a provider: the request, and what its answer means. All that it needs is read before the first byte leaves.
struct ProviderCall {
    private enum Provider {
        case twilio(TwilioCredentials)
        case meta(MetaCredentials)
    }

    /// The message that a reply or a reaction is about has no id at the provider, or it is purged.
    struct MissingReference: Error {}

    /// Nil when the platform has no such call.
    let request: OutgoingRequest?
    private let platform: Platform
    private let provider: Provider
    private let kind: SendContent.Kind
    private let lookup: @Sendable (LookupDomain, [UInt8]) -> LookupHash

    init(
        ledger: Ledger,
        addresses: ProviderAddresses,
        publicURL: String,
        message: LogPosition,
        client: LogPosition,
        conversation: LogPosition,
        platform: Platform,
        content: SendContent,
        secret: [UInt8]
    ) throws {
        self.platform = platform
        kind = content.kind
        lookup = try ledger.lookup(client)
        let identifiers = try ledger.identifiers(conversation)
        let recipient = RecipientAddress.of(
            content.recipient,
            platform,
            identifiers,
            isReplaced: try ledger.isReplaced(content.recipient, in: conversation, client, platform)
        )
        let ourID = ledger.ids.encode(.message, message)
        if platform == .sms {
            let credentials = try TwilioCredentials(secret)
            provider = .twilio(credentials)
            request = TwilioChannel.request(
                credentials,
                to: recipient,
                from: TwilioOwnSide.sender(identifiers, credentials),
                text: content.kind == .media ? content.caption : content.text,
                mediaURL: content.mediaURL,
                statusCallback:
                    "\(publicURL)/channels/twilio/\(ledger.ids.encode(.client, client))/status?message=\(ourID)",
                baseURL: addresses.twilio
            )
        } else {
            let credentials = try MetaCredentials(secret)
            provider = .meta(credentials)
            let outgoing = try OutgoingMessage(
                content,
                ledger,
                conversation,
                recipient,
                platform: platform,
                ourID: ourID
            )
            request = GraphRequest.request(
                platform,
                credentials,
                outgoing,
                baseURL: credentials.usesInstagramLogin ? addresses.instagram : addresses.graph
            )
        }
    }

    func result(
        _ answer: Result<OutgoingResponse, TransferError>,
        startedAt: Timestamp,
        finishedAt: Timestamp
    ) -> SendResult {
        var result = judged(answer, startedAt: startedAt, finishedAt: finishedAt)
        // A provider's error may repeat the token that it does not like.
        if !credential.isEmpty {
            result.excerpt = result.excerpt.replacing(credential, with: [UInt8]("[credential]".utf8))
        }
        return result
    }

    private var credential: [UInt8] {
        switch provider {
        case .twilio(let credentials): [UInt8](credentials.authToken.utf8)
        case .meta(let credentials): [UInt8](credentials.accessToken.utf8)
        }
    }

    private func judged(
        _ answer: Result<OutgoingResponse, TransferError>,
        startedAt: Timestamp,
        finishedAt: Timestamp
    ) -> SendResult {
        switch provider {
        case .twilio(let credentials):
            var result = TwilioChannel.result(answer, startedAt: startedAt, finishedAt: finishedAt)
            if result.providerMessageID.isEmpty { return result }
            let name = credentials.accountSID + "/" + result.providerMessageID
            result.providerKey = lookup(.twilioMessage, [UInt8](name.utf8))
            return result
        case .meta(let credentials):
            var result = GraphAnswer.result(platform, answer, startedAt: startedAt, finishedAt: finishedAt)
            // The answer to a reaction may name the message that it is to.
            if !kind.isMessage { result.providerMessageID = "" }
            if result.providerMessageID.isEmpty { return result }
            let key = MetaName.message(result.providerMessageID)
            let name = MetaName.event(platform, account: credentials.accountID, key)
            result.providerKey = lookup(.metaEvent, [UInt8](name.utf8))
            return result
        }
    }
}

extension OutgoingMessage {
    /// With our ids of other messages turned into the provider's.
    ///
    /// - Throws: `MissingReference`, and what reading those messages throws.
    fileprivate init(
        _ content: SendContent,
        _ ledger: Ledger,
        _ conversation: LogPosition,
        _ recipient: String,
        platform: Platform,
        ourID: String
    ) throws {
        self.init(
            recipient: recipient,
            content: try Content(content, ledger, conversation, isWhatsApp: platform == .whatsapp),
            ourID: ourID
        )
        if !content.replyTo.isEmpty { replyTo = try ledger.reference(content.replyTo) }
        isByHuman = content.isByHuman
    }
}

extension OutgoingMessage.Content {
    fileprivate init(
        _ content: SendContent,
        _ ledger: Ledger,
        _ conversation: LogPosition,
        isWhatsApp: Bool
    ) throws {
        switch content.kind {
        case .text: self = .text(content.text)
        case .media:
            var media = OutgoingMessage.Media(url: content.mediaURL, type: content.mediaType)
            media.caption = content.caption
            media.filename = content.filename
            self = .media(media)
        case .template:
            let template = OutgoingMessage.Template(
                name: content.templateName,
                language: content.templateLanguage,
                components: content.templateComponents
            )
            self = .template(template)
        case .reaction:
            self = .reaction(to: try ledger.reference(content.reactionTo), emoji: content.emoji)
        case .typing:
            self = .typing(
                isOn: content.isTyping,
                lastInbound: isWhatsApp ? try ledger.lastInboundID(conversation) : ""
            )
        }
    }
}

extension Ledger {
    /// The provider's id of a message by our id.
    fileprivate func reference(_ id: String) throws -> String {
        try reference(ids.decode(.message, id))
    }

    private func reference(_ message: LogPosition?) throws -> String {
        guard let message, let found = try providerMessageID(of: message), !found.isEmpty else {
            throw ProviderCall.MissingReference()
        }
        return found
    }

    fileprivate func lastInboundID(_ conversation: LogPosition) throws -> String {
        let last = plan { state in
            state.inbox.current(conversation)?.messages.last { state.inbox.messages[$0]?.direction == .inbound }
        }
        return try reference(last)
    }

    /// Nil when the provider gave it none, or once it is purged: the id goes with the body.
    private func providerMessageID(of message: LogPosition) throws -> String? {
        guard let row = plan({ $0.inbox.messages[message] }) else { return nil }
        // What came from outside has it in its content, what we sent was told it later.
        let content = try unpurged { try body(at: message, .content) }
        if let id = content.flatMap({ ProviderJSON($0)?["platform_message_id"]?.text }) { return id }
        var damage = ReadDamage()
        for record in try trail(of: message, row, &damage) {
            if let id = try providerMessageID(toldBy: record) { return id }
        }
        if damage.isMet { throw LogError(.corrupt, "the record that told the provider's id is damaged") }
        return nil
    }
}
