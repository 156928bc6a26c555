import Log

/// `X-Hub-Signature-256` of Meta's webhooks: HMAC-SHA-256 over the bytes as they came, under an app secret. Facts:
/// `reference/channels.md` section B.2.
package enum MetaSignature {
    private static let prefix = "sha256="

    /// Whether a header can be a signature at all.
    package static func isForm(_ header: String?) -> Bool { claimed(header) != nil }

    private static func claimed(_ header: String?) -> [UInt8]? {
        guard let header, header.hasPrefix(prefix), let bytes = Hex.decode(String(header.dropFirst(prefix.count))),
            bytes.count == 32
        else { return nil }
        return bytes
    }

    /// - Parameters:
    ///   - secrets: any of them may have signed: the apps differ by product, and a secret may be rotated.
    package static func verify(header: String?, secrets: [[UInt8]], body: [UInt8]) -> Bool {
        guard let claimed = claimed(header) else { return false }
        var isRight = false
        // All of them, so that the time tells nothing.
        for secret in secrets where Crypto.equalConstantTime(Crypto.hmacSHA256(key: secret, message: body), claimed) {
            isRight = true
        }
        return isRight
    }
}
