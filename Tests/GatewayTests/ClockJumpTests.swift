import Gateway
import Log
import Projections
import Synchronization
import TestSupport
import Testing

/// A ledger on a machine whose wall clock is set anew, while it runs and between two processes.
@Suite struct ClockJumpTests {
    private final class Machine: Sendable {
        private let clocks = Mutex((wall: UInt64(1_800_000_000_000_000_000), boot: UInt64(77)))
        private let bootID: [UInt8]

        init(boot: UInt8 = 1) { bootID = [UInt8](repeating: boot, count: 16) }

        var clock: GuardedClock {
            GuardedClock(
                ClockSources(
                    wall: { self.clocks.withLock { $0.wall } },
                    boot: { self.clocks.withLock { BootTime(nanoseconds: $0.boot) } },
                    bootID: bootID
                )
            )
        }

        func pass(seconds: UInt64) {
            clocks.withLock { $0 = ($0.wall + seconds * 1_000_000_000, $0.boot + seconds * 1_000_000_000) }
        }

        func set(by seconds: Int64) {
            clocks.withLock { clocks in
                let step = seconds.magnitude * 1_000_000_000
                clocks.wall = seconds < 0 ? clocks.wall - step : clocks.wall + step
            }
        }
    }

    private static let steps: [Int64] = [1, 3600, 86_400, 8 * 86_400].flatMap { [$0, -$0] }

    private func jumps(_ ledger: Ledger) throws -> [ClockJumped] {
        var found: [ClockJumped] = []
        var before = Timestamp(0)
        try ledger.log.reader.scan(from: LogPosition(1)) { view in
            let record = try EventRecord(view)
            #expect(record.time > before)
            before = record.time
            if case .clockJumped(let event) = record.event { found.append(event) }
        }
        return found
    }

    private func seconds(_ jump: ClockJumped) -> Int64 {
        let ahead = jump.wallAfter.since(jump.wallBefore).components.seconds
        return ahead > 0 ? ahead : -jump.wallBefore.since(jump.wallAfter).components.seconds
    }

    @Test(arguments: steps) func whileItRuns(_ step: Int64) async throws {
        let directory = TemporaryDirectory()
        let machine = Machine()
        let ledger = try await GatewayProbe.openLedger(directory, clock: machine.clock)
        let before = ledger.now
        machine.set(by: step)
        machine.pass(seconds: 10)
        #expect(ledger.now >= before.advanced(bySeconds: 9))
        #expect(ledger.now <= before.advanced(bySeconds: 11))
        try await ledger.recordJumps()
        try await ledger.recordJumps()
        #expect(try jumps(ledger).map(seconds) == (step.magnitude > 60 ? [step] : []))
        await ledger.close(reason: "test")
    }

    @Test(arguments: steps) func acrossARestart(_ step: Int64) async throws {
        let directory = TemporaryDirectory()
        let machine = Machine()
        let first = try await GatewayProbe.openLedger(directory, clock: machine.clock)
        let before = first.now
        await first.close(reason: "test")
        machine.pass(seconds: 1000)
        machine.set(by: step)
        let second = try await GatewayProbe.openLedger(directory, clock: machine.clock)
        #expect(second.now >= before.advanced(bySeconds: 999))
        #expect(second.now <= before.advanced(bySeconds: 1001))
        #expect(try jumps(second).map(seconds) == (step.magnitude > 60 ? [step] : []))
        await second.close(reason: "test")
        // What is known is not told again, and not forgotten.
        machine.pass(seconds: 1000)
        let third = try await GatewayProbe.openLedger(directory, clock: machine.clock)
        #expect(third.now >= before.advanced(bySeconds: 1899))
        #expect(third.now <= before.advanced(bySeconds: 2101))
        #expect(try jumps(third).count == (step.magnitude > 60 ? 1 : 0))
        await third.close(reason: "test")
    }

    /// After another boot the wall clock is all there is, but the history does not go back.
    @Test func acrossABoot() async throws {
        let directory = TemporaryDirectory()
        let first = try await GatewayProbe.openLedger(directory, clock: Machine(boot: 1).clock)
        let before = first.now
        await first.close(reason: "test")
        let machine = Machine(boot: 2)
        machine.set(by: -86_400)
        let second = try await GatewayProbe.openLedger(directory, clock: machine.clock)
        #expect(second.now >= before)
        #expect(second.now <= before.advanced(bySeconds: 1))
        #expect(try jumps(second).map(seconds) == [-86_400])
        await second.close(reason: "test")
    }
}
