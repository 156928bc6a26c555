import HTTPTypes
import Hummingbird
import Log
import NIOCore
import Projections
import Synchronization

/// A client's backend: takes webhooks, checks their signature as the documentation tells clients to, shows what it got.
final class SandboxReceiver: Sendable {
    struct Received: Sendable {
        let type: String
        let attempt: String
        let isVerified: Bool
        let body: [UInt8]
    }

    /// In Inbound Body Purge a webhook holds the message's file.
    private static let bodyBytesMax = 8 << 20
    private static let keptBytesMax = 32 << 20

    private let received = Mutex<[Received]>([])
    private let secret = Mutex<[UInt8]>([])

    func use(secret: [UInt8]) { self.secret.withLock { $0 = secret } }

    func add(to router: Routes) {
        router.post("/receiver", query: .any) { try await self.receive($0, $1) }
        router.get("/sandbox/received") { _, _ in self.list() }
    }

    private func receive(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let body = try await request.bytes(limit: SandboxReceiver.bodyBytesMax)
        func header(_ name: String) -> String { HTTPField.Name(name).flatMap { request.headers[$0] } ?? "" }
        let verified = verify(
            body,
            id: header("webhook-id"),
            stamp: header("webhook-timestamp"),
            signature: header("webhook-signature")
        )
        let entry = Received(
            type: header("X-ChatGenius-Event"),
            attempt: header("X-ChatGenius-Attempt"),
            isVerified: verified,
            body: body
        )
        received.withLock { entries in
            entries = Array((entries + [entry]).suffix(200))
            while entries.reduce(0, { $0 + $1.body.count }) > SandboxReceiver.keptBytesMax { entries.removeFirst() }
        }
        return Answer.json(verified ? .ok : .unauthorized) { $0.bool("verified", verified) }
    }

    /// Standard Webhooks 1.0, from the receiving side.
    private func verify(_ body: [UInt8], id: String, stamp: String, signature: String) -> Bool {
        let key = secret.withLock { $0 }
        let expected = Crypto.hmacSHA256(key: key, message: [UInt8]("\(id).\(stamp).".utf8) + body)
        return signature.split(separator: " ").contains { part in
            guard part.hasPrefix("v1,"), let given = Base64.decode(String(part.dropFirst(3))) else { return false }
            return Crypto.equalConstantTime(given, expected)
        }
    }

    private func list() -> Response {
        let entries = received.withLock { $0 }
        return Answer.json { json in
            json.array("data") { json in
                for entry in entries.reversed() {
                    json.element { json in
                        json.object { json in
                            json.string("type", entry.type)
                            json.string("attempt", entry.attempt)
                            json.bool("signature_verified", entry.isVerified)
                            // A body that is not ours need not be JSON.
                            if entry.isVerified {
                                json.raw("event", entry.body)
                            } else {
                                json.string("event", String(decoding: entry.body, as: UTF8.self))
                            }
                        }
                    }
                }
            }
        }
    }
}
