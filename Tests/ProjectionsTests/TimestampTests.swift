import Projections
import Testing

/// Times come from outside and from clocks that may have been anywhere: nothing traps, and nothing goes past an end.
@Suite struct TimestampTests {
    private static let ends = [Timestamp(0), Timestamp(1), Timestamp(1_800_000_000_000_000_000), Timestamp(.max)]

    @Test func nothingTraps() {
        for a in Self.ends {
            for b in Self.ends {
                #expect(a.nanoseconds(since: b) == (a > b ? a.nanoseconds - b.nanoseconds : 0))
                #expect(a.since(b) >= .zero)
            }
            for step in [0, 1, 86_400, UInt64.max] {
                #expect(a.advanced(bySeconds: step) >= a)
                #expect(a.advanced(byNanoseconds: step) >= a)
                #expect(a.moved(backBySeconds: step) <= a)
                #expect(a.moved(backByNanoseconds: step) <= a)
            }
        }
    }

    @Test func countsInItsUnits() {
        let time = Timestamp(5_250_000_000)
        #expect(time.wholeSeconds == 5)
        #expect(time.milliseconds(since: Timestamp(4_000_000_000)) == 1250)
        #expect(time.since(Timestamp(4_000_000_000)) == .milliseconds(1250))
        #expect(time.moved(backBySeconds: 5) == Timestamp(250_000_000))
        #expect(time.moved(backBySeconds: 6) == Timestamp(0))
    }
}
