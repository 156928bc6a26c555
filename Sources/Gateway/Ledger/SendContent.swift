import Log
import Projections

/// The sealed content of an outbound message, as the client asked for it.
struct SendContent: Sendable {
    var text = ""
    /// JSON object, or empty.
    var metadata: [UInt8] = []
    var idempotencyKey = ""

    var json: [UInt8] {
        JSONWriter.object { json in
            json.string("text", text)
            json.string("idempotency_key", idempotencyKey)
            if !metadata.isEmpty { json.string("metadata", String(decoding: metadata, as: UTF8.self)) }
        }
    }
}

extension Ledger {
    /// What events about a sent message need of it.
    func sentBody(_ message: LogPosition) throws -> SentBody {
        do {
            return SentBody(seal: .sameAs(try keyReference(at: message)), metadata: try sendContent(message).metadata)
        } catch let error as GatewayError where error == .purged {
            return SentBody(seal: .newKey(.message), metadata: [])
        }
    }

    /// The same for an outcome, which must be put on record although the message itself is damaged.
    func readableSentBody(_ message: LogPosition) -> SentBody {
        (try? sentBody(message)) ?? SentBody(seal: .newKey(.message), metadata: [])
    }

    func sendContent(_ message: LogPosition) throws -> SendContent {
        let fields = try JSONFields(try body(at: message, .content) ?? [])
        var content = SendContent()
        content.text = try fields.string("text") ?? ""
        content.idempotencyKey = try fields.string("idempotency_key") ?? ""
        content.metadata = [UInt8]((try fields.string("metadata") ?? "").utf8)
        return content
    }
}
