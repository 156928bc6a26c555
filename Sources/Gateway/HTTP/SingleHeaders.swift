import HTTPTypes
import Hummingbird

/// Refuses a request that has a header twice of which there can be one only. Read as one value, as repeats are, `k` and `k` would be
/// the idempotency key `k, k`.
struct SingleHeaders: RouterMiddleware {
    /// All that is read of a request, and what frames it.
    static let names: Set<HTTPField.Name> = Set(
        [
            "Authorization", "Content-Length", "Content-Type", "Host", "Idempotency-Key",
            "If-None-Match", "If-Range", "Prefer", "Range", "Transfer-Encoding", "User-Agent", "Waybill-Min-Position",
            "X-Hub-Signature-256", "X-Twilio-Signature",
            // What the sandbox's receiver reads of a webhook.
            "webhook-id", "webhook-timestamp", "webhook-signature", "X-ChatGenius-Signature", "X-ChatGenius-Event",
            "X-ChatGenius-Attempt",
        ].compactMap { HTTPField.Name($0) }
    )
    private static let host = HTTPField.Name("Host")

    func handle(
        _ request: Request,
        context: GatewayContext,
        next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        guard let name = SingleHeaders.repeated(request.head, isHTTP2: context.isHTTP2) else {
            return try await next(request, context)
        }
        throw GatewayError(.invalidRequest, "the header \(name) may be given once only", field: name.rawName)
    }

    /// The first header that is given twice and may not be.
    static func repeated(_ head: HTTPRequest, isHTTP2: Bool) -> HTTPField.Name? {
        var seen: [HTTPField.Name] = []
        for field in head.headerFields where names.contains(field.name) {
            if seen.contains(field.name) || repeatsAuthority(field, head, isHTTP2: isHTTP2) { return field.name }
            seen.append(field.name)
        }
        return nil
    }

    /// HTTP/1's first `Host` became the authority, so one that is still there is a second. HTTP/2 has an authority of its own, beside
    /// which the same may stand as `Host`.
    private static func repeatsAuthority(_ field: HTTPField, _ head: HTTPRequest, isHTTP2: Bool) -> Bool {
        guard field.name == host, let authority = head.authority else { return false }
        return !isHTTP2 || field.value != authority
    }
}
