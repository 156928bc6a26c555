package import Log

/// The files of customers' messages: which are to be fetched from the provider, which are here, and which deliveries wait for
/// them.
package struct MediaBook: Sendable {
    /// Of one message; what comes after them is described in the message, and not fetched.
    package static let filesMax = 32
    /// How long the first delivery of a message waits for its files, in seconds.
    static let wait: UInt64 = 10
    /// The same in Inbound Body Purge, where they travel in that one delivery; well before the message's purge.
    static let waitOfPurged: UInt64 = 300

    package enum ItemState: Sendable, Equatable {
        case pending
        case fetched
        /// Given up.
        case failed
    }

    package struct Item: Sendable, Equatable {
        package var state = ItemState.pending
        /// Failed attempts so far.
        package var attempts = 0
        /// What the last attempt came to; zero before the first.
        package var record = LogPosition.zero
        /// Length of the file, once it is here.
        package var bytes: UInt64 = 0
        /// Whether it came before the first delivery: only then is it part of what is delivered, so that every attempt and
        /// every pull gives the same bytes.
        package var isEarly = false
    }

    package struct Row: Sendable, Equatable {
        package let client: LogPosition
        package let conversation: LogPosition
        /// Whether the message is purged after its one delivery, with its files inside.
        package let isInline: Bool
        /// Until when its deliveries wait.
        package let waitsUntil: Timestamp
        package var isWaiting = true
        package var items: [Item]
        /// The events that have places for the files.
        package var events: [LogPosition] = []
    }

    package private(set) var rows: [LogPosition: Row] = [:]
    /// Events whose deliveries wait, and the message whose files they wait for.
    private var waiting: [LogPosition: LogPosition] = [:]
    private var byConversation: [LogPosition: [LogPosition]] = [:]
    /// Files to fetch: a lane of its own for each, in groups by client.
    package var schedule = LaneScheduler<LogPosition>()

    package init() {}

    package func agrees(with other: MediaBook) -> Bool {
        rows == other.rows && waiting == other.waiting && byConversation == other.byConversation
    }

    /// The messages with files among those that a purge is about.
    package func messages(of subject: PurgeBook.Subject) -> [LogPosition] {
        switch subject {
        case .message(let message): rows[message] == nil ? [] : [message]
        case .conversation(let conversation): byConversation[conversation] ?? []
        case .client(let client): messages(of: client)
        case .secret: []
        }
    }

    /// Until when the delivery of this event waits, if it does.
    func wait(of event: LogPosition) -> Timestamp? { waiting[event].flatMap { rows[$0]?.waitsUntil } }

    /// Whether what this event says of files, to whoever asks for it, is not settled at `now`. Where files travel inside the one
    /// delivery, nothing is said of them elsewhere.
    package func isUnsettled(event: LogPosition, _ now: Timestamp) -> Bool {
        settles(event: event, now) != nil
    }

    /// When that is settled at the latest; nil when it is.
    package func settles(event: LogPosition, _ now: Timestamp) -> Timestamp? {
        guard let row = waiting[event].flatMap({ rows[$0] }), !row.isInline, now < row.waitsUntil else { return nil }
        return row.waitsUntil
    }

    // MARK: Jobs

    /// A file as a job of the schedule.
    package static func job(_ message: LogPosition, _ index: Int) -> LogPosition {
        LogPosition(message.rawValue << 8 | UInt64(index))
    }

    package static func file(of job: LogPosition) -> (message: LogPosition, index: Int) {
        (LogPosition(job.rawValue >> 8), Int(job.rawValue & 0xFF))
    }

    // MARK: Fold

    /// - Returns: the message whose deliveries need not wait any more.
    mutating func apply(_ record: EventRecord) -> LogPosition? {
        switch record.event {
        case .messageReceived(let event) where event.files > 0: add(event, record)
        case .eventPublished(let event) where event.files: publish(record)
        case .mediaFetched(let event): return fetched(event, record)
        case .mediaFailed(let event): return failed(event, record)
        case .purgeRequested: give(up: [record.message])
        case .eraseRequested: give(up: byConversation[record.conversation] ?? [])
        case .clientDeleted: give(up: messages(of: record.client))
        case .purgeCompleted(let event): forget(event)
        default: break
        }
        return nil
    }

    private mutating func add(_ event: MessageReceived, _ record: EventRecord) {
        let isInline = event.purgeBy.nanoseconds > 0
        let count = Int(min(event.files, UInt64(MediaBook.filesMax)))
        byConversation[record.conversation, default: []].append(record.position)
        rows[record.position] = Row(
            client: record.client,
            conversation: record.conversation,
            isInline: isInline,
            waitsUntil: record.time.advanced(bySeconds: isInline ? MediaBook.waitOfPurged : MediaBook.wait),
            items: Array(repeating: Item(), count: count)
        )
        for index in 0..<count {
            let job = MediaBook.job(record.position, index)
            schedule.enqueue(job, lane: job, group: record.client)
        }
    }

    private mutating func publish(_ record: EventRecord) {
        guard rows[record.message]?.isWaiting == true else { return }
        rows[record.message]?.events.append(record.position)
        waiting[record.position] = record.message
    }

    private mutating func fetched(_ event: MediaFetched, _ record: EventRecord) -> LogPosition? {
        change(event.index, record) { item, isEarly in
            item.state = .fetched
            item.bytes = event.bytes
            item.isEarly = isEarly
        }
    }

    private mutating func failed(_ event: MediaFailed, _ record: EventRecord) -> LogPosition? {
        guard event.index < UInt64(MediaBook.filesMax) else { return nil }
        let isFinal = event.nextAttemptAt.nanoseconds == 0
        let settled = change(event.index, record) { item, _ in
            item.attempts += 1
            if isFinal { item.state = .failed }
        }
        if !isFinal { schedule.retry(MediaBook.job(record.message, Int(event.index)), at: event.nextAttemptAt) }
        return settled
    }

    /// - Returns: the message, if its deliveries waited for this alone.
    private mutating func change(
        _ index: UInt64,
        _ record: EventRecord,
        _ body: (inout Item, _ isEarly: Bool) -> Void
    ) -> LogPosition? {
        guard var row = rows[record.message], index < UInt64(row.items.count) else { return nil }
        var item = row.items[Int(index)]
        guard item.state == .pending else { return nil }
        item.record = record.position
        body(&item, row.isWaiting && record.time <= row.waitsUntil)
        row.items[Int(index)] = item
        rows[record.message] = row
        let job = MediaBook.job(record.message, Int(index))
        // A rebuild folds attempts that nobody picked: what was tried is not offered for that any more.
        if item.state == .pending { schedule.started(job) } else { schedule.remove(job) }
        schedule.capacityChanged()
        guard row.isWaiting, row.isSettled else { return nil }
        return settle(record.message)
    }

    private mutating func settle(_ message: LogPosition) -> LogPosition? {
        rows[message]?.isWaiting = false
        for event in rows[message]?.events ?? [] { waiting[event] = nil }
        rows[message]?.events = []
        return message
    }

    private func messages(of client: LogPosition) -> [LogPosition] {
        rows.filter { $0.value.client == client }.keys.sorted()
    }

    /// A purged message's files are not fetched, and nothing waits for them.
    private mutating func give(up messages: [LogPosition]) {
        for message in messages {
            guard let row = rows[message] else { continue }
            for index in row.items.indices { schedule.remove(MediaBook.job(message, index)) }
            _ = settle(message)
        }
    }

    /// Their files are gone.
    private mutating func forget(_ event: PurgeCompleted) {
        let clients = event.clients.values.flatMap { messages(of: $0) }
        let erased = event.conversations.values.flatMap { byConversation[$0] ?? [] }
        for message in event.messages.values + clients + erased {
            guard let conversation = rows.removeValue(forKey: message)?.conversation else { continue }
            byConversation[conversation]?.removeAll { $0 == message }
            if byConversation[conversation]?.isEmpty == true { byConversation[conversation] = nil }
        }
    }
}

extension MediaBook.Row {
    /// Whether the first delivery has all that it waits for: one attempt at each file, or, where files travel inside, what
    /// becomes of each.
    fileprivate var isSettled: Bool {
        items.allSatisfy { item in item.state != .pending || (!isInline && item.attempts > 0) }
    }
}
