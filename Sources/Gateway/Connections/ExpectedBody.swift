import HTTPTypes
import Hummingbird
import NIOCore

/// Answers `Expect: 100-continue` at the moment at which a route begins to read the body: whoever is refused before that, for
/// their key for instance, does not have to send it.
struct ExpectContinue: RouterMiddleware {
    func handle(
        _ request: Request,
        context: GatewayContext,
        next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        guard let expected = request.headers[.expect] else { return try await next(request, context) }
        guard expected.lowercased() == "100-continue" else {
            throw GatewayError(.expectationFailed, "the only expectation that is met is 100-continue")
        }
        var request = request
        request.body = RequestBody(asyncSequence: ExpectedBody(body: request.body, channel: context.channel))
        return try await next(request, context)
    }
}

private struct ExpectedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let body: RequestBody
    let channel: any Channel

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: body.makeAsyncIterator(), channel: channel) }

    struct AsyncIterator: AsyncIteratorProtocol {
        var body: RequestBody.AsyncIterator
        /// Nil once it is told.
        var channel: (any Channel)?

        mutating func next() async throws -> ByteBuffer? {
            if let channel {
                channel.triggerUserOutboundEvent(RequestGuard.BodyIsWanted(), promise: nil)
                self.channel = nil
            }
            return try await body.next()
        }
    }
}
