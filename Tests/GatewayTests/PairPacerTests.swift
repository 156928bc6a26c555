import Gateway
import Log
import Projections
import Testing

@Suite struct PairPacerTests {
    private let pair = LogPosition(7)
    private let start: UInt64 = 1_000_000_000_000

    private func at(_ seconds: UInt64) -> Timestamp { Timestamp(start + seconds * 1_000_000_000) }

    /// How many go out at once at a time, at most 100.
    private func goOut(_ pacer: PairPacer, _ now: Timestamp) -> Int {
        for count in 0..<100 {
            if pacer.nextTime(pair, now: now) != nil { return count }
            pacer.charge(pair, now: now)
        }
        return 100
    }

    @Test func aBurstGoesOutAndThenOneInSixSeconds() {
        let pacer = PairPacer()
        #expect(goOut(pacer, at(0)) == 45)
        #expect(pacer.nextTime(pair, now: at(0)) == at(6))
        #expect(goOut(pacer, at(5)) == 0)
        #expect(goOut(pacer, at(6)) == 1)
        #expect(goOut(pacer, at(18)) == 2)
    }

    @Test func whatWasBorrowedIsPaidBack() {
        let pacer = PairPacer()
        #expect(goOut(pacer, at(0)) == 45)
        #expect(goOut(pacer, at(270)) == 45)
    }

    @Test func idleTimeIsNotSavedUp() {
        let pacer = PairPacer()
        pacer.charge(pair, now: at(0))
        #expect(goOut(pacer, at(100_000)) == 45)
    }

    @Test func oneCustomerDoesNotHoldUpAnother() {
        let pacer = PairPacer()
        #expect(goOut(pacer, at(0)) == 45)
        #expect(pacer.nextTime(LogPosition(8), now: at(0)) == nil)
    }
}
