import Log
import Projections

/// The two signatures of a webhook: our own and Standard Webhooks 1.0, over the same body with the same secrets.
package enum WebhookSignature {
    static let secretPrefix = "whsec_"

    /// How a secret is shown, once: `whsec_` and Base64 of its 32 bytes. The bytes are the key of both signatures.
    package static func show(_ secret: [UInt8]) -> String { secretPrefix + Base64.encode(secret) }

    /// - Parameter secrets: every valid one, newest first; while rotating there are two.
    package static func headers(
        body: [UInt8],
        id: String,
        seconds: UInt64,
        secrets: [[UInt8]],
        prefix: String
    ) -> [(name: String, value: String)] {
        let stamp = String(seconds)
        let ours = secrets.map { secret in
            "v1=" + Hex.encode(Crypto.hmacSHA256(key: secret, message: [UInt8]("\(stamp).".utf8) + body))
        }
        let standard = secrets.map { secret in
            "v1," + Base64.encode(Crypto.hmacSHA256(key: secret, message: [UInt8]("\(id).\(stamp).".utf8) + body))
        }
        return [
            ("X-\(prefix)-Signature", (["t=\(stamp)"] + ours).joined(separator: ",")),
            ("webhook-id", id), ("webhook-timestamp", stamp), ("webhook-signature", standard.joined(separator: " ")),
        ]
    }
}
