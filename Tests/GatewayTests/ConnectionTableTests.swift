import Gateway
import Testing

/// Who is admitted, and who goes for it.
@Suite struct ConnectionTableTests {
    private typealias Table = ConnectionTable<Int, String>

    @Test func theOldestIdleOneGoes() {
        var table = Table(most: 3, mostPerSource: 10)
        for id in 1...3 { #expect(table.admit(id, source: "a") == .admitted(closing: nil)) }
        table.work(1)
        #expect(table.admit(4, source: "b") == .admitted(closing: 2), "1 works")
        #expect(table.isLeaving(2))
        table.rest(1)
        #expect(table.admit(5, source: "b") == .admitted(closing: 3))
        #expect(table.admit(6, source: "b") == .admitted(closing: 4), "1 is idle only since its request")
        #expect(table.count == 3)
    }

    @Test func nobodyIsClosedWhileItWorks() {
        var table = Table(most: 2, mostPerSource: 10)
        for id in 1...2 {
            #expect(table.admit(id, source: nil) == .admitted(closing: nil))
            table.work(id)
        }
        #expect(table.admit(3, source: nil) == .refused)
        table.rest(2)
        #expect(table.admit(3, source: nil) == .admitted(closing: 2))
    }

    @Test func anAddressMakesRoomForItself() {
        var table = Table(most: 10, mostPerSource: 2)
        #expect(table.admit(1, source: "other") == .admitted(closing: nil))
        #expect(table.admit(2, source: "a") == .admitted(closing: nil))
        #expect(table.admit(3, source: "a") == .admitted(closing: nil))
        #expect(table.admit(4, source: "a") == .admitted(closing: 2), "not the other's, which is older")
        table.work(3)
        table.work(4)
        #expect(table.admit(5, source: "a") == .refused)
        #expect(table.admit(5, source: nil) == .admitted(closing: nil), "a proxy's are not counted")
        table.closed(3)
        #expect(table.admit(6, source: "a") == .admitted(closing: nil))
    }

    @Test func aRequestThatComesFirstTakesTheConnectionBack() {
        var table = Table(most: 1, mostPerSource: 1)
        #expect(table.admit(1, source: "a") == .admitted(closing: nil))
        #expect(table.admit(2, source: "b") == .admitted(closing: 1))
        table.work(1)
        #expect(!table.isLeaving(1))
        #expect(table.count == 2)
        table.closed(1)
        table.closed(1)
        #expect(table.count == 1)
    }

    @Test func whoIsLeavingIsCountedOnce() {
        var table = Table(most: 1, mostPerSource: 1)
        #expect(table.admit(1, source: "a") == .admitted(closing: nil))
        #expect(table.admit(2, source: "a") == .admitted(closing: 1))
        table.closed(1)
        #expect(table.count == 1)
        table.closed(2)
        #expect(table.count == 0)
        #expect(table.admit(3, source: "a") == .admitted(closing: nil))
    }

    /// Against the plain rule, with many turns between requests.
    @Test(arguments: 0..<10) func itIsAlwaysTheOldest(_ seed: UInt64) {
        var random = seed &* 2_862_933_555_777_941_757 &+ 3_037_000_493
        func next(_ most: Int) -> Int {
            random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(random >> 33) % most
        }
        var table = Table(most: 20, mostPerSource: 20)
        // Who is idle, the oldest first; and who works.
        var idle: [Int] = []
        var working: [Int] = []
        for step in 0..<5_000 {
            switch next(3) {
            case 0 where !idle.isEmpty:
                let id = idle.remove(at: next(idle.count))
                table.work(id)
                working.append(id)
            case 1 where !working.isEmpty:
                let id = working.remove(at: next(working.count))
                table.rest(id)
                idle.append(id)
            default:
                let isFull = idle.count + working.count == 20
                let expected: Table.Admission =
                    isFull ? (idle.first.map { .admitted(closing: $0) } ?? .refused) : .admitted(closing: nil)
                #expect(table.admit(step, source: "a") == expected)
                guard expected != .refused else { continue }
                if isFull { table.closed(idle.removeFirst()) }
                idle.append(step)
            }
            #expect(table.count == idle.count + working.count)
        }
    }
}

@Suite struct PatienceTests {
    @Test func whoIsSlowButHonestIsWaitedFor() {
        var patience = Patience(start: .seconds(30), most: .seconds(30), bytesPerSecond: 16 << 10)
        for _ in 0..<1_600 {
            patience.use(.seconds(1))
            patience.earn(16 << 10)
            #expect(!patience.isOver)
        }
    }

    @Test func aByteNowAndThenIsNotEnough() {
        var patience = Patience(start: .seconds(30), most: .seconds(60), bytesPerSecond: 16 << 10)
        patience.earn(25 << 20)
        var waited = 0
        while !patience.isOver {
            patience.use(.seconds(5))
            patience.earn(1)
            waited += 5
        }
        #expect(waited == 65, "what was earned before is kept for a minute and no longer")
    }
}

@Suite struct DescriptorBudgetTests {
    private func shared(_ limit: Int, asked: Int = 0) -> DescriptorBudget? {
        DescriptorBudget(limit: limit, asked: asked, deliveries: 2_048, calls: 264, files: 64)
    }

    @Test func aHighLimitIsNotUsedUp() throws {
        let budget = try #require(shared(1 << 20))
        #expect(budget.connections == 10_000)
        #expect(budget.deliveries == 2_048)
        #expect(budget.calls == 264)
        #expect(budget.files == 64)
        #expect(try #require(shared(1 << 20, asked: 50_000)).connections == 50_000)
    }

    @Test func oneAddressLeavesRoomForOthers() throws {
        #expect(try #require(shared(1 << 20)).connectionsPerAddress(asked: 0) == 2_000)
        #expect(try #require(shared(1 << 20, asked: 600)).connectionsPerAddress(asked: 0) == 300)
        #expect(try #require(shared(1 << 20)).connectionsPerAddress(asked: 9_000) == 9_000)
    }

    @Test(arguments: [160, 200, 256, 512, 1_024, 4_096, 65_536]) func partsStayBelowTheLimit(_ limit: Int) throws {
        for asked in [0, 10, 1_000_000] {
            let budget = try #require(shared(limit, asked: asked))
            let sum = budget.connections + budget.deliveries + budget.calls + 3 * budget.files
            #expect(sum + DescriptorBudget.reserve <= limit)
            #expect(budget.connections >= (asked == 10 ? 10 : 16))
            #expect(min(budget.deliveries, budget.calls, budget.files) >= 4)
            #expect(budget.isLess(than: 1_000_000))
        }
    }

    @Test func belowTheLeastThereIsNothingToShare() { #expect(shared(DescriptorBudget.limitMin - 1) == nil) }
}
