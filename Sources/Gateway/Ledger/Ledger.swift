package import Log
package import Projections
import Synchronization

/// The one writer: turns commands into events, in one order, and lets outsiders see only what is on disk.
///
/// `state` is the speculative head: a decision is folded in at once, so that two requests with one idempotency key cannot
/// both win while a sync is running. Readers see the durable head, because every read first waits until the position it
/// saw is durable. When the log fails, what was folded but not stored is never shown: reads fail from then on.
///
/// Lock order: `state`, then the log's own lock, the clock's, `access`, `planners` or the planner's memory (`InlineMemory`). Those of
/// `readers` and `waiters` are taken under no other one.
package final class Ledger: Sendable {
    package let log: EventLog
    package let keys: KeyStore
    package let ids: OpaqueID
    private let routeKey: [UInt8]
    package let isSandbox: Bool
    private let state: Mutex<LogState>
    /// Who may come in, as of the last change to that. Apart from `state`, so that a request need not wait for a running
    /// decision only to be recognised.
    private let access: Mutex<Access>
    package let clock: GuardedClock
    /// Planners to wake; one signal that waits stands for all.
    private let planners = Mutex<[Planner: AsyncStream<Void>.Continuation]>([:])
    let secrets = SecretCache()
    /// Who reads lists.
    let readers = Readers()
    package let waiters = Waiters()

    /// Who plans work from the state.
    enum Planner: Hashable, CaseIterable {
        case deliveries
        case sends
        case purges
        case media
    }

    /// The part of the state that says who is who.
    struct Access: Sendable {
        let clients: ClientDirectory
        let tokens: TokenRegistry
        /// A clock that was set back must not make an ended key valid again.
        let time: Timestamp

        init(_ state: borrowing LogState) {
            clients = state.clients
            tokens = state.tokens
            time = state.time
        }
    }

    package struct Committed<Value: Sendable>: Sendable {
        package let value: Value
        /// The last record of the commit, or the head when nothing was written.
        package let position: LogPosition
        package let time: Timestamp
    }

    package init(
        log: EventLog,
        keys: KeyStore,
        state: LogState,
        isSandbox: Bool = false,
        clock: GuardedClock = GuardedClock()
    ) {
        self.log = log
        self.keys = keys
        self.isSandbox = isSandbox
        self.clock = clock
        ids = state.ids
        routeKey = Crypto.hmacSHA256(key: state.idKey, message: [UInt8]("waybill route key".utf8))
        access = Mutex(Access(state))
        self.state = Mutex(state)
    }

    /// The log's hash of an account at a provider, by which inbound traffic finds its client. It hides nothing from whoever has
    /// the log, which begins with its key; accounts are no secrets.
    func route(_ platform: Platform, _ account: String) -> LookupHash {
        let message = [UInt8](MetaName.account(platform, account).utf8)
        return LookupHash(Crypto.hmacSHA256(key: routeKey, message: message)) ?? .absent
    }

    /// The time by which everything is dated, compared and waited for; see `GuardedClock`.
    package var now: Timestamp { Timestamp(clock.now) }

    /// What others compare with their own clocks; see `GuardedClock.wall`.
    var wall: Timestamp { Timestamp(clock.wall) }

    // MARK: Write

    /// Decides, appends and waits until it is on disk.
    ///
    /// - Parameter edge: true for what outsiders ask, which is refused first when the disk fills up.
    package func commit<Value: Sendable>(
        edge: Bool = true,
        _ decide: (inout LogState, DecisionContext) throws -> ([NewEvent], Value)
    ) async throws -> Committed<Value> {
        let committed = try append(edge: edge, flush: .byWaiter, decide)
        try await log.waitUntilDurable(committed.position)
        return committed
    }

    /// Decides and appends; the caller waits for durability itself before anything leaves.
    package func append<Value: Sendable>(
        edge: Bool = true,
        flush: EventLog.Flush = .byWriter,
        _ decide: (inout LogState, DecisionContext) throws -> ([NewEvent], Value)
    ) throws -> Committed<Value> {
        if edge { try log.admitEdge() }
        let (committed, reservation, records) = try state.withLock { state in
            let now = max(self.now, state.time.advanced(byNanoseconds: 1))
            let context = DecisionContext(now: now, next: state.position.next)
            let (events, value) = try decide(&state, context)
            guard !events.isEmpty else {
                let head = Committed(value: value, position: state.position, time: state.time)
                return (head, Reservation?.none, [EventRecord]())
            }
            let (drafts, records) = try draft(events, context)
            let reservation = try log.reserve(drafts, expecting: context.next, time: now.nanoseconds, flush: flush)
            for record in records { state.apply(record) }
            if records.contains(where: \.event.type.changesAccess) { access.withLock { $0 = Access(state) } }
            wakePlanners(&state)
            return (Committed(value: value, position: state.position, time: state.time), reservation, records)
        }
        // What takes longest, sealing, needs the position and none of the state: others decide meanwhile.
        reservation?.fill()
        // Whoever looks again waits until it is durable.
        waiters.signal(records)
        return committed
    }

    /// Commits what came of something that has already happened outside. It must not be lost because the disk is full or
    /// the log busy for a while, so it waits and tries again; only a failed or closing log makes it give up.
    package func commitOutcome(
        _ decide: (inout LogState, DecisionContext) throws -> [NewEvent]
    ) async throws {
        while true {
            do {
                _ = try await commit(edge: false) { state, context in (try decide(&state, context), ()) }
                return
            } catch let error as LogError
                where error.code == .diskFull || error.code == .overloaded || error.isTransient
            {
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    /// Gives each event its position, time and key.
    private func draft(_ events: [NewEvent], _ context: DecisionContext) throws -> ([RecordDraft], [EventRecord]) {
        let hasBodies = events.contains { !$0.bodies.isEmpty }
        defer { if hasBodies { Crypto.eraseStack() } }
        var drafts: [RecordDraft] = []
        var records: [EventRecord] = []
        var references: [KeyReference?] = []
        for (index, event) in events.enumerated() {
            let position = context.next.advanced(by: index)
            var draft = RecordDraft(
                type: event.event.type.rawValue,
                client: event.client,
                conversation: event.conversation,
                message: event.message,
                subject: event.subject,
                payload: event.event.encodedPayload
            )
            var reference: KeyReference?
            if !event.bodies.isEmpty {
                let (found, key) = try key(for: event, at: index, references)
                reference = found
                draft.section = .unsealed(UnsealedSection(event.bodies, reference: found, leaf: key))
            }
            references.append(reference)
            drafts.append(draft)
            var record = EventRecord(
                event.event,
                position: position,
                time: context.now.advanced(byNanoseconds: UInt64(index)),
                client: event.client,
                conversation: event.conversation,
                message: event.message,
                subject: event.subject
            )
            record.keyEpoch = reference?.epoch ?? 0
            records.append(record)
        }
        return (drafts, records)
    }

    private func key(
        for event: NewEvent,
        at index: Int,
        _ references: [KeyReference?]
    ) throws -> (KeyReference, LeafKey) {
        let reference: KeyReference?
        switch event.seal {
        case .newKey(let keyClass): return try keys.issue(client: event.client, keyClass)
        case .sameAs(let known): reference = known
        case .sameAsBatch(let back): reference = references[index - back]
        }
        guard let reference, let key = try keys.find(reference) else { throw GatewayError.purged }
        return (reference, key)
    }

    // MARK: Read

    /// Reads the durable state: what the closure saw is on disk when this returns.
    package func read<Value: Sendable>(_ body: (borrowing LogState) throws -> Value) async throws -> Value {
        let (value, position) = try state.withLock { state in (try body(state), state.position) }
        try await log.waitUntilDurable(position)
        return value
    }

    /// The head, durable or not; for planning, whose every step waits for durability itself, and for questions whose answer
    /// nobody can have caused before it was durable: a new key is told to its owner only then.
    func plan<Value: Sendable>(_ body: (inout LogState) -> Value) -> Value { state.withLock { body(&$0) } }

    /// What authentication asks, durable or not, as `plan`.
    func recognize<Value: Sendable>(_ body: (borrowing Access) -> Value) -> Value { access.withLock { body($0) } }

    package var head: LogPosition { state.withLock { $0.position } }

    // MARK: Tell

    /// A signal whenever there may be something to start; signals that come while the planner works are one signal.
    func changes(for planner: Planner) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        planners.withLock { $0[planner] = continuation }
        continuation.yield()
        return stream
    }

    /// Wakes a planner, also when only time has passed.
    func wake(_ planner: Planner) { planners.withLock { $0[planner] }?.yield() }

    private func wakePlanners(_ state: inout LogState) {
        if state.deliveries.schedule.takeNeedsPlanning() { wake(.deliveries) }
        if state.sends.schedule.takeNeedsPlanning() { wake(.sends) }
        if state.purges.takeNeedsPlanning() { wake(.purges) }
        if state.media.schedule.takeNeedsPlanning() { wake(.media) }
    }

    func stopPlanners() {
        for planner in planners.withLock({ Array($0.values) }) { planner.finish() }
    }
}
