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
        /// Why no attempt may begin until it is released; empty when one may.
        package var heldFor = ""
        /// A test event: tried once, never a dead letter.
        package var isTest = false
        /// The body is gone, or about to go: no further attempt.
        package var isPurged = false
        /// The delivery that a replay of this dead letter made.
        package var replacedBy: LogPosition?

        /// A failed delivery that can be looked at.
        package var isDeadLetter: Bool { state == .dead || state == .purged }
    }

    package private(set) var rows: [LogPosition: Row] = [:]
    package private(set) var byClient: [LogPosition: [LogPosition]] = [:]
    package private(set) var inFlightByClient: [LogPosition: Int] = [:]
    /// Deliveries of each conversation that have not arrived: what an erasure or a purge ends.
    private var undelivered: [LogPosition: Set<LogPosition>] = [:]
    /// The same by message: what is held may be many in one conversation, and each ends on its own.
    private var undeliveredOfMessage: [LogPosition: Set<LogPosition>] = [:]
    /// By client, deliveries that no endpoint takes now, with their event types.
    package private(set) var held: [LogPosition: [LogPosition: String]] = [:]
    package var schedule = LaneScheduler<LogPosition>()

    package init() {}

    package var inFlight: [LogPosition] { rows.filter { $0.value.state == .inFlight }.keys.sorted() }

    /// - Parameters:
    ///   - strict: whether the client's endpoint wants a conversation to wait for its failed deliveries.
    ///   - wait: when the first attempt of a new delivery may begin, unless `hasten` comes before.
    mutating func apply(_ record: EventRecord, strict: Bool, wait: Timestamp?) {
        switch record.event {
        case .eventPublished(let event) where event.wanted:
            add(record.position, event: record.position, record)
            rows[record.position]?.isTest = event.test
            if event.held.isEmpty {
                enqueue(record.position, lane: lane(of: record), at: record.time, wait: wait)
            } else {
                rows[record.position]?.heldFor = event.held
                held[record.client, default: [:]][record.position] = event.type
            }
        case .deliveryReplayed(let event):
            // A replay is a lane of its own: it must not wait for, or hold up, what is new. The dead letter it replaces
            // is settled by it, so that replaying twice by filter does not deliver twice.
            settle(event.replaces, .discarded)
            rows[event.replaces]?.replacedBy = record.position
            add(record.position, event: record.subject, record)
            enqueue(record.position, lane: record.position, at: record.time, wait: nil)
        case .deliveryStarted(let event): for delivery in event.deliveries.values { start(delivery, record.time) }
        case .deliveryFinished(let event): finish(event, record, strict: strict)
        case .endpointConfigured: schedule.capacityChanged()
        case .deliveryDiscarded: settle(record.subject, .discarded)
        case .purgeRequested(let event):
            purge((undeliveredOfMessage[record.message] ?? []).sorted(), neglected: event.undelivered)
        case .eraseRequested: purge((undelivered[record.conversation] ?? []).sorted())
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
    mutating func hasten(_ message: LogPosition, at now: Timestamp) {
        for delivery in (undeliveredOfMessage[message] ?? []).sorted() {
            guard let row = rows[delivery], row.attempts == 0, row.heldFor.isEmpty else { continue }
            rows[delivery]?.nextAttemptAt = now
            schedule.hasten(delivery)
        }
    }

    /// What was held goes on.
    ///
    /// - Parameter wait: as for a new delivery.
    mutating func release(_ delivery: LogPosition, at now: Timestamp, wait: Timestamp?) {
        guard let row = rows[delivery], !row.heldFor.isEmpty else { return }
        rows[delivery]?.heldFor = ""
        forget(held: delivery, of: row.client)
        enqueue(delivery, lane: row.conversation == .zero ? delivery : row.conversation, at: now, wait: wait)
    }

    private mutating func forget(held delivery: LogPosition, of client: LogPosition) {
        held[client]?[delivery] = nil
        if held[client]?.isEmpty == true { held[client] = nil }
    }

    /// The first delivery about a message that waits for its first attempt, held or not.
    func unattempted(_ message: LogPosition) -> LogPosition? {
        undeliveredOfMessage[message]?.filter { delivery in
            rows[delivery].map { $0.state == .scheduled && $0.attempts == 0 } ?? false
        }.min()
    }

    /// Events without a conversation (tests) keep no order with anything.
    private func lane(of record: EventRecord) -> LogPosition {
        record.conversation == .zero ? record.position : record.conversation
    }

    /// Ends what has no body any more. What is under way keeps its outcome, and ends after it.
    ///
    /// - Parameter reason: why some had no attempt at all; empty when that is what was asked for.
    private mutating func purge(_ deliveries: [LogPosition], neglected reason: String = "") {
        for delivery in deliveries {
            guard let row = rows[delivery] else { continue }
            rows[delivery]?.isPurged = true
            guard row.state == .scheduled || row.state == .dead else { continue }
            rows[delivery]?.deadReason = row.attempts > 0 || reason.isEmpty ? "body_purged" : reason
            settle(delivery, .purged)
        }
    }

    private mutating func add(
        _ delivery: LogPosition,
        event: LogPosition,
        _ record: EventRecord
    ) {
        rows[delivery] = Row(
            event: event,
            client: record.client,
            conversation: record.conversation,
            message: record.message
        )
        undelivered[record.conversation, default: []].insert(delivery)
        if record.message != .zero { undeliveredOfMessage[record.message, default: []].insert(delivery) }
        byClient[record.client, default: []].append(delivery)
    }

    private mutating func enqueue(_ delivery: LogPosition, lane: LogPosition, at now: Timestamp, wait: Timestamp?) {
        guard let client = rows[delivery]?.client else { return }
        rows[delivery]?.nextAttemptAt = wait ?? now
        schedule.enqueue(delivery, lane: lane, group: client, notBefore: wait)
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
        if event.noAttempt {
            row.attempts = max(row.attempts, 1) - 1
        } else {
            row.trail = record.position
        }
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
        if let row = rows[delivery], !row.heldFor.isEmpty {
            rows[delivery]?.heldFor = ""
            forget(held: delivery, of: row.client)
        }
        schedule.remove(delivery)
        guard state != .dead, let row = rows[delivery] else { return }
        DeliveryBook.remove(delivery, of: row.conversation, from: &undelivered)
        DeliveryBook.remove(delivery, of: row.message, from: &undeliveredOfMessage)
    }

    private static func remove(
        _ delivery: LogPosition,
        of owner: LogPosition,
        from index: inout [LogPosition: Set<LogPosition>]
    ) {
        index[owner]?.remove(delivery)
        if index[owner]?.isEmpty == true { index[owner] = nil }
    }
}
