import Log
import Projections
import ServiceLifecycle

/// Wakes the planners when time alone makes something due: retries and paced sends. Twenty times a second is exact enough
/// for waits of a second and more, and costs nothing measurable.
package struct PlanningClock: Service {
    let ledger: Ledger

    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(50))
                let (deliveries, sends) = due()
                if deliveries { ledger.wake(.deliveries) }
                if sends { ledger.wake(.sends) }
            }
        }
    }

    /// Paced senders are asked as long as anything waits: their pace is not part of the folded state.
    private func due() -> (deliveries: Bool, sends: Bool) {
        let now = ledger.now
        return ledger.plan { state in
            (state.deliveries.schedule.nextTimer.map { $0 <= now } ?? false, !state.sends.rows.isEmpty)
        }
    }
}
