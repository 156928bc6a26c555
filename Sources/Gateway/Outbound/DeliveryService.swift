import Log
import Logging
import Projections
import ServiceLifecycle

/// Delivers events to client endpoints: takes what the projection says is due, puts the start on record, performs the
/// request, puts the outcome and the next attempt on record.
package struct DeliveryService: Service {
    /// How many attempts may run at once, over all clients.
    static let inFlightMax = 2048
    static let timeout = Duration.seconds(15)
    /// How long the body of an answer is waited for: the status has decided, and the rest is for the excerpt only.
    static let bodyWait = Duration.seconds(2)

    let ledger: Ledger
    let rendering: EventRendering
    let driver: CurlDriver
    let headerPrefix: String
    let allowHTTP: Bool
    let metrics: GatewayMetrics
    let logger: Logger
    let refused: RefusedAddresses
    let health = EndpointHealth()
    let memory = InlineMemory()

    package func run() async throws {
        let changes = ledger.changes(for: .deliveries)
        await withDiscardingTaskGroup { group in
            for await _ in changes.cancelOnGracefulShutdown() {
                while let started = startDue() {
                    group.addTask { await self.perform(started) }
                }
            }
            // Going on from here: attempts that run are awaited by the group; nothing new starts.
        }
    }

    private struct Started {
        let jobs: [(delivery: LogPosition, row: DeliveryBook.Row)]
        let position: LogPosition
        let time: Timestamp
    }

    /// Puts the start of everything that is due on record. Nil when nothing is.
    private func startDue() -> Started? {
        let ready = ledger.plan { state -> [LogPosition] in
            state.deliveries.schedule.advance(to: ledger.now)
            let running = state.deliveries.inFlightByClient.values.reduce(0, +)
            let clients = state.clients
            let inFlight = state.deliveries.inFlightByClient
            let free = max(0, DeliveryService.inFlightMax - running)
            let held = { (client: LogPosition) in inFlight[client, default: 0] }
            let picked = state.deliveries.schedule.pick(limit: free, held: held) { client in
                guard let endpoint = clients[client]?.endpoint, endpoint.enabled else { return 0 }
                return health.limit(client, most: endpoint.maxInFlight) - held(client)
            }
            return holdBack(picked, state: &state)
        }
        if ready.isEmpty { return nil }
        // Nothing is begun that could only fail here.
        if LocalShortage.isNow {
            ledger.plan { state in postpone(ready, &state.deliveries.schedule) }
            for delivery in ready { memory.give(delivery) }
            return nil
        }
        let committed = try? ledger.append(edge: false) { state, context in
            var event = DeliveryStarted()
            let due = ready.filter { delivery in
                guard let row = state.deliveries.rows[delivery], row.state == .scheduled,
                    state.deliveries.schedule.mayStart(delivery)
                else { return false }
                // A body whose time is over does not leave any more; its purge is about to be asked for.
                return !state.purges.watches.isOver(row.message, context.now)
            }
            event.deliveries = ListField(due)
            let rows = due.compactMap { delivery in state.deliveries.rows[delivery].map { (delivery, $0) } }
            return (due.isEmpty ? [] : [NewEvent(.deliveryStarted(event))], rows)
        }
        // A full disk may have room again; a log that failed for good ends the process elsewhere.
        if committed == nil { ledger.plan { state in postpone(ready, &state.deliveries.schedule) } }
        let jobs = committed?.value ?? []
        if jobs.count < ready.count {
            let started = Set(jobs.map(\.0))
            for delivery in ready where !started.contains(delivery) { memory.give(delivery) }
        }
        return committed.map { Started(jobs: $0.value, position: $0.position, time: $0.time) }
    }

    /// Without those for whose files inside there is no memory now: they have their turn a moment later.
    private func holdBack(_ picked: [LogPosition], state: inout LogState) -> [LogPosition] {
        picked.filter { delivery in
            guard let row = state.deliveries.rows[delivery], let files = state.media.rows[row.message] else {
                return true
            }
            if memory.take(rendering.inlineBytes(files), for: delivery, of: row.client) { return true }
            postpone([delivery], &state.deliveries.schedule)
            return false
        }
    }

    private func postpone(_ picked: [LogPosition], _ schedule: inout LaneScheduler<LogPosition>) {
        let later = ledger.now.advanced(bySeconds: 1)
        for delivery in picked { schedule.retry(delivery, at: later) }
    }

    private func perform(_ started: Started) async {
        // The start must be durable before the first byte leaves.
        guard (try? await ledger.log.waitUntilDurable(started.position)) != nil else { return }
        await withDiscardingTaskGroup { group in
            for (delivery, row) in started.jobs {
                group.addTask { await self.attempt(delivery, row, started.time) }
            }
        }
    }

    private func attempt(_ delivery: LogPosition, _ row: DeliveryBook.Row, _ startedAt: Timestamp) async {
        let result = await exchange(row, startedAt)
        memory.give(delivery)
        let seal = ledger.readableKeyReference(at: row.event)
        do {
            try await ledger.commitOutcome { state, context in
                state.decide(result, for: delivery, seal: seal, context)
            }
        } catch {
            // Without an outcome on record the delivery stays in flight and is due again after a restart.
            logger.error("a delivery's outcome could not be recorded", metadata: ["error": "\(error)"])
        }
    }

    private func exchange(_ row: DeliveryBook.Row, _ startedAt: Timestamp) async -> DeliveryResult {
        guard let client = ledger.plan({ $0.clients[row.client] }), let endpoint = client.endpoint else {
            return DeliveryService.unsent("endpoint_missing", startedAt)
        }
        let request: (outgoing: OutgoingRequest, secret: LogPosition, endpoint: LogPosition)
        do {
            request = try await self.request(row, client, endpoint)
        } catch let error as GatewayError where error == .purged {
            if ledger.plan({ $0.isPurged(row.message) }) {
                return DeliveryResult(.failed, error: "body_purged", startedAt: startedAt)
            }
            // The endpoint or a secret was replaced under our hands: nothing left, so once more. Or a key is lost for good.
            let isReplaced = ledger.plan { state in
                state.clients[row.client].map { DeliveryService.secrets($0) } != DeliveryService.secrets(client)
            }
            return isReplaced
                ? DeliveryResult(.interrupted, error: DeliveryResult.endpointChanged, startedAt: startedAt)
                : DeliveryResult(.failed, error: DeliveryResult.unreadable, startedAt: startedAt)
        } catch {
            logger.error("an event could not be read to be delivered", metadata: ["error": "\(error)"])
            if LocalShortage.isOne(error) {
                return DeliveryResult(.notBegun, error: TransferFailure.localFailure.code, startedAt: startedAt)
            }
            return DeliveryResult(.failed, error: DeliveryResult.unreadable, startedAt: startedAt)
        }
        // The operator may have stopped allowing plain HTTP since the endpoint was set.
        if !allowHTTP, request.outgoing.url.lowercased().hasPrefix("http:") {
            return DeliveryService.unsent("insecure_url", startedAt)
        }
        let answer = await driver.perform(request.outgoing)
        let finishedAt = ledger.now
        var result = DeliveryService.result(answer, startedAt: startedAt, finishedAt: finishedAt)
        // Where nothing began, nothing is known of the endpoint.
        if result.verdict != .notBegun { health.note(row.client, answered: result.httpStatus > 0) }
        refused.note(result.error, of: row.client, ledger.ids.encode(.client, row.client))
        result.secret = request.secret
        result.endpoint = request.endpoint
        result.durationMilliseconds = finishedAt.milliseconds(since: startedAt)
        if result.verdict == .notBegun { return result }
        metrics.count(
            "waybill_delivery_attempts_total{result=\"\(result.verdict == .succeeded ? "success" : "failure")\"}"
        )
        return result
    }

    /// A failure before anything was sent.
    private static func unsent(_ error: String, _ startedAt: Timestamp) -> DeliveryResult {
        var result = DeliveryResult(.failed, error: error, startedAt: startedAt)
        result.nothingSent = true
        return result
    }

    /// The records of a client's endpoint and of its secrets.
    private static func secrets(_ client: ClientRow) -> [LogPosition] {
        [client.endpoint?.position ?? .zero] + client.secrets.map(\.position)
    }

    /// The request as of now: body from the log, endpoint and secrets as they are set now.
    private func request(
        _ row: DeliveryBook.Row,
        _ client: ClientRow,
        _ endpoint: EndpointRow
    ) async throws -> (outgoing: OutgoingRequest, secret: LogPosition, endpoint: LogPosition) {
        let now = ledger.now
        let newest = DeliveryService.secrets(client).max() ?? endpoint.position
        try await ledger.log.waitUntilDurable(newest)
        let settings = try EndpointSettings(try ledger.secret(endpoint.position))
        // What is purged after its one attempt may not reach the endpoint twice in it. Asked before the body is read, for a purge
        // that comes in between ends the watch.
        let hasOneAttempt = ledger.plan { $0.purges.watches.contains(row.message) }
        let body = try rendering.body(of: row.event, carriesFiles: true)
        guard case .eventPublished(let event) = try ledger.event(at: row.event).event else {
            throw GatewayError(.internalError, "position \(row.event) is not an event")
        }
        let secrets = client.secrets(at: now).reversed().map(\.position)
        var headers = settings.headers
        headers += WebhookSignature.headers(
            body: body,
            id: ledger.ids.encode(.event, row.event),
            // The receiver compares it with its own clock.
            seconds: ledger.wall.wholeSeconds,
            secrets: try secrets.map { try ledger.secret($0) },
            prefix: headerPrefix
        )
        headers += [
            ("X-\(headerPrefix)-Event", event.type), ("X-\(headerPrefix)-Attempt", String(row.attempts + 1)),
            ("Content-Type", "application/json"), ("User-Agent", "Waybill/\(WaybillVersion.current)"),
        ]
        var outgoing = OutgoingRequest(
            method: "POST",
            url: settings.url,
            headers: headers,
            body: body,
            // A body with files in it takes its time on the way.
            timeout: DeliveryService.timeout + .seconds(body.count >> 20),
            connectTimeout: .seconds(10),
            atMostOnce: hasOneAttempt
        )
        outgoing.bodyWait = DeliveryService.bodyWait
        // On a kept connection a body can be gone that never reached anyone.
        outgoing.usesFreshConnection = hasOneAttempt
        return (outgoing, secrets.first ?? .zero, endpoint.position)
    }

    /// Any 2xx within the time is success; a redirect is not; 410 means gone for good.
    static func result(
        _ answer: Result<OutgoingResponse, TransferError>,
        startedAt: Timestamp,
        finishedAt: Timestamp
    ) -> DeliveryResult {
        switch answer {
        case .success(let response):
            let verdict: DeliveryResult.Verdict =
                (200..<300).contains(response.status) ? .succeeded : response.status == 410 ? .gone : .failed
            var result = DeliveryResult(verdict, startedAt: startedAt)
            result.httpStatus = UInt64(max(response.status, 0))
            if verdict != .succeeded { result.error = "http_status" }
            result.retryAfter = RetryAfter.seconds(of: response, now: finishedAt)
            result.excerpt = Array(response.body.prefix(1024))
            return result
        case .failure(let error):
            let verdict: DeliveryResult.Verdict =
                switch error.failure {
                case .shuttingDown: .interrupted
                case .localFailure: .notBegun
                default: .failed
                }
            var result = DeliveryResult(verdict, error: error.failure.rawValue, startedAt: startedAt)
            result.nothingSent = !error.requestBytesSent
            return result
        }
    }
}
