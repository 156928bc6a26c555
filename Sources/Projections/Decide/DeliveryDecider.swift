package import Log

/// What one attempt at an endpoint came to.
package struct DeliveryResult: Sendable {
    package enum Verdict: Sendable, Equatable {
        case succeeded
        case failed
        /// The endpoint said that it is gone for good (410).
        case gone
        /// The process ended while the attempt was running; it does not use up a step of the schedule.
        case interrupted
        /// Nothing left this host, for a lack on this host: descriptors, memory, ports. That is no attempt.
        case notBegun
    }

    package var verdict: Verdict
    package var startedAt: Timestamp
    package var durationMilliseconds: UInt64
    package var httpStatus: UInt64
    /// A stable code: `http_status`, `timeout`, `address_refused`, …
    package var error: String
    package var secret: LogPosition
    package var retryAfter: UInt64?
    package var excerpt: [UInt8]
    /// The record of the endpoint that was asked; zero when it does not matter.
    package var endpoint = LogPosition.zero

    /// Whether it is certain that no byte of the request left.
    package var nothingSent = false

    /// False when it is certain that no byte of the body left.
    var mayHaveLeft: Bool { !nothingSent && verdict != .notBegun && !DeliveryResult.nothingLeft(error) }

    /// Whether the code of an attempt says that nothing of it left, as far as older records go.
    static func nothingLeft(_ error: String) -> Bool { error == endpointChanged || error == unreadable }

    /// Seconds until what did not begin for a lack on this host is tried again.
    package static let pause: UInt64 = 5

    /// The code of an attempt that ended before it began, because the endpoint was replaced under its hands.
    package static let endpointChanged = "endpoint_changed"
    /// The same, because the event or a secret could not be read from the medium.
    package static let unreadable = "unreadable"

    package init(_ verdict: Verdict, error: String = "", startedAt: Timestamp) {
        self.verdict = verdict
        self.startedAt = startedAt
        durationMilliseconds = 0
        httpStatus = 0
        self.error = error
        secret = .zero
        excerpt = []
    }
}

/// The retry schedule: pure arithmetic on a client's list of waits.
package enum RetrySchedule {
    /// 30 s, 1 m, 5 m, 15 m, 1 h, 4 h: one immediate attempt and six retries.
    package static let standard: [UInt64] = [30, 60, 300, 900, 3600, 14_400]
    /// The longest `Retry-After` that is honoured, in seconds.
    package static let retryAfterMax: UInt64 = 86_400

    /// Seconds until the attempt after `retry` used steps, or nil when the schedule is used up. `Retry-After` may push the
    /// attempt later, never earlier.
    package static func delay(_ schedule: [UInt64], retry: UInt64, retryAfter: UInt64?) -> UInt64? {
        guard retry < UInt64(schedule.count) else { return nil }
        return max(schedule[Int(retry)], min(retryAfter ?? 0, retryAfterMax))
    }
}

extension LogState {
    /// Outcome and next attempt in one record. Empty when the delivery is not in flight any more.
    package func decide(
        _ result: DeliveryResult,
        for delivery: LogPosition,
        seal: KeyReference?,
        _ context: DecisionContext
    ) -> [NewEvent] {
        guard let row = deliveries.rows[delivery], row.state == .inFlight else { return [] }
        var result = result
        // An endpoint that was replaced since may be gone; the one that is set now did not say so.
        if result.verdict == .gone, result.endpoint != .zero,
            result.endpoint != clients[row.client]?.endpoint?.position
        {
            result.verdict = .failed
        }
        var event = DeliveryFinished()
        event.attempt = row.attempts
        event.startedAt = result.startedAt
        event.durationMilliseconds = result.durationMilliseconds
        event.httpStatus = result.httpStatus
        event.error = result.error
        event.secret = result.secret
        event.succeeded = result.verdict == .succeeded
        event.retry = row.retry
        event.previous = row.trail
        event.noAttempt = result.verdict == .notBegun
        event.nothingSent = !result.mayHaveLeft
        plan(&event, result, row, context.now)
        let bodies: [SealedPart] =
            result.excerpt.isEmpty || row.isPurged || seal == nil ? [] : [SealedPart(.responseExcerpt, result.excerpt)]
        let finished = NewEvent(
            .deliveryFinished(event),
            client: row.client,
            conversation: row.conversation,
            message: row.message,
            subject: delivery,
            bodies: bodies,
            seal: seal.map { .sameAs($0) } ?? .newKey(.message)
        )
        return [finished] + disabling(result, row)
    }

