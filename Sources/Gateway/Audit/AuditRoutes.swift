import Hummingbird
import Log

/// What auditors ask for; nothing here changes anything.
struct AuditRoutes: Sendable {
    let checkpointer: Checkpointer

    func add(to group: RouterGroup<GatewayContext>) {
        group.get("checkpoint") { _, _ in
            let (checkpoint, note) = try await checkpointer.sign()
            var response = Answer.text(.ok, "text/plain; charset=utf-8", note.encoded)
            if let name = Answer.position { response.headers[name] = String(checkpoint.size) }
            return response
        }
    }
}
