import Log
import Logging
import Projections
import ServiceLifecycle

/// Carries out purges: asks for those whose time has come, destroys the keys of what was asked for, and puts on record
/// that it is done. Whatever is interrupted is still pending in the state, and is done again after a restart.
package struct PurgeService: Service {
    /// How many subjects one change of the key state takes together.
    static let batchMax = 4096

    let ledger: Ledger
    let metrics: GatewayMetrics
    let logger: Logger

    package func run() async throws {
        let changes = ledger.changes(for: .purges)
        for await _ in changes.cancelOnGracefulShutdown() {
            do {
                while try await step() {}
            } catch {
                // What could not be done stays pending; the clock comes back to it.
                logger.error("a purge could not be carried out", metadata: ["error": "\(error)"])
            }
        }
    }

    /// False when there is nothing left to do.
    private func step() async throws -> Bool {
        let hasRequested = try await requestOverdue()
        let hasDestroyed = try await destroyDue()
        return hasRequested || hasDestroyed
    }

    /// Asks for the purge of messages that had their one attempt, or whose time is over.
    private func requestOverdue() async throws -> Bool {
        let overdue = ledger.plan { $0.purges.watches.overdue(ledger.now, limit: 256) }
        if overdue.isEmpty { return false }
        _ = try await ledger.commit(edge: false) { [ids = ledger.ids] state, context in
            var events: [NewEvent] = []
            for message in overdue {
                guard let client = state.inbox.messages[message]?.client else { continue }
                events += try state.decidePurge(
                    message,
                    client: client,
                    reason: "inbound_body_purge",
                    ids: ids,
                    context
                )
            }
            return (events, ())
        }
        return true
    }

    private func destroyDue() async throws -> Bool {
        let due = ledger.plan { $0.purges.due(ledger.now, limit: PurgeService.batchMax) }
        if due.isEmpty { return false }
        // Readers refuse from the request on, so it must be on disk before anything is gone.
        try await ledger.log.waitUntilDurable(ledger.head)
        let records = ledger.plan { state in due.map { $0.records(in: state.inbox) } }
        let targets = try zip(due, records).flatMap { try $0.targets($1, ledger.log.reader) }
        let generations = try await ledger.destroyKeys(targets)
        ledger.forget(due)
        try await ledger.commitOutcome { state, _ in
            PurgeService.completion(of: due.filter { state.purges.pending[$0] != nil }, generations, state)
        }
        metrics.count("waybill_purges_total", by: due.count)
        return true
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