    private func plan(
        _ event: inout DeliveryFinished,
        _ result: DeliveryResult,
        _ row: DeliveryBook.Row,
        _ now: Timestamp
    ) {
        // A body that is gone, or that has just had its one attempt, is not tried again.
        if result.verdict != .succeeded, row.isPurged || (purges.watches.contains(row.message) && result.mayHaveLeft) {
            event.final = "body_purged"
            return
        }
        let schedule = clients[row.client]?.endpoint?.retrySchedule ?? RetrySchedule.standard
        switch result.verdict {
        case .succeeded: return
        case .failed where row.isTest: event.final = "test_failed"
        case .gone: event.final = "endpoint_gone"
        case .interrupted: event.nextAttemptAt = now
        case .notBegun: event.nextAttemptAt = now.advanced(bySeconds: DeliveryResult.pause)
        case .failed:
            guard let delay = RetrySchedule.delay(schedule, retry: row.retry, retryAfter: result.retryAfter) else {
                event.final = "retries_exhausted"
                return
            }
            event.retry = row.retry + 1
            event.nextAttemptAt = now.advanced(bySeconds: delay)
        }
    }

    private func disabling(_ result: DeliveryResult, _ row: DeliveryBook.Row) -> [NewEvent] {
        guard result.verdict == .gone, clients[row.client]?.endpoint?.enabled == true else { return [] }
        var event = EndpointDisabled()
        event.reason = "gone"
        return [NewEvent(.endpointDisabled(event), client: row.client)]
    }

    /// Whether a delivery is a dead letter with a body. One of Inbound Body Purge had its attempt, and the body is only there
    /// because something else of the message waits for its own.
    package func mayReplay(_ row: DeliveryBook.Row) -> Bool {
        row.state == .dead && !purges.watches.isInbound(row.message)
    }

    /// Delivers a dead letter again, as a new delivery of the same event.
    package func decideReplay(_ delivery: LogPosition, client: LogPosition) throws(Refusal) -> [NewEvent] {
        let row = try deadLetter(delivery, client: client)
        guard mayReplay(row) else { throw Refusal(.bodyPurged, "the body of this dead letter is purged") }
        guard clients[client]?.endpoint?.enabled == true else {
            throw Refusal(.endpointDisabled, "the webhook is disabled; enable it with PUT /v1/webhook before replaying")
        }
        var event = DeliveryReplayed()
        event.replaces = delivery
        return [
            NewEvent(
                .deliveryReplayed(event),
                client: client,
                conversation: row.conversation,
                message: row.message,
                subject: row.event
            )
        ]
    }

    package func decideDiscard(_ delivery: LogPosition, client: LogPosition) throws(Refusal) -> [NewEvent] {
        let row = try deadLetter(delivery, client: client)
        return [
            NewEvent(
                .deliveryDiscarded(DeliveryDiscarded()),
                client: client,
                conversation: row.conversation,
                subject: delivery
            )
        ]
    }

    private func deadLetter(_ delivery: LogPosition, client: LogPosition) throws(Refusal) -> DeliveryBook.Row {
        guard let row = deliveries.rows[delivery], row.client == client else {
            throw Refusal(.notFound, "there is no such dead letter")
        }
        guard row.isDeadLetter else {
            throw Refusal(.notADeadLetter, "the delivery is \(row.state.name)")
        }
        return row
    }

    /// A test event for the client's endpoint.
    package func decideTest(
        client id: LogPosition,
        ids: OpaqueID,
        _ context: DecisionContext
    ) throws(Refusal) -> [NewEvent] {
        guard let client = clients[id], let endpoint = client.endpoint, endpoint.enabled else {
            throw Refusal(.endpointDisabled, "set and enable the webhook with PUT /v1/webhook first")
        }
        let publisher = Publisher(state: self, ids: ids, context: context)
        return [
            publisher.publish(
                "webhook.test",
                client: client,
                platform: nil,
                conversation: .zero,
                message: .zero,
                after: [],
                seal: .newKey(.message),
                test: true
            ) { _, json in json.string("note", "A test event. Nothing happened.") }
        ]
    }
}
