import Gateway
import Log
import Projections
import TestSupport
import Testing

/// What requests may hold in memory.
@Suite struct MemoryTableTests {
    private typealias Table = MemoryTable<String>

    @Test func oneAccountHasItsShareAndAllTheWhole() {
        var table = Table(most: 100, mostPerAccount: 40)
        #expect(table.claim(40, for: ["a"]) == true)
        #expect(table.claim(1, for: ["a"]) == false)
        #expect(table.claim(40, for: ["b"]) == true)
        #expect(table.claim(30, for: ["c"]) == false, "more than is left")
        #expect(table.claim(20, for: ["c"]) == true)
        #expect(table.claim(1, for: []) == false)
        table.release(40, of: ["a"])
        #expect(table.claim(40, for: []) == true)
        #expect(table.total == 100)
    }

    @Test func aClaimIsForAllAccountsOrNone() {
        var table = Table(most: 100, mostPerAccount: 40)
        #expect(table.claim(30, for: ["client"]) == true)
        #expect(table.claim(20, for: ["address", "client"]) == false)
        #expect(table.held(by: "address") == 0 && table.total == 30)
        #expect(table.claim(-1, for: []) == false)
        #expect(table.claim(.max, for: ["x"]) == false)
    }

    /// Against a table of all claims, over a random history.
    @Test func nothingIsLostOrKept() {
        var random = SeededGenerator(seed: 14)
        var table = Table(most: 1_000, mostPerAccount: 300)
        var claims: [(bytes: Int, accounts: [String])] = []
        for _ in 0..<20_000 {
            if !claims.isEmpty, Bool.random(using: &random) {
                let claim = claims.remove(at: Int.random(in: 0..<claims.count, using: &random))
                table.release(claim.bytes, of: claim.accounts)
            } else {
                let accounts = ["a", "b", "c", "d"].filter { _ in Bool.random(using: &random) }
                let bytes = Int.random(in: 0...200, using: &random)
                let sum = { (name: String) in claims.filter { $0.accounts.contains(name) }.map(\.bytes).reduce(0, +) }
                let fits =
                    claims.map(\.bytes).reduce(0, +) + bytes <= 1_000
                    && accounts.allSatisfy { sum($0) + bytes <= 300 }
                #expect(table.claim(bytes, for: accounts) == fits)
                if fits { claims.append((bytes, accounts)) }
            }
        }
        for claim in claims { table.release(claim.bytes, of: claim.accounts) }
        #expect(table.total == 0 && table.held(by: "a") == 0)
    }
}

@Suite struct RequestMemoryTests {
    private func memory() -> RequestMemory { RequestMemory(bytes: 16 << 20, metrics: GatewayMetrics()) }

    @Test func aClaimGrowsAndGoesWithItsRequest() throws {
        let memory = memory()
        var claim: RequestMemory.Claim? = memory.claim(for: nil)
        try claim?.reach(1_000)
        #expect(memory.bytes == 1_000 * RequestMemory.copies)
        try claim?.reach(1 << 20)
        #expect(memory.bytes == RequestMemory.copies << 20, "the short part has it no more")
        try claim?.reach(10)
        #expect(memory.bytes == RequestMemory.copies << 20)
        claim = nil
        #expect(memory.bytes == 0)
    }

    @Test func longBodiesKeepNoShortOneOut() throws {
        let memory = memory()
        var claims: [RequestMemory.Claim] = []
        for _ in 0..<100 {
            let claim = memory.claim(for: nil)
            do throws(GatewayError) {
                try claim.reach(1 << 20)
                claims.append(claim)
            } catch {
                #expect(error.code == "overloaded" && error.status == 503 && error.retryAfter != nil)
            }
        }
        #expect((1..<100).contains(claims.count))
        try memory.claim(for: nil).reach(RequestMemory.shortMax)
    }

    @Test func oneClientLeavesRoomForOthers() throws {
        let memory = memory()
        var claims: [RequestMemory.Claim] = []
        for _ in 0..<100 {
            let claim = memory.claim(for: nil)
            claim.belongs(to: LogPosition(7))
            if (try? claim.reach(1 << 20)) != nil { claims.append(claim) }
        }
        let other = memory.claim(for: nil)
        other.belongs(to: LogPosition(8))
        try other.reach(1 << 20)
        #expect(!claims.isEmpty)
    }
}

/// How much one client may ask.
@Suite struct TokenBucketTests {
    private func moment(_ seconds: Double) -> BootTime { BootTime(nanoseconds: UInt64(seconds * 1e9)) }

