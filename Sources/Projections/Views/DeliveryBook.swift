package import Log

/// Deliveries to client endpoints: what is due, in flight, delivered, dead. Retry schedule and dead letters are this fold
/// and nothing else, so they cannot disagree with the history.
package struct DeliveryBook: Sendable {
    package struct Row: Sendable, Equatable {
        /// The event that is delivered; for a first delivery the same position as the delivery's own.
        package let event: LogPosition
        package let client: LogPosition
        package let conversation: LogPosition
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
    }

    package private(set) var rows: [LogPosition: Row] = [:]
    package private(set) var byClient: [LogPosition: [LogPosition]] = [:]
    package private(set) var inFlightByClient: [LogPosition: Int] = [:]
    package var schedule = LaneScheduler<LogPosition>()

    package init() {}

    package var inFlight: [LogPosition] { rows.filter { $0.value.state == .inFlight }.keys.sorted() }

    /// - Parameter strict: whether the client's endpoint wants a conversation to wait for its failed deliveries.
    mutating func apply(_ record: EventRecord, strict: Bool) {
        switch record.event {
        case .eventPublished(let event) where event.wanted:
            add(record.position, event: record.position, record, lane: lane(of: record))
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
        default: break
        }
    }

    /// Events without a conversation (tests) keep no order with anything.
    private func lane(of record: EventRecord) -> LogPosition {
        record.conversation == .zero ? record.position : record.conversation
    }

    private mutating func add(
        _ delivery: LogPosition,
        event: LogPosition,
        _ record: EventRecord,
        lane: LogPosition
    ) {
        var row = Row(event: event, client: record.client, conversation: record.conversation)
        row.nextAttemptAt = record.time
        rows[delivery] = row
        byClient[record.client, default: []].append(delivery)
        schedule.enqueue(delivery, lane: lane, group: record.client)
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
        if !event.succeeded, event.final.isEmpty {
            row.state = .scheduled
            row.nextAttemptAt = event.nextAttemptAt
            rows[delivery] = row
            schedule.retry(delivery, at: event.nextAttemptAt)
            if !strict { schedule.release(delivery) }
            return
        }
        row.deadReason = event.final
        rows[delivery] = row
        settle(delivery, event.succeeded ? .delivered : row.isTest ? .discarded : .dead)
    }

    private mutating func settle(_ delivery: LogPosition, _ state: DeliveryState) {
        rows[delivery]?.state = state
        rows[delivery]?.nextAttemptAt = nil
        schedule.remove(delivery)
    }
}
