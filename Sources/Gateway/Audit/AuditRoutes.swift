import Hummingbird
import Log
import NIOCore
import Projections

/// What auditors ask for; nothing here changes anything.
struct AuditRoutes: Sendable {
    let ledger: Ledger
    let checkpointer: Checkpointer
    /// Whether anybody may ask, so that any cache may keep what was answered.
    let isPublic: Bool

    func addReceipts(to group: Routes) {
        group.get("receipts/:id") { try await receipt($0, $1) }
    }

    /// Checkpoint and tiles, which anybody may see where the operator says so.
    func addTree(to group: Routes) {
        group.get("checkpoint") { _, _ in
            let signed = try await checkpointer.sign()
            var response = Answer.text(.ok, "text/plain; charset=utf-8", signed.note.encoded)
            if let name = Answer.position { response.headers[name] = String(signed.checkpoint.size) }
            response.headers[.cacheControl] = "no-store"
            return response
        }
        group.get("tile/**") { request, _ in
            guard let path = AuditRoutes.tilePath(request.uri.path) else {
                throw GatewayError(.notFound, "there is no such tile; C2SP tlog-tiles says how they are named")
            }
            guard let bytes = try checkpointer.tile(path) else {
                throw GatewayError(.notFound, "the log is not long enough for this tile yet")
            }
            return answer(bytes)
        }
    }

    private func receipt(_ request: Request, _ context: GatewayContext) async throws -> Response {
        guard let message = ledger.ids.decode(.message, try context.parameter("id")) else {
            throw GatewayError(.notFound, "there is no such message")
        }
        let receipt = try await ledger.read { try PurgeReceipt(of: message, $0) }
        // Signed after the purge was seen, so that it covers it.
        let signed = try await checkpointer.sign()
        let source = PurgeReceipt.Source(
            reader: ledger.log.reader,
            tiles: checkpointer.tiles,
            ids: ledger.ids,
            checkpoint: signed.note.encoded,
            verifierKey: signed.verifierKey
        )
        return Answer.json(.ok, bytes: try receipt.json(source))
    }

    /// What follows `tile/` in the path of a request.
    private static func tilePath(_ path: String) -> TilePath? {
        path.firstRange(of: "/tile/").flatMap { TilePath(path[$0.upperBound...]) }
    }

    /// What a tile holds never changes, be it a partial one.
    private func answer(_ bytes: [UInt8]) -> Response {
        let who = isPublic ? "public" : "private"
        return Response(
            status: .ok,
            headers: [
                .contentType: "application/octet-stream", .cacheControl: "\(who), max-age=31536000, immutable",
            ],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes))
        )
    }
}