    @Test func aBurstAndThenTheRate() {
        let rate = RequestRate(perSecond: 100)
        var bucket = TokenBucket()
        for number in 1...rate.burst {
            #expect(bucket.take(at: moment(1), rate) == .taken(remaining: rate.burst - number))
        }
        #expect(bucket.take(at: moment(1), rate) == .empty(wait: .milliseconds(10)))
        #expect(bucket.take(at: moment(1.01), rate) == .taken(remaining: 0))
        guard case .empty = bucket.take(at: moment(1.01), rate) else {
            Issue.record("one every 10 ms")
            return
        }
        #expect(!bucket.isFull(at: moment(1.5)) && bucket.isFull(at: moment(60)))
        #expect(bucket.take(at: moment(60), rate) == .taken(remaining: rate.burst - 1), "no more than a burst is saved")
    }

    /// Over any stretch of time there are at most the burst and the rate.
    @Test func neverMoreThanTheRate() {
        let rate = RequestRate(perSecond: 1_000)
        var (bucket, random) = (TokenBucket(), SeededGenerator(seed: 3))
        var (now, taken) = (UInt64(5), 0)
        while now < 20_000_000_000 {
            if case .taken = bucket.take(at: BootTime(nanoseconds: now), rate) { taken += 1 }
            now += UInt64.random(in: 0...300_000, using: &random)
        }
        #expect(taken <= rate.burst + 20_000 && taken > 20_000)
    }

    @Test func aLowRateHasABurst() {
        #expect(RequestRate(perSecond: 1).burst == 2_000)
        #expect(RequestRate(perSecond: 0).perSecond == 1)
        #expect(RequestRate(perSecond: 1_000).burst == 10_000)
    }
}

/// Who reads next.
@Suite struct FairQueueTests {
    private typealias Queue = FairQueue<String, Int>

    private func queue(waitingPerMember: Int = 100) -> Queue {
        Queue(Queue.Limits(running: 3, runningPerMember: 2, waiting: 200, waitingPerMember: waitingPerMember))
    }

    @Test func membersTakeTurns() {
        var queue = queue()
        for ticket in 1...2 { #expect(queue.enter(ticket, of: "a") == .begin) }
        for ticket in 3...50 { #expect(queue.enter(ticket, of: "a") == .wait) }
        #expect(queue.enter(100, of: "b") == .begin, "there is a place for somebody else")
        #expect(queue.enter(101, of: "b") == .wait)
        #expect(queue.enter(200, of: "c") == .wait)
        #expect(queue.leave("a") == [3])
        #expect(queue.leave("a") == [101], "those who came later, with less, do not wait for all of a")
        #expect(queue.leave("b") == [200])
        #expect(queue.leave("c") == [4])
    }

    @Test func nobodyHasMoreThanHisShare() {
        var queue = queue(waitingPerMember: 2)
        for ticket in 1...2 { #expect(queue.enter(ticket, of: "a") == .begin) }
        for ticket in 3...4 { #expect(queue.enter(ticket, of: "a") == .wait) }
        #expect(queue.enter(5, of: "a") == .full)
        #expect(queue.waiting == 2)
    }

    @Test func whoGivesUpIsForgotten() {
        var queue = queue()
        for ticket in 1...4 { _ = queue.enter(ticket, of: "a") }
        #expect(queue.cancel(3, of: "a") == true)
        #expect(queue.cancel(3, of: "a") == false)
        #expect(queue.cancel(1, of: "a") == false, "it has begun")
        #expect(queue.leave("a") == [4])
        #expect(queue.leave("a") == [])
        #expect(queue.leave("a") == [])
        #expect(queue.enter(9, of: "a") == .begin)
    }

    /// Everybody who waits begins, and never more than may run.
    @Test func nobodyWaitsForEver() {
        var (queue, random) = (queue(), SeededGenerator(seed: 8))
        var running: [Int: String] = [:]
        var waiting: [Int: String] = [:]
        func begin(_ tickets: [Int]) {
            for ticket in tickets { running[ticket] = waiting.removeValue(forKey: ticket) }
        }
        for ticket in 0..<10_000 {
            let member = ["a", "a", "a", "b", "c"].randomElement(using: &random) ?? "a"
            switch queue.enter(ticket, of: member) {
            case .begin: running[ticket] = member
            case .wait: waiting[ticket] = member
            case .full: break
            }
            if let (ticket, member) = running.randomElement(using: &random), Bool.random(using: &random) {
                running[ticket] = nil
                begin(queue.leave(member))
            }
            #expect(running.count <= 3 && queue.waiting == waiting.count)
            #expect(Dictionary(grouping: running.values) { $0 }.values.allSatisfy { $0.count <= 2 })
        }
        while let (ticket, member) = running.first {
            running[ticket] = nil
            begin(queue.leave(member))
        }
        #expect(waiting.isEmpty && queue.waiting == 0)
    }
}
