import Projections
import Testing

@Suite struct RetryScheduleTests {
    @Test func theStandardIsThatOfTheContract() {
        #expect(RetrySchedule.standard == [30, 60, 300, 900, 3600, 14_400])
    }

    struct Row: Sendable {
        let schedule: [UInt64]
        let retry: UInt64
        let retryAfter: UInt64?
        let delay: UInt64?
    }

    static let rows = [
        Row(schedule: [30, 60], retry: 0, retryAfter: nil, delay: 30),
        Row(schedule: [30, 60], retry: 1, retryAfter: nil, delay: 60),
        Row(schedule: [30, 60], retry: 2, retryAfter: nil, delay: nil),
        Row(schedule: [30, 60], retry: .max, retryAfter: nil, delay: nil),
        Row(schedule: [], retry: 0, retryAfter: 5, delay: nil),
        Row(schedule: [30], retry: 0, retryAfter: 29, delay: 30),
        Row(schedule: [30], retry: 0, retryAfter: 31, delay: 31),
        Row(schedule: [30], retry: 0, retryAfter: 86_401, delay: 86_400),
        Row(schedule: [30], retry: 0, retryAfter: .max, delay: 86_400),
        Row(schedule: [604_800], retry: 0, retryAfter: .max, delay: 604_800),
        Row(schedule: [30], retry: 1, retryAfter: 10, delay: nil),
    ]

    /// `Retry-After` may push an attempt later, never earlier, and never opens a step that is not there.
    @Test(arguments: rows)
    func delays(_ row: Row) {
        #expect(RetrySchedule.delay(row.schedule, retry: row.retry, retryAfter: row.retryAfter) == row.delay)
    }

    @Test func timesBeyondTheClockMeanNever() {
        #expect(Timestamp(1).advanced(bySeconds: .max) == Timestamp(.max))
        #expect(Timestamp(.max).advanced(bySeconds: 1) == Timestamp(.max))
        #expect(Timestamp(5).advanced(bySeconds: 2) == Timestamp(2_000_000_005))
    }
}
