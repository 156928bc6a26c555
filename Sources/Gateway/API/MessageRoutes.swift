import HTTPTypes
import Hummingbird
import Log
import Projections

/// The unified inbox: messages and conversations of the client that asks.
struct MessageRoutes: Sendable {
    let ledger: Ledger

    func add(to group: Routes) {
        group.get("messages/:id") { try await get($0, $1) }
        group.post("messages/:id/cancel") { try await cancel($0, $1) }
        group.get("conversations", query: ConversationFilter.parameters) { try await conversations($0, $1) }
        group.get("conversations/:id") { try await conversation($0, $1) }
        group.patch("conversations/:id") { try await update($0, $1) }
        group.get("conversations/:id/messages", query: Paging.parameters) { try await messages($0, $1) }
    }

    private func position(_ kind: OpaqueID.Kind, _ context: GatewayContext) throws -> LogPosition {
        guard let position = ledger.ids.decode(kind, try context.parameter("id")) else {
            // As of one that belongs to somebody else.
            throw MessageRoutes.missing(kind)
        }
        return position
    }

    private static func missing(_ kind: OpaqueID.Kind) -> GatewayError {
        GatewayError(.notFound, "there is no such \(kind == .message ? "message" : "conversation")")
    }

    private func get(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        let client = try context.requireClient()
        let message = try position(.message, context)
        let row = try await ledger.read { $0.inbox.messages[message] }
        guard let row, row.client == client.id else { throw MessageRoutes.missing(.message) }
        let view = try MessageView(message, row, ledger)
        return Answer.json { view.write(&$0, ledger) }
    }

    private func cancel(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        let message = try position(.message, context)
        // Whose message it is comes first: nobody learns from another's whether it can be read.
        guard try await ledger.read({ $0.inbox.messages[message]?.client }) == client.id else {
            throw MessageRoutes.missing(.message)
        }
        let body = try ledger.sentBody(message)
        let committed = try await ledger.commit { [ids = ledger.ids] state, context in
            (try state.decideCancel(message, client: client.id, by: "client", body, ids: ids, context), ())
        }
        return Answer.json(position: committed.position) { json in
            json.string("message_id", ledger.ids.encode(.message, message))
            json.string("status", MessageStatus.canceled.name)
        }
    }

    private func conversations(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        let client = try context.requireClient()
        let paging = try Paging(request, .conversation, ledger.ids)
        let filter = try ConversationFilter(request, client.id, ledger)
        return try await ledger.readers.run(client.id) {
            // One that was joined into another is shown as that.
            let page = try await ledger.page(paging, { $0.inbox.conversationsByClient[client.id] ?? [] }) { id, state in
                !state.inbox.isJoined(id) && state.inbox.conversations[id].map(filter.matches) ?? false
            }
            let rows = try await ledger.rows(of: page) { $0.inbox.conversations[$1] }
            return try await paging.answer(page, .conversation, ledger.ids) { id in
                let view = try ConversationView(id, rows[id], ledger)
                return JSONWriter.object { view.write(&$0, ledger) }
            }
        }
    }

    private func conversation(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        let id = try position(.conversation, context)
        let row = try await owned(id, context)
        let view = try ConversationView(id, row, ledger)
        return Answer.json { view.write(&$0, ledger) }
    }

    private func owned(_ id: LogPosition, _ context: GatewayContext) async throws -> Inbox.ConversationRow {
        let client = try context.requireClient()
        let row = try await ledger.read { $0.inbox.current(id) }
        guard let row, row.client == client.id else { throw MessageRoutes.missing(.conversation) }
        return row
    }

    private func update(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let id = try position(.conversation, context)
        _ = try await owned(id, context)
        let fields = try await request.fields()
        try fields.allow(["ticket_ref", "status"])
        let ticket = try fields.string("ticket_ref")
        if let ticket, ticket.utf8.count > 128 { throw fields.wrong("ticket_ref", "at most 128 bytes long") }
        let status = try fields.string("status").map { name in
            guard let status = ConversationStatus(name: name), status != .erased else {
                throw fields.wrong("status", "open or closed")
            }
            return status
        }
        let committed = try await ledger.commit { state, _ in
            guard let row = state.inbox.current(id) else { return ([], ()) }
            if row.status == .erased { throw Refusal(.conversationErased, "the conversation was erased") }
            var event = ConversationUpdated()
            event.status = status ?? row.status
            event.ticketRef = ticket ?? row.ticketRef
            return ([NewEvent(.conversationUpdated(event), client: row.client, conversation: row.id)], ())
        }
        let view = try ConversationView(id, try await owned(id, context), ledger)
        return Answer.json(position: committed.position) { view.write(&$0, ledger) }
    }

    private func messages(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        let row = try await owned(try position(.conversation, context), context)
        let paging = try Paging(request, .message, ledger.ids)
        return try await ledger.readers.run(row.client) {
            let page = try await ledger.page(paging, { _ in row.messages })
            let rows = try await ledger.rows(of: page) { $0.inbox.messages[$1] }
            return try await paging.answer(page, .message, ledger.ids) { id in
                let view = try rows[id].map { try MessageView(id, $0, ledger) }
                return JSONWriter.object { view?.write(&$0, ledger) }
            }
        }
    }
}

extension Ledger {
    /// `Waybill-Min-Position`: a read sees at least what the caller's own write made.
    func reach(_ request: Request) async throws {
        guard let text = Answer.minPosition.flatMap({ request.headers[$0] }) else { return }
        guard let wanted = UInt64(text) else {
            throw GatewayError(
                .invalidRequest,
                "Waybill-Min-Position must be a position",
                field: "Waybill-Min-Position"
            )
        }
        guard LogPosition(wanted) <= head else {
            throw GatewayError(.positionNotReached, "the log is at position \(head)", retryAfter: 1)
        }
    }
}
