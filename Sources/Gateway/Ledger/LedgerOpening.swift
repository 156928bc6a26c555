package import Log
package import Projections

extension Ledger {
    /// Opens log and keys, folds the history, and puts on record what a crash left open.
    ///
    /// After this nothing is in flight: webhooks that were under way are due again (at least once), sends that were under
    /// way are `outcome_unknown` (at most once).
    ///
    /// - Parameters:
    ///   - restored: what a restore, whose last step this is, puts on record.
    ///   - salvaged: likewise for a salvage.
    ///   - lock: the writer's lock, when the caller has it already.
    ///   - clock: goes on from where the history ends.
    package static func open(
        directory: String,
        root: any RootKeyHolder,
        configuration: LogConfiguration,
        version: String,
        isSandbox: Bool,
        restored: LogRestored? = nil,
        salvaged: LogSalvaged? = nil,
        lock: DirectoryLock? = nil,
        clock: GuardedClock = GuardedClock(),
        alarm: @escaping @Sendable (LogError) -> Void = { _ in }
    ) async throws -> Ledger {
        let storage = PosixStorage()
        if restored == nil { try RestoreMarker.refuse(in: directory, storage: storage) }
        let opening = try LogOpening(
            directory: directory,
            configuration: configuration,
            storage: storage,
            now: clock.reader,
            lock: lock,
            alarm: alarm
        )
        // Again, for a restore may have begun, and ended in the middle, before the lock was ours.
        if restored == nil { try RestoreMarker.refuse(in: directory, storage: storage) }
        // Before anything is written: a history that cannot be read refuses the start, which may be tried again and again.
        var state = LogState()
        try state.catchUp(opening.reader, through: opening.reader.end)
        clock.resume(after: state.clock, last: state.time.nanoseconds)
        let log = try opening.finish()
        do {
            let keys = try KeyStore.open(
                directory: directory,
                root: root,
                logIsEmpty: log.durable == .zero,
                age: KeyStore.Age(generation: state.rootGeneration, epoch: UInt32(clamping: state.keyEpoch)),
                storage: storage
            )
            if log.durable == .zero { try await begin(log, &state) }
            var ledger = Ledger(log: log, keys: keys, state: state, isSandbox: isSandbox, clock: clock)
            try await ledger.recordStart(version: version)
            if let restored {
                try await ledger.record(restored)
            }
            if let salvaged { try await ledger.record(salvaged) }
            if restored != nil || salvaged != nil {
                // Ids are others from here on.
                ledger = Ledger(log: log, keys: keys, state: ledger.plan { $0 }, isSandbox: isSandbox, clock: clock)
            }
            try await ledger.settleInterrupted()
            return ledger
        } catch {
            log.close()
            throw error
        }
    }

    /// Gives an empty log the record that holds its id key.
    private static func begin(_ log: EventLog, _ state: inout LogState) async throws {
        var created = LogCreated()
        created.formatVersion = 1
        created.idKey = RawBytes(Crypto.randomBytes(32))
        let draft = RecordDraft(type: EventType.logCreated.rawValue, payload: created.encoded)
        try await log.waitUntilDurable(try log.append([draft], expecting: LogPosition(1)))
        try state.catchUp(log.reader, through: log.durable)
    }

    private func recordStart(version: String) async throws {
        var started = ProcessStarted()
        started.version = version
        started.keyEpoch = UInt64(keys.epoch)
        started.sandbox = isSandbox
        let tails = log.recovery.discarded
        // What the wall clock did since the process before ended is found by the clock as it resumes.
        let jumps = clock.takeJumps()
        _ = try await commit(edge: false) { [clock] _, _ in
            let mark = clock.mark
            started.show(mark)
            let first = [NewEvent(.processStarted(started))] + Ledger.events(jumps, mark)
            return (first + tails.map(Ledger.discarded), ())
        }
        for tail in tails { try log.acknowledgeDiscarded(tail) }
        // A crash may have come between a new root key and its record.
        try await recordRootKey(keys.generation)
    }

    /// What waited for a provider when the backup was made may have gone out since: it counts as begun, and so as interrupted.
    private func record(_ restored: LogRestored) async throws {
        _ = try await commit(edge: false) { state, _ in
            let waiting = restored.logId.bytes.isEmpty ? [] : state.sends.waiting(in: nil)
            return ([NewEvent(.logRestored(restored))] + Ledger.starts(waiting), ())
        }
    }

    /// The record that a call began, or that it ended, may be among those that are lost: what was accepted before the last of
    /// them counts as begun too.
    private func record(_ salvaged: LogSalvaged) async throws {
        _ = try await commit(edge: false) { state, _ in
            var salvaged = salvaged
            if !state.identity.isEmpty { salvaged.logIdBefore = RawBytes(state.identity) }
            let isCut = salvaged.checkpointSize > salvaged.through.rawValue
            let waiting = state.sends.waiting(in: nil).filter { isCut || $0 < salvaged.lastLost }
            return ([NewEvent(.logSalvaged(salvaged))] + Ledger.starts(waiting), ())
        }
    }

    private static func starts(_ waiting: [LogPosition]) -> [NewEvent] {
        stride(from: 0, to: waiting.count, by: startsMax).map { first in
            var started = SendStarted()
            started.messages.values = Array(waiting[first..<min(first + startsMax, waiting.count)])
            return NewEvent(.sendStarted(started))
        }
    }

    /// How many messages one record names, so that it stays far below the size a record may have.
    private static let startsMax = 10_000

    private static func discarded(_ tail: RecoveryReport.DiscardedTail) -> NewEvent {
        var event = TailDiscarded()
        event.name = tail.name
        event.segment = tail.segment
        event.offset = UInt64(tail.offset)
        event.bytes = UInt64(tail.bytes)
        return NewEvent(.tailDiscarded(event))
    }

    private func settleInterrupted() async throws {
        let (deliveries, sends) = plan { ($0.deliveries.inFlight, $0.sends.inFlight) }
        for delivery in deliveries {
            let event = plan { $0.deliveries.rows[delivery]?.event } ?? delivery
            let reference = readableKeyReference(at: event)
            _ = try await commit(edge: false) { state, context in
                let started = state.deliveries.rows[delivery]?.startedAt ?? context.now
                let result = DeliveryResult(.interrupted, error: "interrupted", startedAt: started)
                return (state.decide(result, for: delivery, seal: reference, context), ())
            }
        }
        for message in sends {
            let body = readableSentBody(message)
            _ = try await commit(edge: false) { [ids] state, context in
                let started = state.sends.rows[message]?.startedAt ?? context.now
                let result = SendResult(.unknown, code: "interrupted", startedAt: started)
                return (state.decide(result, for: message, body, ids: ids, context), ())
            }
        }
    }

    /// Puts the end of the process on record.
    package func recordStop(reason: String) async {
        var stopped = ProcessStopped()
        stopped.reason = reason
        // A log that has failed cannot take the record; there is nobody left to tell, and recovery will see it.
        _ = try? await commit(edge: false) { [clock] _, _ in
            stopped.show(clock.mark)
            return ([NewEvent(.processStopped(stopped))], ())
        }
    }

    package func close(reason: String) async {
        await recordStop(reason: reason)
        close()
    }

    /// Ends planning and closes the log.
    package func close() {
        stopPlanners()
        log.close()
    }
}
