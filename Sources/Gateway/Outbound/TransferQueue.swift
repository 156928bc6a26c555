/// Decides which request runs next: at most so many at once, at most so many per host, hosts in turn.
///
/// libcurl has a queue of its own behind its connection limits, but it is not fit for this use: it knows no time-outs
/// while a transfer waits, and each free place wakes only the transfer that waits longest, so one that waits for a slow
/// host keeps another host's place empty. Here no transfer reaches libcurl before there is a place for it.
package struct TransferQueue<Element> {
    private struct Lane {
        var waiting: [Element] = []
        var running = 0
        /// Whether the host stands in `turns`, where it stands at most once.
        var hasTurn = false
    }

    private let runningMax: Int
    private let runningPerHostMax: Int
    private var lanes: [String: Lane] = [:]
    private var turns: [String] = []
    private var running = 0
    private var waiting = 0

    package init(runningMax: Int, runningPerHostMax: Int) {
        self.runningMax = max(1, runningMax)
        self.runningPerHostMax = max(1, runningPerHostMax)
    }

    /// Whether nothing waits. Running elements do not count.
    package var isEmpty: Bool { waiting == 0 }

    package mutating func enqueue(_ element: Element, host: String) {
        lanes[host, default: Lane()].waiting.append(element)
        waiting += 1
        giveTurn(host)
    }

    /// Takes the next element that has a place. Each one must be answered by one `finished` for its host.
    package mutating func next() -> Element? {
        while running < runningMax, !turns.isEmpty {
            let host = turns.removeFirst()
            guard var lane = lanes.removeValue(forKey: host) else { continue }
            lane.hasTurn = false
            // The lane may have been emptied by `removeWaiting` since it got its turn.
            let element = lane.waiting.isEmpty ? nil : lane.waiting.removeFirst()
            lane.running += element == nil ? 0 : 1
            keep(lane, host: host)
            guard let element else { continue }
            running += 1
            waiting -= 1
            giveTurn(host)
            return element
        }
        return nil
    }

    package mutating func finished(host: String) {
        guard var lane = lanes.removeValue(forKey: host) else { return }
        lane.running -= 1
        running -= 1
        keep(lane, host: host)
        giveTurn(host)
    }

    /// Takes out the waiting elements that match.
    package mutating func removeWaiting(where matches: (Element) -> Bool) -> [Element] {
        var removed: [Element] = []
        for (host, var lane) in lanes where lane.waiting.contains(where: matches) {
            removed += lane.waiting.filter(matches)
            lane.waiting.removeAll(where: matches)
            lanes[host] = nil
            keep(lane, host: host)
        }
        waiting -= removed.count
        return removed
    }

    /// Hosts that are done with are forgotten, since clients choose their names.
    private mutating func keep(_ lane: Lane, host: String) {
        if lane.running > 0 || lane.hasTurn || !lane.waiting.isEmpty { lanes[host] = lane }
    }

    private mutating func giveTurn(_ host: String) {
        guard let lane = lanes[host], !lane.hasTurn, !lane.waiting.isEmpty, lane.running < runningPerHostMax else {
            return
        }
        lanes[host]?.hasTurn = true
        turns.append(host)
    }
}
