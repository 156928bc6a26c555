import Log
import Logging
import Projections
import ServiceLifecycle

/// Sends queued messages to providers, at most once: a call is repeated only when the provider plainly refused it or when
/// no byte of it left.
package struct SendService: Service {
    /// How many calls of one sender may run at once.
    static let inFlightPerSender = 32
    /// How many calls may run at once, over all senders: as many as there are connections, so that a call that is on
    /// record as started does start.
    static let inFlightMax = 256

    let ledger: Ledger
    let driver: CurlDriver
    let addresses: ProviderAddresses
    let publicURL: @Sendable () -> String
    let pacer = SenderPacer()
    let pairs = PairPacer()
    let metrics: GatewayMetrics
    let logger: Logger

    package func run() async throws {
        let changes = ledger.changes(for: .sends)
        await withDiscardingTaskGroup { group in
            for await _ in changes.cancelOnGracefulShutdown() {
                while let started = startDue() {
                    group.addTask { await self.perform(started) }
                }
            }
        }
    }

    private struct Started {
        let messages: [LogPosition]
        let dropped: [LogPosition]
        let position: LogPosition
        let time: Timestamp
    }

    private func startDue() -> Started? {
        let now = ledger.now
        var (picked, expired) = ledger.plan { state -> ([LogPosition], [LogPosition]) in
            state.sends.schedule.advance(to: now)
            let expired = state.sends.takeExpired(now)
            let clients = state.clients
            let inFlight = state.sends.inFlightBySender
            let free = max(0, SendService.inFlightMax - inFlight.values.reduce(0, +))
            let held = { (sender: SendQueue.Sender) in inFlight[sender, default: 0] }
            let picked = state.sends.schedule.pick(limit: free, held: held) { sender in
                // Without a channel they cannot wait for anything: they are picked to be dropped.
                guard let channel = clients[sender.client]?.channels[sender.platform] else { return free }
                if channel.pausedFor != nil { return 0 }
                let room = SendService.inFlightPerSender - held(sender)
                return pacer.room(sender, perSecond: channel.segmentsPerSecond, now: now, most: room)
            }
            return (holdBack(picked, state: &state, now), expired)
        }
        if picked.isEmpty, expired.isEmpty { return nil }
        // Nothing is begun that could only fail here.
        if !picked.isEmpty, LocalShortage.isNow {
            ledger.plan { state in postpone(picked, &state.sends.schedule) }
            // What expired is told of once, and needs nothing but the log to be settled.
            picked = []
            if expired.isEmpty { return nil }
        }
        let committed = try? ledger.append(edge: false) { state, context in
            let (start, drop) = state.decideStart(picked, now: context.now)
            for message in start { charge(message, state, context.now) }
            var event = SendStarted()
            event.messages = ListField(start)
            return (start.isEmpty ? [] : [NewEvent(.sendStarted(event))], (start, drop))
        }
        // A full disk may have room again; a log that failed for good ends the process elsewhere.
        if committed == nil { ledger.plan { state in postpone(picked + expired, &state.sends.schedule) } }
        return committed.map {
            Started(messages: $0.value.0, dropped: $0.value.1 + expired, position: $0.position, time: $0.time)
        }
    }

    /// Without those whose customer has had as much as WhatsApp allows: they are offered again when there is room.
    private func holdBack(_ picked: [LogPosition], state: inout LogState, _ now: Timestamp) -> [LogPosition] {
        picked.filter { message in
            guard let row = state.sends.rows[message], row.platform == .whatsapp else { return true }
            guard let later = pairs.nextTime(row.conversation, now: now) else { return true }
            state.sends.schedule.retry(message, at: later)
            return false
        }
    }

    private func postpone(_ picked: [LogPosition], _ schedule: inout LaneScheduler<SendQueue.Sender>) {
        let later = ledger.now.advanced(bySeconds: 1)
        for message in picked { schedule.retry(message, at: later) }
    }

    private func charge(_ message: LogPosition, _ state: LogState, _ now: Timestamp) {
        guard let row = state.sends.rows[message] else { return }
        let sender = SendQueue.Sender(client: row.client, platform: row.platform)
        let rate = state.clients[row.client]?.channels[row.platform]?.segmentsPerSecond ?? 0
        pacer.charge(sender, segments: row.segments, perSecond: rate, now: now)
        if row.platform == .whatsapp { pairs.charge(row.conversation, now: now) }
    }

    private func perform(_ started: Started) async {
        guard (try? await ledger.log.waitUntilDurable(started.position)) != nil else { return }
        await withDiscardingTaskGroup { group in
            for message in started.messages {
                group.addTask { await self.attempt(message, started.time) }
            }
            for message in started.dropped {
                group.addTask { await self.drop(message) }
            }
        }
    }

    /// Settles what must not go out any more. If that cannot be put on record now, it is offered again.
    private func drop(_ message: LogPosition) async {
        do {
            let body = try ledger.sentBody(message)
            try await ledger.commitOutcome { [ids = ledger.ids] state, context in
                let events = state.decideDrop(message, body, ids: ids, context)
                // Allowed again meanwhile, and still waiting: it has its turn after all.
                if events.isEmpty, state.sends.rows[message]?.isInFlight == false {
                    state.sends.schedule.retry(message, at: context.now)
                }
                return events
            }
        } catch {
            logger.error("a message that must not go out could not be settled", metadata: ["error": "\(error)"])
            ledger.plan { state in postpone([message], &state.sends.schedule) }
        }
    }

    private func attempt(_ message: LogPosition, _ startedAt: Timestamp) async {
        let result = await result(of: message, startedAt)
        if !result.isNoAttempt {
            metrics.count("waybill_send_attempts_total{outcome=\"\(result.outcome.name)\"}")
        }
        let body = ledger.readableSentBody(message)
        do {
            try await ledger.commitOutcome { [ids = ledger.ids] state, context in
                state.decide(result, for: message, body, ids: ids, context)
            }
        } catch {
            // Without an outcome on record the next start finds the call in flight and calls its outcome unknown.
            logger.error("a send's outcome could not be recorded", metadata: ["error": "\(error)"])
        }
        if !result.providerKey.isAbsent { await settleParked(message, result.providerKey) }
    }

    /// Reactions and statuses may have overtaken the answer that gave the message its id.
    private func settleParked(_ message: LogPosition, _ key: LookupHash) async {
        guard let client = ledger.plan({ $0.inbox.messages[message]?.client }) else { return }
        _ = await ChannelIntake(ledger: ledger, logger: logger).settle(client, key, after: .zero)
    }

    /// What came of the call; what was purged before it began is not sent.
    private func result(of message: LogPosition, _ startedAt: Timestamp) async -> SendResult {
        do {
            return try await call(message, try ledger.sendContent(message), startedAt)
        } catch is ProviderCall.MissingReference {
            // What it is about has no id at the provider, or none any more.
            return SendResult(.rejected, code: "reference_unknown", startedAt: startedAt)
        } catch let error as GatewayError where error == .purged {
            let isPurged = ledger.plan { $0.isPurged(message) }
            // Else it is the credential that was replaced under our hands; the next attempt takes the new one.
            return isPurged
                ? SendResult(.rejected, code: "body_purged", startedAt: startedAt)
                : SendResult(.retryLater, code: "channel_changed", startedAt: startedAt)
        } catch {
            // Nothing has left. The medium may be read again later.
            logger.error("a message could not be read to be sent", metadata: ["error": "\(error)"])
            var result = SendResult(.retryLater, code: "unreadable", startedAt: startedAt)
            result.isNoAttempt = LocalShortage.isOne(error)
            return result
        }
    }

    /// Throws only before the first byte leaves: what came after must be put on record.
    private func call(_ message: LogPosition, _ content: SendContent, _ startedAt: Timestamp) async throws -> SendResult
    {
        let place = ledger.plan { state in
            state.inbox.messages[message].map { row in
                (
                    row.client, row.conversation, row.platform,
                    state.clients[row.client]?.channels[row.platform]?.position
                )
            }
        }
        guard let (client, conversation, platform, channel) = place, let channel else {
            return SendResult(.rejected, code: "channel_not_connected", startedAt: startedAt)
        }
        try await ledger.log.waitUntilDurable(channel)
        let call = try ProviderCall(
            ledger: ledger,
            addresses: addresses,
            publicURL: publicURL(),
            message: message,
            client: client,
            conversation: conversation,
            platform: platform,
            content: content,
            secret: try ledger.secret(channel)
        )
        guard let request = call.request else {
            return SendResult(.rejected, code: "unsupported", startedAt: startedAt)
        }
        let answer = await driver.perform(request)
        var result = call.result(answer, startedAt: startedAt, finishedAt: ledger.now)
        result.channel = channel
        return result
    }
}
