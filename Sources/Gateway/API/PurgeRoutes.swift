import Hummingbird
import Log
import Projections

/// Shreds bodies on a client's word: of one message, or of everything that was said with one customer.
struct PurgeRoutes: Sendable {
    /// How long an answer waits for the key to be gone; the purge goes on whether or not anybody waits.
    static let waitMax = Duration.seconds(10)
    let ledger: Ledger

    func add(to group: Routes) {
        group.post("messages/:id/purge") { try await purge($0, $1) }
        group.post("conversations/:id/erase") { try await erase($0, $1) }
    }

    private func purge(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        try (try await request.optionalFields()).allow([])
        guard let message = ledger.ids.decode(.message, try context.parameter("id")) else {
            throw GatewayError(.notFound, "there is no such message")
        }
        let committed = try await ledger.commit(edge: false) { [ids = ledger.ids] state, context in
            let events = try state.decidePurge(message, client: client.id, reason: "client", ids: ids, context)
            return (events, ())
        }
        let isDone = try await isCompleted(try context.waitingCaller(hasActed: true)) { state in
            let row = state.inbox.messages[message]
            return state.purges.entry(
                client: client.id,
                conversation: row?.conversation ?? .zero,
                message: message
            )
        }
        return Answer.json(isDone ? .ok : .accepted, position: committed.position) { json in
            json.string("message_id", ledger.ids.encode(.message, message))
            json.bool("purged", isDone)
        }
    }

    private func erase(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        try (try await request.optionalFields()).allow([])
        guard let conversation = ledger.ids.decode(.conversation, try context.parameter("id")) else {
            throw GatewayError(.notFound, "there is no such conversation")
        }
        let committed = try await ledger.commit(edge: false) { [ids = ledger.ids] state, context in
            (try state.decideErase(conversation, client: client.id, ids: ids, context), ())
        }
        // It is gone once all that was joined is.
        let isDone = try await isCompleted(try context.waitingCaller(hasActed: true)) { state in
            let entries = state.inbox.family(of: conversation).map { state.purges.entries[.conversation($0)] }
            return entries.first { ($0?.completed ?? .zero) == .zero } ?? entries.first ?? nil
        }
        return Answer.json(isDone ? .ok : .accepted, position: committed.position) { json in
            json.string("conversation_id", ledger.ids.encode(.conversation, conversation))
            json.string("status", ConversationStatus.erased.name)
            json.bool("erased", isDone)
        }
    }

    /// Waits until the keys are gone, for most callers want to know that and not that it will be so.
    private func isCompleted(
        _ caller: WaitingCaller,
        _ entry: (borrowing LogState) -> PurgeBook.Entry?
    ) async throws -> Bool {
        try await ledger.wait(
            for: .purges,
            caller,
            atMost: PurgeRoutes.waitMax,
            { state in (entry(state)?.completed ?? .zero) != .zero },
            until: { $0 }
        )
    }
}
