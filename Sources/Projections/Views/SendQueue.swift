import HeapModule
package import Log

/// Outbound messages that are not settled: queued, with the provider, or waiting for another try.
package struct SendQueue: Sendable {
    package struct Sender: Hashable, Sendable {
        package let client: LogPosition
        package let platform: Platform

        package init(client: LogPosition, platform: Platform) {
            self.client = client
            self.platform = platform
        }
    }

    package struct Row: Sendable, Equatable {
        package let client: LogPosition
        package fileprivate(set) var conversation: LogPosition
        package let platform: Platform
        package let expiresAt: Timestamp
        package let segments: UInt64
        /// When the customer's window closes; zero when it does not matter.
        package let windowUntil: Timestamp
        package var attempts: UInt64 = 0
        package var startedAt: Timestamp?
        package var isInFlight = false
        /// Refused because of the credential; waits until the channel changes.
        package var isPaused = false
    }

    private struct Expiry: Comparable, Sendable {
        let at: Timestamp
        let message: LogPosition

        static func < (a: Expiry, b: Expiry) -> Bool { (a.at, a.message) < (b.at, b.message) }
    }

    package private(set) var rows: [LogPosition: Row] = [:]
    package private(set) var countByClient: [LogPosition: Int] = [:]
    package private(set) var inFlightBySender: [Sender: Int] = [:]
    private var paused: [Sender: [LogPosition]] = [:]
    private var expiries = Heap<Expiry>()
    package var schedule = LaneScheduler<Sender>()

    package init() {}

    package var inFlight: [LogPosition] { rows.filter { $0.value.isInFlight }.keys.sorted() }

    mutating func apply(_ record: EventRecord) {
        switch record.event {
        case .sendAccepted(let event): add(event, record)
        case .sendStarted(let event): for message in event.messages.values { start(message, record.time) }
        case .sendFinished(let event): finish(event, record.message)
        case .sendCanceled, .sendExpired: settle(record.message)
        case .purgeRequested(let event) where event.cancels: settle(record.message)
        case .messageStatusChanged(let event): reported(event.status, record.message)
        case .sendReconciled(let event): reported(event.status, record.message)
        case .channelDisconnected(let event):
            resume(Sender(client: record.client, platform: event.platform), record.time)
        case .clientDeleted:
            for platform in Platform.allCases { resume(Sender(client: record.client, platform: platform), record.time) }
        case .channelConnected(let event): resume(Sender(client: record.client, platform: event.platform), record.time)
        case .channelResumed(let event): resume(Sender(client: record.client, platform: event.platform), record.time)
        default: break
        }
    }

    /// What waits for two conversations that are one now goes out in one order.
    mutating func join(_ younger: LogPosition, into older: LogPosition) {
        // Whatever is not settled is in its lane.
        for message in schedule.jobs(of: younger) { rows[message]?.conversation = older }
        schedule.merge(lane: younger, into: older)
    }

    /// Messages that are not with the provider, the oldest first.
    ///
    /// - Parameter conversation: nil for those of all.
    package func waiting(in conversation: LogPosition?) -> [LogPosition] {
        rows.filter { !$0.value.isInFlight && (conversation == nil || $0.value.conversation == conversation) }
            .keys.sorted()
    }

    private mutating func add(_ event: SendAccepted, _ record: EventRecord) {
        rows[record.position] = Row(
            client: record.client,
            conversation: record.conversation,
            platform: event.platform,
            expiresAt: event.expiresAt,
            segments: event.segments,
            windowUntil: event.windowUntil
        )
        countByClient[record.client, default: 0] += 1
        if event.expiresAt.nanoseconds > 0 {
            expiries.insert(Expiry(at: event.expiresAt, message: record.position))
        }

        schedule.enqueue(
            record.position,
            lane: record.conversation,
            group: Sender(client: record.client, platform: event.platform)
        )
    }

    private mutating func start(_ message: LogPosition, _ time: Timestamp) {
        guard var row = rows[message] else { return }
        row.attempts += 1
        row.startedAt = time
        row.isInFlight = true
        rows[message] = row
        inFlightBySender[Sender(client: row.client, platform: row.platform), default: 0] += 1
        schedule.started(message)
    }

    private mutating func finish(_ event: SendFinished, _ message: LogPosition) {
        guard var row = rows[message], row.isInFlight else { return }
        let sender = Sender(client: row.client, platform: row.platform)
        inFlightBySender[sender, default: 1] -= 1
        schedule.capacityChanged()
        row.isInFlight = false
        if event.noAttempt { row.attempts = max(row.attempts, 1) - 1 }
        row.isPaused = event.outcome == .misconfigured
        rows[message] = row
        switch event.outcome {
        case .accepted, .rejected, .unknown: settle(message)
        case .retryLater: schedule.retry(message, at: event.retryAt)
        case .misconfigured: paused[sender, default: []].append(message)
        }
    }

    /// The provider has the message, whatever it answered to the call: it must not get it a second time.
    private mutating func reported(_ status: MessageStatus, _ message: LogPosition) {
        if status >= .sent, rows[message]?.isInFlight == false { settle(message) }
    }

    /// Messages whose `expires_at` has passed while they waited, each told once.
    package mutating func takeExpired(_ now: Timestamp) -> [LogPosition] {
        var expired: [LogPosition] = []
        // What is with the provider may come back to wait.
        var held: [Expiry] = []
        while let first = expiries.min, first.at <= now {
            expiries.removeMin()
            guard let row = rows[first.message] else { continue }
            if row.isInFlight { held.append(first) } else { expired.append(first.message) }
        }
        expiries.insert(contentsOf: held)
        return expired
    }

    private mutating func resume(_ sender: Sender, _ now: Timestamp) {
        schedule.capacityChanged()
        for message in paused.removeValue(forKey: sender) ?? [] where rows[message] != nil {
            rows[message]?.isPaused = false
            schedule.retry(message, at: now)
        }
    }

    private mutating func settle(_ message: LogPosition) {
        guard let row = rows.removeValue(forKey: message) else { return }
        countByClient[row.client, default: 1] -= 1
        schedule.remove(message)
    }
}
