import Log
package import NIOCore
import Synchronization

/// The connections of one server: counts them, makes room for new ones, and closes them at the end.
///
/// The lock is held for a few look-ups in tables. What is to be closed is closed after it.
package final class ConnectionRegistry: Sendable {
    /// Why the gateway closed a connection.
    enum Reason: String {
        case refused
        case oldestIdle = "oldest_idle"
        case idle
        case header = "header_timeout"
        case body = "body_timeout"
        case answer = "answer_timeout"
        case unwantedBody = "unwanted_body"
        case shutdown
    }

    private struct State {
        var table: ConnectionTable<ObjectIdentifier, SourceAddress>
        var connections: [ObjectIdentifier: Connection] = [:]
        var isStopping = false
    }

    private let state: Mutex<State>
    private let uncounted: [IPNetwork]
    private let metrics: GatewayMetrics

    /// - Parameter uncounted: proxies, behind whose address there are many.
    package init(most: Int, mostPerAddress: Int, uncounted: [IPNetwork] = [], metrics: GatewayMetrics) {
        state = Mutex(State(table: ConnectionTable(most: most, mostPerSource: mostPerAddress)))
        self.uncounted = uncounted
        self.metrics = metrics
    }

    package var count: Int { state.withLock { $0.table.count } }

    /// False when there is no room for it, and nobody who is idle to make some.
    func admit(_ connection: Connection) -> Bool {
        let id = ObjectIdentifier(connection)
        let source = source(of: connection)
        let admission = state.withLock { state -> (isIn: Bool, leaving: Connection?) in
            guard !state.isStopping, case .admitted(let leaving) = state.table.admit(id, source: source) else {
                return (false, nil)
            }
            state.connections[id] = connection
            return (true, leaving.flatMap { state.connections[$0] })
        }
        guard admission.isIn else {
            count(.refused)
            return false
        }
        connection.channel.closeFuture.whenComplete { _ in self.closed(connection) }
        if let leaving = admission.leaving { close(leaving) }
        return true
    }

    /// A request has begun.
    func began(_ connection: Connection) { state.withLock { $0.table.work(ObjectIdentifier(connection)) } }

    /// The last of its requests is answered. False when it is to be closed: the server stops.
    func ended(_ connection: Connection) -> Bool {
        state.withLock { state in
            state.table.rest(ObjectIdentifier(connection))
            return !state.isStopping
        }
    }

    func count(_ reason: Reason) { metrics.count("waybill_connections_closed_total{reason=\"\(reason.rawValue)\"}") }

    // MARK: The end

    /// Admits nobody, and closes who is idle now or gets idle.
    package func stop() {
        let idle = state.withLock { state -> [Connection] in
            state.isStopping = true
            return state.connections.filter { state.table.isIdle($0.key) }.map(\.value)
        }
        for connection in idle { connection.close() }
    }

    /// Ends whatever still runs.
    package func cut() {
        let all = state.withLock { state in
            state.isStopping = true
            return Array(state.connections.values)
        }
        for connection in all {
            count(.shutdown)
            connection.cut()
        }
    }

    // MARK: Steps

    private func source(of connection: Connection) -> SourceAddress? {
        guard let peer = SourceAddress.peer(connection.channel) else { return nil }
        return uncounted.contains { $0.contains(peer) } ? nil : SourceAddress(peer)
    }

    /// On its own loop, where a request may have come first.
    private func close(_ connection: Connection) {
        connection.channel.eventLoop.execute {
            let isMeant = self.state.withLock { $0.table.isLeaving(ObjectIdentifier(connection)) }
            guard isMeant else { return }
            self.count(.oldestIdle)
            connection.close()
        }
    }

    private func closed(_ connection: Connection) {
        state.withLock { state in
            state.table.closed(ObjectIdentifier(connection))
            state.connections[ObjectIdentifier(connection)] = nil
        }
    }
}

/// One connection, and the task that serves it.
package final class Connection: Sendable {
    let channel: any Channel
    private let state = Mutex(State())

    private struct State {
        var task: Task<Void, Never>?
        var waiter: CheckedContinuation<Void, Never>?
        var isOver = false
        var isCut = false
    }

    package init(_ channel: any Channel) { self.channel = channel }

    /// Serves it, until that ends or it is cut. Work that does not heed its cancellation is left behind: a stop waits for nobody.
    package func run(_ work: @escaping @Sendable () async -> Void) async {
        let task = Task {
            await work()
            self.end()
        }
        let isCut = state.withLock { state in
            state.task = task
            return state.isCut
        }
        if isCut { task.cancel() }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if !state.isOver { state.waiter = continuation }
                    return state.isOver
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            task.cancel()
        }
    }

    package func cut() {
        let task = state.withLock { state in
            state.isCut = true
            return state.task
        }
        task?.cancel()
        close()
        end()
    }

    /// At once: without the farewell of TLS, for which the other side could take its time.
    func close() {
        channel.eventLoop.execute { [channel] in
            if let first = try? channel.pipeline.syncOperations.handler(type: ConnectionGuard.self) {
                first.close()
            } else {
                channel.close(promise: nil)
            }
        }
    }

    private func end() {
        let waiter = state.withLock { state in
            state.isOver = true
            state.task = nil
            return state.waiter.take()
        }
        waiter?.resume()
    }
}
