package import Log

/// What is to be destroyed, what is destroyed, and what nobody may read any more.
///
/// A purge is requested and completed by two records. From the first on readers refuse; a request without its completion is
/// what a restart finds to do.
package struct PurgeBook: Sendable, Equatable {
    /// What a purge is about.
    package enum Subject: Hashable, Sendable {
        case message(LogPosition)
        /// Identifiers and every message.
        case conversation(LogPosition)
        /// Everything that has a key.
        case client(LogPosition)
        /// A record with a secret that is not used any more.
        case secret(LogPosition)
    }

    /// The two records of a purge.
    package struct Entry: Sendable, Equatable {
        /// The record that asked for it: a request, an erasure, a deletion, or the end of a secret.
        package let requested: LogPosition
        package var completed = LogPosition.zero
    }

    package private(set) var entries: [Subject: Entry] = [:]
    /// Requested and not completed, and when it is due.
    package private(set) var pending: [Subject: Timestamp] = [:]
    package private(set) var watches = PurgeWatches()
    private var needsPlanning = false

    package init() {}

    package static func == (a: PurgeBook, b: PurgeBook) -> Bool {
        a.entries == b.entries && a.pending == b.pending && a.watches == b.watches
    }

    /// Whether there may be something new to do; asking takes the answer.
    package mutating func takeNeedsPlanning() -> Bool {
        defer { needsPlanning = false }
        return needsPlanning
    }

    /// What is due at `now`, at most `limit`.
    package func due(_ now: Timestamp, limit: Int) -> [Subject] {
        Array(pending.lazy.filter { $0.value <= now }.map(\.key).prefix(limit))
    }

    /// Whether anything is due, by itself or because time has passed.
    package func isDue(_ now: Timestamp) -> Bool {
        !due(now, limit: 1).isEmpty || !watches.overdue(now, limit: 1).isEmpty
    }

    /// Whether nobody may read what belongs to these any more; `zero` belongs to nothing.
    package func bars(client: LogPosition, conversation: LogPosition, message: LogPosition) -> Bool {
        entry(client: client, conversation: conversation, message: message) != nil
    }

    /// Whether nobody may read the body of the record at `position`. What was recorded after the request, such as that a
    /// purged message was delivered, has nothing of the body and a key of its own.
    package func bars(
        recordAt position: LogPosition,
        client: LogPosition,
        conversation: LogPosition,
        message: LogPosition
    ) -> Bool {
        func isEnded(_ subject: Subject) -> Bool { entries[subject].map { $0.requested > position } ?? false }
        // The first records of a client, a conversation and a message do not name themselves.
        return isEnded(.message(message)) || isEnded(.conversation(conversation)) || isEnded(.client(client))
            || isEnded(.message(position)) || isEnded(.conversation(position)) || isEnded(.client(position))
    }

    /// The purge that covers a message, the narrowest first.
    package func entry(client: LogPosition, conversation: LogPosition, message: LogPosition) -> Entry? {
        entries[.message(message)] ?? entries[.conversation(conversation)] ?? entries[.client(client)]
    }

    // MARK: Fold

    /// - Parameter client: the client as it was before this record.
    mutating func apply(_ record: EventRecord, client: ClientRow?, delivery: DeliveryBook.Row?) {
        switch record.event {
        case .purgeRequested:
            watches.remove(record.message)
            request(.message(record.message), record)
        case .eraseRequested:
            watches.remove { $1.conversation == record.conversation }
            request(.conversation(record.conversation), record)
        case .clientDeleted:
            watches.remove { $1.client == record.client }
            request(.client(record.client), record)
        case .purgeCompleted(let event): complete(event, record.position)
        default:
            applySecrets(record, client)
            applyWatches(record, client, delivery)
        }
    }

    private mutating func request(_ subject: Subject, _ record: EventRecord, at due: Timestamp? = nil) {
        if let entry = entries[subject], entry.completed != .zero { return }
        if entries[subject] == nil { entries[subject] = Entry(requested: record.position) }
        pending[subject] = min(pending[subject] ?? Timestamp(.max), due ?? record.time)
        needsPlanning = true
    }

    /// A record that says what another one says is not needed any more.
    mutating func end(copy: LogPosition, _ record: EventRecord) {
        // It is no message any more, so nobody could ask for its purge.
        watches.remove(copy)
        request(.secret(copy), record)
    }

    private mutating func complete(_ event: PurgeCompleted, _ position: LogPosition) {
        let subjects =
            event.messages.values.map { Subject.message($0) }
            + event.conversations.values.map { Subject.conversation($0) }
            + event.clients.values.map { Subject.client($0) } + event.secrets.values.map { Subject.secret($0) }
        for subject in subjects {
            entries[subject]?.completed = position
            pending[subject] = nil
        }
    }

    /// A secret ends when another takes its place.
    private mutating func applySecrets(_ record: EventRecord, _ client: ClientRow?) {
        let replaced: LogPosition?
        switch record.event {
        case .webhookSecretExpires(let event): return request(.secret(record.subject), record, at: event.at)
        case .channelConnected(let event): replaced = client?.channels[event.platform]?.position
        case .channelDisconnected(let event): replaced = client?.channels[event.platform]?.position
        case .endpointConfigured: replaced = client?.endpoint?.position
        case .settingsChanged: replaced = client?.settings.position
        case .clientUpdated(let event):
            // The first name lies with the look-up key, which is needed as long as there is the client.
            replaced = event.renamed && client?.namePosition != record.client ? client?.namePosition : nil
        // What waited for its message has been taken over; its copy under a key of its own is not needed any more.
        case .messageEdited, .messageUnsent, .messageReacted, .messageStatusChanged, .providerEventUnrecognized:
            replaced = record.subject
        case .providerEventParked(let event):
            guard client?.settings.purgePlatforms.contains(event.platform) == true else { return }
            return request(
                .secret(record.position),
                record,
                at: record.time.advanced(bySeconds: LogState.purgeDeadline)
            )
        default: replaced = nil
        }
        if let replaced, replaced != .zero { request(.secret(replaced), record) }
    }

    private mutating func applyWatches(_ record: EventRecord, _ client: ClientRow?, _ delivery: DeliveryBook.Row?) {
        switch record.event {
        case .messageReceived(let event) where event.purgeBy.nanoseconds > 0: watch(record, until: event.purgeBy)
        case .sendAccepted(let event) where event.purges:
            watch(record, until: nil)
            watches.begin(record.position, of: record.position)
        // Nobody is told of it, so there is nothing to wait for.
        case .messageEchoed(let event) where client?.settings.purgePlatforms.contains(event.platform) == true:
            watch(record, until: nil)
        // What is only about a message, and held, must not keep it once the message itself had its attempt.
        case .eventPublished(let event)
        where event.wanted && (event.held.isEmpty || !FollowUp.webhookTypes.contains(event.type)):
            watches.begin(record.position, of: record.message)
        case .deliveryFinished(let event) where event.succeeded || !event.final.isEmpty:
            attempted(record.subject, delivery?.message ?? .zero)
        case .sendCanceled, .sendExpired: attempted(record.message, record.message)
        case .sendFinished(let event) where event.outcome.isFinal: attempted(record.message, record.message)
        // The provider has it after all, whatever it answered to the call: nothing else will be told of it.
        case .messageStatusChanged(let event) where event.status >= .sent: attempted(record.message, record.message)
        case .sendReconciled(let event) where event.status >= .sent: attempted(record.message, record.message)
        default: break
        }
    }

    private mutating func watch(_ record: EventRecord, until deadline: Timestamp?) {
        watches.add(
            record.position,
            PurgeWatches.Watch(client: record.client, conversation: record.conversation, deadline: deadline)
        )
        needsPlanning = true
    }

    private mutating func attempted(_ attempt: LogPosition, _ message: LogPosition) {
        if watches.end(attempt, of: message) { needsPlanning = true }
    }

    /// A delivery that was held has its attempt yet.
    mutating func released(_ delivery: LogPosition, of message: LogPosition) { watches.begin(delivery, of: message) }
}

extension SendOutcome {
    /// Whether the message goes to the provider no more.
    package var isFinal: Bool { self == .accepted || self == .rejected || self == .unknown }
}
