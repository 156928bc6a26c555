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
                if isSomethingDue() { ledger.announce() }
            }
        }
    }

    private func isSomethingDue() -> Bool {
        let now = ledger.now
        return ledger.plan { state in
            let due = [state.deliveries.schedule.nextTimer, state.sends.schedule.nextTimer].compactMap { $0 }
            return due.contains { $0 <= now } || !state.sends.rows.isEmpty
        }
    }
}
