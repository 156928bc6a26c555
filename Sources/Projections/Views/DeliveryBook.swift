package import Log

/// Deliveries to client endpoints: what is due, in flight, delivered, dead. Retry schedule and dead letters are this fold
/// and nothing else, so they cannot disagree with the history.
package struct DeliveryBook: Sendable {
    package struct Row: Sendable, Equatable {
        /// The event that is delivered; for a first delivery the same position as the delivery's own.
        package let event: LogPosition
        package let client: LogPosition
        package fileprivate(set) var conversation: LogPosition
        /// What the event is about; zero for a test.
        package let message: LogPosition
        package var state = DeliveryState.scheduled
        /// Attempts so far, in flight included.
        package var attempts: UInt64 = 0
        /// How many steps of the retry schedule are used.
        package var retry: UInt64 = 0
        package var nextAttemptAt: Timestamp?
        package var startedAt: Timestamp?
        /// The last `delivery.finished`; each names the one before.
        package var trail = LogPosition.zero
        package var deadReason = ""
        /// A test event: tried once, never a dead letter.
        package var isTest = false
        /// The body is gone, or about to go: no further attempt.
        package var isPurged = false

        /// A failed delivery that can be looked at.
        package var isDeadLetter: Bool { state == .dead || state == .purged }
    }

    package private(set) var rows: [LogPosition: Row] = [:]
    package private(set) var byClient: [LogPosition: [LogPosition]] = [:]
    package private(set) var inFlightByClient: [LogPosition: Int] = [:]
    /// Deliveries of each conversation that have not arrived: what an erasure or a purge ends.
    private var undelivered: [LogPosition: Set<LogPosition>] = [:]
    package var schedule = LaneScheduler<LogPosition>()

    package init() {}

    package var inFlight: [LogPosition] { rows.filter { $0.value.state == .inFlight }.keys.sorted() }

    /// - Parameters:
    ///   - strict: whether the client's endpoint wants a conversation to wait for its failed deliveries.
    ///   - wait: when the first attempt of a new delivery may begin, unless `hasten` comes before.
    mutating func apply(_ record: EventRecord, strict: Bool, wait: Timestamp?) {
        switch record.event {
        case .eventPublished(let event) where event.wanted:
            add(record.position, event: record.position, record, lane: lane(of: record), wait: wait)
            rows[record.position]?.isTest = event.test
        case .deliveryReplayed(let event):
            // A replay is a lane of its own: it must not wait for, or hold up, what is new. The dead letter it replaces
            // is settled by it, so that replaying twice by filter does not deliver twice.
            settle(event.replaces, .discarded)
            add(record.position, event: record.subject, record, lane: record.position)
        case .deliveryStarted(let event): for delivery in event.deliveries.values { start(delivery, record.time) }
        case .deliveryFinished(let event): finish(event, record, strict: strict)
        case .endpointConfigured: schedule.capacityChanged()
        case .deliveryDiscarded: settle(record.subject, .discarded)
        case .purgeRequested: purge(in: record.conversation) { $0.message == record.message }
        case .eraseRequested: purge(in: record.conversation) { _ in true }
        case .clientDeleted: purge(byClient[record.client] ?? [])
        default: break
        }
    }

    /// What is not delivered of two conversations that are one now keeps one order.
    mutating func join(_ younger: LogPosition, into older: LogPosition) {
        for delivery in undelivered.removeValue(forKey: younger) ?? [] {
            rows[delivery]?.conversation = older
            undelivered[older, default: []].insert(delivery)
        }
        schedule.merge(lane: younger, into: older)
    }

    /// What the deliveries of a message waited for is there.
    mutating func hasten(_ message: LogPosition, in conversation: LogPosition, at now: Timestamp) {
        for delivery in (undelivered[conversation] ?? []).sorted() where rows[delivery]?.message == message {
            guard let row = rows[delivery], row.attempts == 0 else { continue }
            rows[delivery]?.nextAttemptAt = now
            schedule.hasten(delivery)
        }
    }

    /// Events without a conversation (tests) keep no order with anything.
    private func lane(of record: EventRecord) -> LogPosition {
        record.conversation == .zero ? record.position : record.conversation
    }

    private mutating func purge(in conversation: LogPosition, where isMeant: (Row) -> Bool) {
        purge((undelivered[conversation] ?? []).sorted().filter { rows[$0].map(isMeant) ?? false })
    }

    /// Ends what has no body any more. What is under way keeps its outcome, and ends after it.
    private mutating func purge(_ deliveries: [LogPosition]) {
        for delivery in deliveries {
            guard let row = rows[delivery] else { continue }
            rows[delivery]?.isPurged = true
            guard row.state == .scheduled || row.state == .dead else { continue }
            rows[delivery]?.deadReason = "body_purged"
            settle(delivery, .purged)
        }
    }

    private mutating func add(
        _ delivery: LogPosition,
        event: LogPosition,
        _ record: EventRecord,
        lane: LogPosition,
        wait: Timestamp? = nil
    ) {
        var row = Row(
            event: event,
            client: record.client,
            conversation: record.conversation,
            message: record.message
        )
        row.nextAttemptAt = wait ?? record.time
        rows[delivery] = row
        undelivered[record.conversation, default: []].insert(delivery)
        byClient[record.client, default: []].append(delivery)
        schedule.enqueue(delivery, lane: lane, group: record.client, notBefore: wait)
    }

    private mutating func start(_ delivery: LogPosition, _ time: Timestamp) {
        guard var row = rows[delivery] else { return }
        row.state = .inFlight
        row.attempts += 1
        row.startedAt = time
        row.nextAttemptAt = nil
        rows[delivery] = row
        inFlightByClient[row.client, default: 0] += 1
        schedule.started(delivery)
    }

    private mutating func finish(_ event: DeliveryFinished, _ record: EventRecord, strict: Bool) {
        let delivery = record.subject
        guard var row = rows[delivery], row.state == .inFlight else { return }
        inFlightByClient[row.client, default: 1] -= 1
        schedule.capacityChanged()
        row.trail = record.position
        row.retry = event.retry
        row.startedAt = nil
        if !event.succeeded, event.final.isEmpty, !row.isPurged {
            row.state = .scheduled
            row.nextAttemptAt = event.nextAttemptAt
            rows[delivery] = row
            if !strict { schedule.release(delivery) }
            schedule.retry(delivery, at: event.nextAttemptAt)
            return
        }
        row.deadReason = row.isPurged && !event.succeeded ? "body_purged" : event.final
        rows[delivery] = row
        settle(delivery, event.succeeded ? .delivered : row.isTest ? .discarded : row.isPurged ? .purged : .dead)
    }

    private mutating func settle(_ delivery: LogPosition, _ state: DeliveryState) {
        rows[delivery]?.state = state
        rows[delivery]?.nextAttemptAt = nil
        schedule.remove(delivery)
        guard state != .dead, let conversation = rows[delivery]?.conversation else { return }
        undelivered[conversation]?.remove(delivery)
        if undelivered[conversation]?.isEmpty == true { undelivered[conversation] = nil }
    }
}
