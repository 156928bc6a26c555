import Glibc
import TestSupport
import Testing

/// Guarantees G1, G2 and G4 on a simulated disk.
///
/// `WAYBILL_CRASH_STATES` sets how many states are checked, `WAYBILL_CRASH_SEED` repeats one seed that a failure named.
@Suite struct CrashTests {
    private static let statesPerSeed = 100

    private static func number(_ name: String) -> UInt64? {
        getenv(name).flatMap { UInt64(String(cString: $0)) }
    }

    static var seeds: [UInt64] {
        if let seed = number("WAYBILL_CRASH_SEED") { return [seed] }
        return Array(0..<max(1, (number("WAYBILL_CRASH_STATES") ?? 6000) / UInt64(statesPerSeed)))
    }

    @Test(arguments: seeds)
    func everyCrashLeavesAPrefixWithEverythingAcknowledged(_ seed: UInt64) async throws {
        let problem = try await CrashWorkload.run(seed: seed, states: Self.statesPerSeed)
        #expect(problem == nil, "WAYBILL_CRASH_SEED=\(seed)")
    }
}
