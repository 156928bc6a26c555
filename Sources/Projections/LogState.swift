package import Log

/// Everything Waybill knows, as a pure fold of the log. There is no second source of truth.
///
/// The same `apply` serves the writer (which folds its own decisions at once), a restart, and a look into the past.
package struct LogState: Sendable {
    /// The last record folded in.
    package private(set) var position = LogPosition.zero
    package private(set) var time = Timestamp(0)
    /// What the clocks of the machine showed last.
    package private(set) var clock: ClockMark?
    /// Keys the permutation of API ids; from the log's first record.
    package private(set) var idKey: [UInt8] = []
    /// The key that checkpoints are signed with from here on, as a C2SP verifier key.
    package private(set) var verifierKey = ""
    /// The generation of the root key that the key state is sealed under.
    package private(set) var rootGeneration = UInt64(0)
    /// The newest epoch of keys that is known of.
    package private(set) var keyEpoch = UInt64(0)
    /// Who the log is, in its checkpoints, since it went on from a backup or after damage; empty for one that never did.
    package private(set) var identity: [UInt8] = []
    /// Where it did, for ids.
    package private(set) var branches: [OpaqueID.Branch] = []
    package private(set) var backups = BackupBook()
    package private(set) var tokens = TokenRegistry()
    package private(set) var clients = ClientDirectory()
    package private(set) var inbox = Inbox()
    package private(set) var idempotency = IdempotencyIndex()
    package private(set) var deduplication = DeduplicationIndex()
    package private(set) var optOuts = OptOutRegister()
    package private(set) var usage = UsageCounters()
    package private(set) var parked = ParkedBook()
    package var media = MediaBook()
    package var purges = PurgeBook()
    package var deliveries = DeliveryBook()
    package var sends = SendQueue()

    package init() {}

    package mutating func apply(_ record: EventRecord) {
        position = record.position
        time = record.time
        clock = record.clockMark ?? clock
        if case .logCreated(let event) = record.event { idKey = event.idKey.bytes }
        if case .logKeyRotated(let event) = record.event { verifierKey = event.verifierKeyAfter }
        keyEpoch = max(keyEpoch, UInt64(record.keyEpoch))
        if case .processStarted(let event) = record.event { keyEpoch = max(keyEpoch, event.keyEpoch) }
        if case .logRestored(let event) = record.event {
            goOn(as: event.logId.bytes, event.branch(at: record.position))
        }
        if case .logSalvaged(let event) = record.event {
            goOn(as: event.logId.bytes, event.branch(at: record.position))
        }
        backups.apply(record)
        if case .rootKeyRotated(let event) = record.event {
            rootGeneration = max(rootGeneration, event.generationAfter)
        }
        if case .purgeCompleted(let event) = record.event {
            // A rotation by hand may have come between the purge and its record.
            rootGeneration = max(rootGeneration, event.rootGenerationAfter)
        }
        purges.apply(record, client: clients[record.client], delivery: deliveries.rows[record.subject])
        tokens.apply(record)
        clients.apply(record)
        inbox.apply(record)
        if case .conversationJoined(let event) = record.event { join(event.joined, into: record.conversation) }
        mergeEcho(record)
        parked.apply(record)
        idempotency.apply(record)
        deduplication.apply(record)
        optOuts.apply(record)
        usage.apply(record)
        let settled = media.apply(record)
        // What is under way may still name the conversation that it began in.
        var placed = record
        placed.conversation = inbox.survivor(of: record.conversation)
        deliveries.apply(
            placed,
            strict: clients[record.client]?.endpoint?.strictOrdering ?? false,
            wait: media.wait(of: record.position)
        )
        if let settled { deliveries.hasten(settled, at: record.time) }
        if case .deliveryReleased(let event) = record.event { release(event.deliveries.values, at: record.time) }
        sends.apply(placed)
    }

    private mutating func join(_ younger: LogPosition, into older: LogPosition) {
        guard younger != older, inbox.survivor(of: younger) == older else { return }
        sends.join(younger, into: older)
        deliveries.join(younger, into: older)
    }

    /// The echo of a message of ours may come before anything says that it is ours.
    private mutating func mergeEcho(_ record: EventRecord) {
        let key: LookupHash
        switch record.event {
        case .sendFinished(let event): key = event.providerKey
        case .messageStatusChanged(let event): key = event.providerKey
        default: return
        }
        guard !key.isAbsent, let echo = deduplication.first(record.client, key) else { return }
        // The same words under a key that a purge of the message would not reach.
        if inbox.merge(echo: echo, into: record.message) { purges.end(copy: echo, record) }
    }

    private mutating func release(_ held: [LogPosition], at now: Timestamp) {
        for delivery in held {
            guard let row = deliveries.rows[delivery], !row.heldFor.isEmpty else { continue }
            deliveries.release(delivery, at: now, wait: media.wait(of: row.event))
            purges.released(delivery, of: row.message)
        }
    }

    /// - Parameter identity: empty where the log kept its own.
    private mutating func goOn(as identity: [UInt8], _ branch: OpaqueID.Branch) {
        guard !identity.isEmpty else { return }
        self.identity = identity
        branches.append(branch)
    }

    /// The ids of the API.
    package var ids: OpaqueID { OpaqueID(key: idKey, branches: branches) }

    /// Folds durable records from where the state stands up to `end`.
    package mutating func catchUp(_ reader: LogReader, through end: LogPosition) throws {
        guard position < end else { return }
        try reader.scan(from: position.next, through: end) { record in apply(try EventRecord(record)) }
    }

    /// Whether two folds know the same. Schedules are derived from what is compared here and left out.
    package func agrees(with other: LogState) -> Bool {
        position == other.position && time == other.time && clock == other.clock && idKey == other.idKey
            && verifierKey == other.verifierKey
            && rootGeneration == other.rootGeneration && keyEpoch == other.keyEpoch
            && identity == other.identity && branches == other.branches && backups == other.backups
            && tokens == other.tokens
            && clients == other.clients && inbox == other.inbox && idempotency == other.idempotency
            && deduplication == other.deduplication && optOuts == other.optOuts && usage == other.usage
            && parked == other.parked && media.agrees(with: other.media) && purges == other.purges
            && deliveries.rows == other.deliveries.rows && deliveries.held == other.deliveries.held
            && sends.rows == other.sends.rows
    }
}
