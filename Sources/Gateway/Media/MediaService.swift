import Log
package import Logging
import Projections
import ServiceLifecycle
import Synchronization

/// Fetches the files of customers' messages from their providers: takes what the projection says is due, and puts on record
/// what came of it. A fetch changes nothing at the provider, so its start needs no record: what was not finished is done again.
package struct MediaService: Service {
    /// How many fetches may run at once, over all clients.
    package static let inFlightMax = 64
    static let inFlightPerClient = 16
    /// Seconds until a file for which there was no room is tried again; that is no attempt.
    static let waitForRoom: UInt64 = 30

    let shelf: MediaShelf
    let fetcher: MediaFetcher
    let metrics: GatewayMetrics
    let logger: Logger
    private let refused: RefusedAddresses
    private let running = Running()

    package init(shelf: MediaShelf, fetcher: MediaFetcher, metrics: GatewayMetrics, logger: Logger) {
        self.shelf = shelf
        self.fetcher = fetcher
        self.metrics = metrics
        self.logger = logger
        refused = RefusedAddresses("media.allow_cidrs", logger)
    }

    private final class Running: Sendable {
        private let counts = Mutex<[LogPosition: Int]>([:])

        var all: [LogPosition: Int] { counts.withLock { $0 } }

        func begin(_ client: LogPosition) { counts.withLock { $0[client, default: 0] += 1 } }

        func end(_ client: LogPosition) {
            counts.withLock { counts in
                counts[client, default: 1] -= 1
                if counts[client] == 0 { counts[client] = nil }
            }
        }
    }

    /// One fetch, which may be cancelled before it has begun.
    private final class Fetch: Sendable {
        private let state = Mutex<(task: Task<MediaResult?, Never>?, isCancelled: Bool)>((nil, false))

        func run(_ body: @escaping @Sendable () async -> MediaResult?) async -> MediaResult? {
            let task = Task { await body() }
            let isCancelled = state.withLock { state in
                state.task = task
                return state.isCancelled
            }
            if isCancelled { task.cancel() }
            return await task.value
        }

        func cancel() {
            let task = state.withLock { state in
                state.isCancelled = true
                return state.task
            }
            task?.cancel()
        }
    }

    package func run() async throws {
        try? await DiskWork.run { [shelf, logger] in shelf.sweep(logger) }
        let changes = shelf.ledger.changes(for: .media)
        await withDiscardingTaskGroup { group in
            for await _ in changes.cancelOnGracefulShutdown() {
                for (job, client) in due() {
                    group.addTask { await perform(job, of: client) }
                }
            }
            // What is under way is begun again by the next start; a shutdown need not wait for slow servers.
            group.cancelAll()
        }
    }

    private func due() -> [(job: LogPosition, client: LogPosition)] {
        let inFlight = running.all
        let picked = shelf.ledger.plan { state -> [(LogPosition, LogPosition)] in
            state.media.schedule.advance(to: shelf.ledger.now)
            let free = max(0, MediaService.inFlightMax - inFlight.values.reduce(0, +))
            let held = { (client: LogPosition) in inFlight[client, default: 0] }
            let picked = state.media.schedule.pick(limit: free, held: held) { client in
                MediaService.inFlightPerClient - held(client)
            }
            return picked.compactMap { job in
                state.media.rows[MediaBook.file(of: job).message].map { (job, $0.client) }
            }
        }
        for (_, client) in picked { running.begin(client) }
        return picked
    }

    private func perform(_ job: LogPosition, of client: LogPosition) async {
        let (message, index) = MediaBook.file(of: job)
        // A purge ends it, and waits for its end. It is told of before it asks whether the message is purged.
        let fetch = Fetch()
        let use = shelf.uses.begin(message, isSlow: true) { fetch.cancel() }
        let result = await withTaskCancellationHandler {
            await fetch.run { await attempt(job) }
        } onCancel: {
            fetch.cancel()
        }
        shelf.uses.finish(use, of: message)
        running.end(client)
        defer { shelf.ledger.wake(.media) }
        guard let result else { return }
        if case .failed(let code, _) = result {
            refused.note(code, of: client, shelf.ledger.ids.encode(.client, client))
        }
        do {
            try await record(result, message, index)
        } catch {
            // Not on record, so the next start fetches it again.
            logger.error("what came of fetching a file could not be recorded", metadata: ["error": "\(error)"])
        }
    }

    /// Nil when there is nothing to record: the process ends, the message is purged, or there is no room now.
    private func attempt(_ job: LogPosition) async -> MediaResult? {
        let (message, index) = MediaBook.file(of: job)
        do {
            // Its content and key are read from the log.
            try await shelf.ledger.log.waitUntilDurable(message)
            if shelf.ledger.plan({ $0.isPurged(message) }) { return nil }
            return try await fetcher.fetch(message, index)
        } catch is CancellationError {
            return nil
        } catch let error as GatewayError where error == .purged {
            if shelf.ledger.plan({ $0.isPurged(message) }) { return nil }
            // It is the channel's credential that has no key any more.
            return .failed(code: "channel_not_connected", isFinal: false)
        } catch let error as LogError where error.code == .diskFull {
            logger.error("there is no room for a file", metadata: ["error": "\(error)"])
            postpone(job, MediaService.waitForRoom)
            return nil
        } catch let error as LogError where error.isTransient {
            logger.error("a file could not be opened", metadata: ["error": "\(error)"])
            postpone(job, DeliveryResult.pause)
            return nil
        } catch is MediaFetcher.LocalLack {
            postpone(job, DeliveryResult.pause)
            return nil
        } catch let error as LogError {
            logger.error("a file could not be stored", metadata: ["error": "\(error)"])
            return .failed(code: error.code.rawValue, isFinal: false)
        } catch {
            logger.error("a file could not be fetched", metadata: ["error": "\(error)"])
            return .failed(code: "unreadable", isFinal: false)
        }
    }

    private func postpone(_ job: LogPosition, _ seconds: UInt64) {
        let later = shelf.ledger.now.advanced(bySeconds: seconds)
        shelf.ledger.plan { state in state.media.schedule.retry(job, at: later) }
    }

    private func record(_ result: MediaResult, _ message: LogPosition, _ index: Int) async throws {
        let name = MediaService.name(of: result)
        metrics.count("waybill_media_fetches_total{result=\"\(name)\"}")
        let isKept = Atomic(false)
        let seal = shelf.ledger.readableKeyReference(at: message)
        // What has no key on record cannot be told of; it is fetched again.
        let result = seal == nil ? .failed(code: "unreadable", isFinal: false) : result
        try await shelf.ledger.commitOutcome { state, context in
            let events = state.decide(result, message: message, index: index, seal: seal, context)
            isKept.store(!events.isEmpty, ordering: .relaxed)
            return events
        }
        // Purged while it was fetched: the purge may have looked for it before it was there.
        if !isKept.load(ordering: .relaxed), shelf.ledger.plan({ $0.isPurged(message) }) {
            try await DiskWork.run { [shelf] in try shelf.remove([message: index + 1]) }
        }
    }

    private static func name(of result: MediaResult) -> String {
        switch result {
        case .fetched: "success"
        case .failed: "failure"
        }
    }
}
