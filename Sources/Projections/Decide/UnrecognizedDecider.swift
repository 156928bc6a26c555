package import Log

/// Something that a provider told us, verified, of a kind that Waybill does not know.
package struct UnrecognizedEvent: Sendable {
    let client: LogPosition
    let platform: Platform
    let duplicateKey: LookupHash
    /// What it is about, and that message's key; zero and nil when nobody knows.
    let message: LogPosition
    let key: KeyReference?
    /// Keyed hash of the customer's address, where there is one.
    let customer: LookupHash?
    let providerBytes: [UInt8]
    /// Where it waited for its message, of which it then told nothing new; zero otherwise.
    package var parked = LogPosition.zero

    package init(
        client: LogPosition,
        platform: Platform,
        duplicateKey: LookupHash,
        message: LogPosition,
        key: KeyReference?,
        customer: LookupHash?,
        providerBytes: [UInt8]
    ) {
        self.client = client
        self.platform = platform
        self.duplicateKey = duplicateKey
        self.message = message
        self.key = key
        self.customer = customer
        self.providerBytes = providerBytes
    }
}

extension LogState {
    /// Keeps what came. Its bytes share the fate of the message or the conversation that they are about; where bodies are
    /// purged at once, or what it is about is purged, they are not kept at all.
    package func decide(_ found: UnrecognizedEvent) -> [NewEvent] {
        guard let client = clients[found.client] else { return [] }
        guard found.parked == .zero else { return parked.contains(found.parked) ? [end(of: found)] : [] }
        guard deduplication.first(found.client, found.duplicateKey) == nil else { return [] }
        var event = ProviderEventUnrecognized()
        event.platform = found.platform
        event.duplicateKey = found.duplicateKey
        event.customer = found.customer ?? .absent
        // What belongs to nobody here could not be erased with anybody.
        let belongs = found.customer != nil || found.message != .zero
        let isKept =
            belongs && !found.providerBytes.isEmpty && !client.settings.purgePlatforms.contains(found.platform)
            && !isPurged(found.message)
        let conversation =
            inbox.messages[found.message]?.conversation
            ?? found.customer.flatMap { inbox.conversation(found.client, found.platform, $0)?.id } ?? .zero
        return [
            NewEvent(
                .providerEventUnrecognized(event),
                client: found.client,
                conversation: conversation,
                message: found.message,
                bodies: isKept ? [SealedPart(.providerBytes, found.providerBytes)] : [],
                seal: found.key.map { .sameAs($0) } ?? .newKey(.message)
            )
        ]
    }

    private func end(of found: UnrecognizedEvent) -> NewEvent {
        var event = ProviderEventUnrecognized()
        event.platform = found.platform
        return NewEvent(.providerEventUnrecognized(event), client: found.client, subject: found.parked)
    }
}
