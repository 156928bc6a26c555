package import Hummingbird
import Log
import Logging
import NIOCore
package import Projections

/// What travels with one request.
package struct GatewayContext: RequestContext {
    package var coreContext: CoreRequestContextStorage
    /// Shown as `X-Request-Id`, in errors, and in every line of the process log about the request. From a random source, so it says
    /// nothing about other requests.
    package let requestID: String
    /// Who is asking, once a route group has checked.
    package var client: ClientRow?
    /// As whom the history names who is asking.
    package var actor = ChangeActor.nobody
    /// Asks once more what let the request in, for an answer that waits: says when the key ends, and throws when it has.
    var stillAdmitted: @Sendable () throws -> Timestamp = { Timestamp(.max) }
    /// What the request's body is charged to; nil where bodies are not counted.
    var memory: RequestMemory.Claim?
    let isHTTP2: Bool
    /// The connection, or with HTTP/2 the stream, that the request came on.
    let channel: any Channel

    /// Where Hummingbird has an id of its own, which nobody outside ever sees.
    private static let logKey = "hb.request.id"

    package init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        requestID = GatewayContext.makeRequestID()
        // A stream of HTTP/2 belongs to a connection, which belongs to the server.
        isHTTP2 = source.channel.parent?.parent != nil
        channel = source.channel
        logger[metadataKey: GatewayContext.logKey] = "\(requestID)"
    }

    /// Has `gone` called when the caller has left: its connection or stream is closed, or it will send nothing more. Of several of
    /// one connection only the last, for its requests are answered one after the other.
    static func whenGone(_ channel: any Channel, _ gone: @escaping @Sendable () -> Void) {
        channel.eventLoop.execute {
            if let requests = try? channel.pipeline.syncOperations.handler(type: RequestGuard.self) {
                requests.whenGone(gone)
            } else {
                channel.closeFuture.whenComplete { _ in gone() }
            }
        }
    }

    static func makeRequestID() -> String { "req_" + Base32.encode(Crypto.publicRandomBytes(12)) }

    /// The client of an authenticated route.
    func requireClient() throws -> ClientRow {
        guard let client else { throw GatewayError(.unauthorized, "an API key is needed") }
        return client
    }

    func parameter(_ name: String) throws -> String {
        guard let value = parameters.get(name) else { throw GatewayError(.notFound, "there is nothing here") }
        return value
    }
}
