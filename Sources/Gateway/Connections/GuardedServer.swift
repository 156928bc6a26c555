import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle

/// Sets up each connection with its guard before everything else.
struct GuardedChannel<Base: ServerChildChannel>: ServerChildChannel {
    struct Value: ServerChildChannelValue {
        let base: Base.Value
        let connection: Connection
        var channel: any Channel { connection.channel }
    }

    let base: Base
    let registry: ConnectionRegistry
    var limits = TimeLimits()

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        let connection = Connection(channel)
        let guarded = channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(
                ConnectionGuard(registry: registry, connection: connection, limits: limits)
            )
        }
        return guarded.flatMap { base.setup(channel: channel, logger: logger) }
            .map { Value(base: $0, connection: connection) }
    }

    func handle(value: Value, logger: Logger) async {
        await value.connection.run { await base.handle(value: value.base, logger: logger) }
    }
}

extension HTTPServerBuilder {
    /// HTTP/1 without TLS.
    static func guarded(
        by registry: ConnectionRegistry,
        _ configuration: HTTP1Channel.Configuration
    ) -> HTTPServerBuilder {
        HTTPServerBuilder { responder in
            GuardedChannel(base: HTTP1Channel(responder: responder, configuration: configuration), registry: registry)
        }
    }
}

/// A server that ends within a time, whatever its clients do: it accepts nobody any more, who is idle is closed, and what still
/// runs at the end of the time is cut.
struct BoundedServer<Server: Service>: Service {
    let server: Server
    let registry: ConnectionRegistry
    let within: Duration
    /// Before anything else of the end.
    var whenStopping: @Sendable () -> Void = {}

    /// For what ends a connection politely: HTTP/2 says with GOAWAY that it ends.
    private static var politeness: Duration { .milliseconds(250) }

    func run() async throws {
        try await withGracefulShutdownHandler {
            try await server.run()
        } onGracefulShutdown: {
            whenStopping()
            // Not a part of the server's task, which waits for what is to be cut here.
            Task {
                try? await Task.sleep(for: Self.politeness)
                registry.stop()
                try? await Task.sleep(for: within - Self.politeness)
                registry.cut()
            }
        }
    }
}

/// Services that stop at the same time, so that the slowest is waited for and not the sum; and no longer than a time, after which
/// they are cancelled.
struct Together: Service {
    let services: [any Service]
    let within: Duration

    func run() async throws {
        let all = Task { try await runAll() }
        try await withTaskCancellationHandler {
            try await withGracefulShutdownHandler {
                try await all.value
            } onGracefulShutdown: {
                Task {
                    try? await Task.sleep(for: within)
                    all.cancel()
                }
            }
        } onCancel: {
            all.cancel()
        }
    }

    private func runAll() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for service in services {
                group.addTask { try await service.run() }
            }
            while try await group.next() != nil {
                // One that ends before it is told to takes the others with it, and the process.
                if !Task.isShuttingDownGracefully { group.cancelAll() }
            }
        }
    }
}
