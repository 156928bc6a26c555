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
        if let name = SingleHeaders.repeated(request.head, isHTTP2: context.isHTTP2) {
            throw GatewayError(.invalidRequest, "the header \(name) may be given once only", field: name.rawName)
        }
        guard SingleHeaders.framesAsKnown(request.head) else {
            throw GatewayError(
                .invalidRequest,
                "a body may be sent in chunks, and with no other transfer encoding",
                field: "Transfer-Encoding"
            )
        }
        return try await next(request, context)
    }

    /// What is compressed on the way would be taken for the body itself.
    static func framesAsKnown(_ head: HTTPRequest) -> Bool {
        guard let encoding = head.headerFields[.transferEncoding] else { return true }
        return encoding.trimmingSpaces.lowercased() == "chunked"
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
