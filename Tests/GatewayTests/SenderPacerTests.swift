import Gateway
import Log
import Projections
import Testing

@Suite struct SenderPacerTests {
    private let sender = SendQueue.Sender(client: LogPosition(1), platform: .sms)
    private let other = SendQueue.Sender(client: LogPosition(2), platform: .sms)

    private func at(_ milliseconds: UInt64) -> Timestamp { Timestamp(1_000_000_000_000 + milliseconds * 1_000_000) }

    @Test func aRateOfZeroIsNotPaced() {
        let pacer = SenderPacer()
        for _ in 0..<10 {
            #expect(pacer.room(sender, perSecond: 0, now: at(0), most: 32) == 32)
            pacer.charge(sender, segments: 9, perSecond: 0, now: at(0))
        }
        #expect(pacer.room(sender, perSecond: 0, now: at(0), most: -1) == -1)
    }

    @Test func aMessageCostsItsSegments() {
        let pacer = SenderPacer()
        #expect(pacer.room(sender, perSecond: 2, now: at(0), most: 32) == 1)
        pacer.charge(sender, segments: 3, perSecond: 2, now: at(0))
        #expect(pacer.room(sender, perSecond: 2, now: at(1499), most: 32) == 0)
        #expect(pacer.room(sender, perSecond: 2, now: at(1500), most: 32) == 1)
    }

    @Test func sendersDoNotShareAPace() {
        let pacer = SenderPacer()
        pacer.charge(sender, segments: 100, perSecond: 1, now: at(0))
        #expect(pacer.room(sender, perSecond: 1, now: at(1), most: 32) == 0)
        #expect(pacer.room(other, perSecond: 1, now: at(1), most: 32) == 1)
    }

    @Test func aFullSenderHasNoRoom() {
        #expect(SenderPacer().room(sender, perSecond: 1, now: at(0), most: 0) == 0)
    }

    @Test func idleTimeIsNotSavedUp() {
        let pacer = SenderPacer()
        pacer.charge(sender, segments: 1, perSecond: 1, now: at(0))
        pacer.charge(sender, segments: 1, perSecond: 1, now: at(60_000))
        #expect(pacer.room(sender, perSecond: 1, now: at(60_500), most: 32) == 0)
    }

    /// What goes out in ten seconds when the planner looks twenty times a second, as its clock makes it.
    private func sent(perSecond: UInt64) -> UInt64 {
        let pacer = SenderPacer()
        var sent: UInt64 = 0
        for tick in 0..<200 as Range<UInt64> {
            var room = pacer.room(sender, perSecond: perSecond, now: at(tick * 50), most: 32)
            while room > 0 {
                for _ in 0..<room { pacer.charge(sender, segments: 1, perSecond: perSecond, now: at(tick * 50)) }
                sent += UInt64(room)
                room = pacer.room(sender, perSecond: perSecond, now: at(tick * 50), most: 32)
            }
        }
        return sent
    }

    @Test(arguments: [1, 3, 10, 20, 100, 400] as [UInt64])
    func neverFasterThanTheRate(_ perSecond: UInt64) {
        #expect(sent(perSecond: perSecond) <= perSecond * 10 + 1)
    }

    @Test(arguments: [1, 3, 10, 100, 400] as [UInt64])
    func notMuchSlowerThanTheRate(_ perSecond: UInt64) {
        #expect(sent(perSecond: perSecond) >= perSecond * 9)
    }
}
