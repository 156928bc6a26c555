import HTTPTypes
import Hummingbird
import NIOCore

/// Claims memory for the body of a request at the moment at which a route begins to read it: the announced length at once, or
/// chunk by chunk what comes without one. Where there is no room, the request is refused and its body is not read.
struct CountedBodies: RouterMiddleware {
    let memory: RequestMemory
    let trustedProxies: [IPNetwork]

    func handle(
        _ request: Request,
        context: GatewayContext,
        next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        guard request.method != .get, request.method != .head else { return try await next(request, context) }
        let peer = SourceAddress.peer(context.channel)
        let claim = memory.claim(for: .of(peer, request.headers, trusted: trustedProxies))
        defer { claim.release() }
        var (request, context) = (request, context)
        let announced = request.headers.contentLength
        request.body = RequestBody(asyncSequence: CountedBody(body: request.body, claim: claim, announced: announced))
        context.memory = claim
        return try await next(request, context)
    }
}

private struct CountedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let body: RequestBody
    let claim: RequestMemory.Claim
    let announced: Int?

    func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(body: body.makeAsyncIterator(), claim: claim, announced: announced)
    }

    struct AsyncIterator: AsyncIteratorProtocol {
        var body: RequestBody.AsyncIterator
        let claim: RequestMemory.Claim
        /// Nil once it is claimed.
        var announced: Int?
        var count = 0

        mutating func next() async throws -> ByteBuffer? {
            if let announced {
                try claim.reach(announced)
                self.announced = nil
            }
            guard let part = try await body.next() else { return nil }
            count += part.readableBytes
            try claim.reach(count)
            return part
        }
    }
}
