import Log
import Projections

extension Ledger {
    /// Puts on record what the wall clock did; each jump once.
    package func recordJumps() async throws {
        let jumps = clock.takeJumps()
        if jumps.isEmpty { return }
        try await commitOutcome { [clock] _, _ in Ledger.events(jumps, clock.mark) }
    }

    static func events(_ jumps: [ClockJump], _ mark: ClockMark) -> [NewEvent] {
        jumps.map { NewEvent(.clockJumped(ClockJumped($0, mark))) }
    }
}
