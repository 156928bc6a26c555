import Log
import Projections
import ServiceLifecycle

/// Wakes the planners when time alone makes something due: retries, paced sends, purges. Twenty times a second is exact enough
/// for waits of a second and more, and costs nothing measurable.
package struct PlanningClock: Service {
    let ledger: Ledger

    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(50))
                for planner in due() { ledger.wake(planner) }
            }
        }
    }

    /// Paced senders are asked as long as anything waits: their pace is not part of the folded state.
    private func due() -> [Ledger.Planner] {
        let now = ledger.now
        return ledger.plan { state in
            var due: [Ledger.Planner] = []
            if state.deliveries.schedule.nextTimer.map({ $0 <= now }) ?? false { due.append(.deliveries) }
            if !state.sends.rows.isEmpty { due.append(.sends) }
            if state.media.schedule.nextTimer.map({ $0 <= now }) ?? false { due.append(.media) }
            if state.purges.isDue(now) { due.append(.purges) }
            return due
        }
    }
}
