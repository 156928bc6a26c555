import Log
package import Logging
import Projections
import ServiceLifecycle

/// Carries out purges: asks for those whose time has come, destroys the keys of what was asked for, and puts on record
/// that it is done. Whatever is interrupted is still pending in the state, and is done again after a restart.
package struct PurgeService: Service {
    /// How many subjects one change of the key state takes together.
    static let batchMax = 4096
    /// Seconds until what could not be purged is tried again.
    static let pause: UInt64 = 60
    /// Seconds until what could not be opened for a lack on this host is tried again.
    static let lackPause: UInt64 = 1
    /// How long nothing is tried after a failure.
    static let breath = Duration.milliseconds(500)

    let ledger: Ledger
    let shelf: MediaShelf
    let metrics: GatewayMetrics
    let logger: Logger

    package init(ledger: Ledger, shelf: MediaShelf, metrics: GatewayMetrics, logger: Logger) {
        self.ledger = ledger
        self.shelf = shelf
        self.metrics = metrics
        self.logger = logger
    }

    package func run() async throws {
        // Purges of records that cannot be read, so that nobody knows their keys, and of files that cannot be unlinked; and when
        // they are tried again.
        var unfinished: [PurgeBook.Subject: Timestamp] = [:]
        let changes = ledger.changes(for: .purges)
        for await _ in changes.cancelOnGracefulShutdown() {
            while await attempt(requestOverdue) {}
            while await attempt({ try await destroyDue(&unfinished) }) {}
        }
    }

    /// False when there is nothing left to do, or it cannot be done now: then it stays pending, and the clock comes back to it.
    private func attempt(_ step: () async throws -> Bool) async -> Bool {
        do {
            return try await step()
        } catch {
            logger.error("a purge could not be carried out", metadata: ["error": "\(error)"])
            // The clock comes back many times a second, which would only fill the process log.
            try? await Task.sleep(for: PurgeService.breath)
            return false
        }
    }

    /// Asks for the purge of messages that had their one attempt, or whose time is over.
    private func requestOverdue() async throws -> Bool {
        let overdue = ledger.plan { $0.purges.watches.overdue(ledger.now, limit: 256) }
        if overdue.isEmpty { return false }
        let committed = try await ledger.commit(edge: false) { [ids = ledger.ids] state, context in
            var events: [NewEvent] = []
            // Whoever has the mode on must be able to see that something was lost to it.
            var neglected: [Neglected: Int] = [:]
            for message in overdue {
                guard let client = state.inbox.messages[message]?.client else { continue }
                let purge = try state.decidePurge(
                    message,
                    client: client,
                    reason: LogState.purgeByMode,
                    ids: ids,
                    context
                )
                events += purge
                guard case .purgeRequested(let event) = purge.first?.event, !event.undelivered.isEmpty else { continue }
                neglected[Neglected(client: client, reason: event.undelivered), default: 0] += 1
            }
            return (events, (hasProgress: !events.isEmpty, neglected: neglected))
        }
        tell(committed.value.neglected)
        // Without progress, asking again at once would never end.
        return committed.value.hasProgress
    }

    /// Messages of one client that had no attempt for one reason.
    private struct Neglected: Hashable {
        let client: LogPosition
        let reason: String
    }

    private func tell(_ neglected: [Neglected: Int]) {
        for (kind, count) in neglected {
            metrics.count("waybill_purges_undelivered_total{reason=\"\(kind.reason)\"}", by: count)
            logger.warning(
                "bodies were purged before the endpoint had an attempt; there are dead letters without them",
                metadata: [
                    "client": "\(ledger.ids.encode(.client, kind.client))", "reason": "\(kind.reason)",
                    "messages": "\(count)",
                ]
            )
        }
    }

    private func destroyDue(_ unfinished: inout [PurgeBook.Subject: Timestamp]) async throws -> Bool {
        let found = ledger.plan { $0.purges.due(ledger.now, limit: PurgeService.batchMax + unfinished.count) }
        let (now, later) = (ledger.now, ledger.now.advanced(bySeconds: PurgeService.pause))
        let due = found.filter { subject in unfinished[subject].map { $0 <= now } ?? true }
        if due.isEmpty { return false }
        // Readers refuse from the request on, so it must be on disk before anything is gone.
        try await ledger.log.waitUntilDurable(ledger.head)
        let records = ledger.plan { state in due.map { $0.records(in: state.inbox) } }
        var targets: [KeyStore.Target] = []
        var readable: [PurgeBook.Subject] = []
        var lack: LogError?
        for (subject, records) in zip(due, records) {
            do {
                targets += try subject.targets(records, ledger.log.reader)
                readable.append(subject)
            } catch let error as LogError where error.isTransient {
                // Nothing is wrong with it, but it may be this file alone that cannot be opened: the others must not wait for it.
                lack = error
                unfinished[subject] = now.advanced(bySeconds: PurgeService.lackPause)
            } catch {
                logger.critical("a key cannot be destroyed, for its record is damaged", metadata: ["error": "\(error)"])
                unfinished[subject] = later
            }
        }
        if let lack {
            logger.error("records of what is to be purged cannot be opened now", metadata: ["error": "\(lack)"])
        }
        if readable.isEmpty { return true }
        let generations = try await ledger.destroyKeys(targets)
        ledger.forget(readable)
        let stuck = await removeFiles(of: readable)
        for subject in readable { unfinished[subject] = stuck.contains(subject) ? later : nil }
        let done = readable.filter { !stuck.contains($0) }
        try await ledger.commitOutcome { state, _ in
            PurgeService.completion(of: done.filter { state.purges.pending[$0] != nil }, generations, state)
        }
        metrics.count("waybill_purges_total", by: done.count)
        return true
    }

    /// Ends what uses the files of these, and unlinks them.
    ///
    /// - Returns: those of which a file could not be unlinked. They must not keep the others.
    private func removeFiles(of subjects: [PurgeBook.Subject]) async -> Set<PurgeBook.Subject> {
        var stuck: Set<PurgeBook.Subject> = []
        let found = ledger.plan { state in
            subjects.map { subject in
                let messages = state.media.messages(of: subject)
                return Dictionary(messages.map { ($0, state.media.rows[$0]?.items.count ?? 0) }) { first, _ in first }
            }
        }
        for (subject, files) in zip(subjects, found) where !files.isEmpty {
            await shelf.uses.end(Array(files.keys))
            do {
                try await DiskWork.run { [shelf] in try shelf.remove(files) }
            } catch {
                logger.critical("a purged file cannot be unlinked; its key is gone", metadata: ["error": "\(error)"])
                stuck.insert(subject)
            }
        }
        return stuck
    }

    private static func completion(
        of subjects: [PurgeBook.Subject],
        _ generations: (before: UInt64, after: UInt64),
        _ state: LogState
    ) -> [NewEvent] {
        var event = PurgeCompleted()
        event.rootGenerationBefore = generations.before
        event.rootGenerationAfter = generations.after
        var events: [NewEvent] = []
        for subject in subjects {
            switch subject {
            case .message(let message): event.messages.values.append(message)
            case .client(let client): event.clients.values.append(client)
            case .secret(let secret): event.secrets.values.append(secret)
            case .conversation(let id):
                event.conversations.values.append(id)
                guard let row = state.inbox.conversations[id] else { continue }
                var erased = ConversationErased()
                erased.customer = row.customer
                erased.rootGeneration = generations.after
                events.append(NewEvent(.conversationErased(erased), client: row.client, conversation: id))
            }
        }
        return subjects.isEmpty ? [] : events + [NewEvent(.purgeCompleted(event))]
    }
}

extension Ledger {
    /// Lets go of opened secrets that are destroyed.
    fileprivate func forget(_ subjects: [PurgeBook.Subject]) {
        for subject in subjects {
            switch subject {
            case .secret(let record): secrets.remove(record)
            case .client: secrets.removeAll()
            case .message, .conversation: break
            }
        }
    }
}
