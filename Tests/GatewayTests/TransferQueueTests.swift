import Gateway
import Testing

@Suite struct TransferQueueTests {
    @Test func hostsTakeTurns() {
        var queue = TransferQueue<String>(runningMax: 4, runningPerHostMax: 2)
        for element in ["a1", "a2", "a3", "b1", "b2"] { queue.enqueue(element, host: String(element.prefix(1))) }
        #expect(drain(&queue) == ["a1", "b1", "a2", "b2"])
        queue.finished(host: "b")
        #expect(drain(&queue).isEmpty, "host a has its two places")
        queue.finished(host: "a")
        #expect(drain(&queue) == ["a3"])
        #expect(queue.isEmpty)
    }

    @Test func theTotalHoldsAcrossHosts() {
        var queue = TransferQueue<String>(runningMax: 2, runningPerHostMax: 2)
        for host in ["a", "b", "c"] { queue.enqueue(host, host: host) }
        #expect(drain(&queue) == ["a", "b"])
        queue.finished(host: "a")
        #expect(drain(&queue) == ["c"])
    }

    @Test func aHostWithoutPlaceDoesNotHoldUpAnother() {
        var queue = TransferQueue<String>(runningMax: 10, runningPerHostMax: 1)
        for element in ["a1", "a2", "a3", "b1"] { queue.enqueue(element, host: String(element.prefix(1))) }
        #expect(drain(&queue) == ["a1", "b1"])
        queue.finished(host: "b")
        queue.enqueue("b2", host: "b")
        #expect(drain(&queue) == ["b2"])
    }

    @Test func whatIsRemovedNeverRuns() {
        var queue = TransferQueue<String>(runningMax: 10, runningPerHostMax: 1)
        for element in ["a1", "a2", "b1"] { queue.enqueue(element, host: String(element.prefix(1))) }
        #expect(queue.removeWaiting { $0 != "a2" }.sorted() == ["a1", "b1"])
        #expect(drain(&queue) == ["a2"])
        #expect(queue.isEmpty)
        queue.finished(host: "a")
        queue.enqueue("a3", host: "a")
        #expect(drain(&queue) == ["a3"])
    }

    /// Random steps against the two bounds and against loss.
    @Test(arguments: 0..<20) func boundsHoldInAnyOrder(_ seed: UInt64) {
        var random = Steps(state: seed)
        var queue = TransferQueue<Int>(runningMax: 5, runningPerHostMax: 2)
        var hosts: [Int: String] = [:]
        var running: [Int] = []
        for element in 0..<500 {
            hosts[element] = "h\(random.next(below: 4))"
            queue.enqueue(element, host: hosts[element, default: ""])
            if random.next(below: 2) == 0 { running += drain(&queue) }
            while !running.isEmpty, random.next(below: 3) > 0 {
                queue.finished(host: hosts[running.remove(at: random.next(below: running.count)), default: ""])
            }
            #expect(running.count <= 5)
            #expect(Dictionary(grouping: running) { hosts[$0] }.values.allSatisfy { $0.count <= 2 })
        }
        while !running.isEmpty || !queue.isEmpty {
            running += drain(&queue)
            guard let element = running.popLast() else { break }
            queue.finished(host: hosts[element, default: ""])
        }
        #expect(queue.isEmpty, "seed \(seed)")
    }

    private func drain<Element>(_ queue: inout TransferQueue<Element>) -> [Element] {
        var taken: [Element] = []
        while let element = queue.next() { taken.append(element) }
        return taken
    }

    private struct Steps {
        var state: UInt64

        mutating func next(below bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % UInt64(bound))
        }
    }
}
