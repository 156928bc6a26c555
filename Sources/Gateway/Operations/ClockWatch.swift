import Log
import Logging
import Projections
import ServiceLifecycle

/// Tells of a wall clock that jumped: on record, and in the process log. Nothing waits for it, since the time itself does not jump.
struct ClockWatch: Service {
    let ledger: Ledger
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var told = 0
            while !Task.isCancelled {
                told = await look(told)
                try? await Task.sleep(for: .milliseconds(250))
            }
        }
    }

    /// - Parameter told: how many jumps have been told of; the value is how many are by now.
    private func look(_ told: Int) async -> Int {
        let status = ledger.clock.status
        guard status.jumps > told else { return told }
        logger.warning(
            "the wall clock jumped; the time that events and timers go by follows it slowly",
            metadata: ["jumps": "\(status.jumps)", "behind_seconds": "\(status.behind / 1_000_000_000)"]
        )
        // A log that cannot take it has failed or is closing, and says so itself.
        try? await ledger.recordJumps()
        return status.jumps
    }
}
