/// Who may read next: a few at a time, each in turn, whatever one of them asks for. Pure.
package struct FairQueue<Member: Hashable & Sendable, Ticket: Equatable & Sendable>: Sendable {
    package enum Entry: Equatable, Sendable {
        case begin
        case wait
        /// As many wait as may.
        case full
    }

    package struct Limits: Sendable {
        package let running: Int
        package let runningPerMember: Int
        package let waiting: Int
        package let waitingPerMember: Int

        package init(running: Int, runningPerMember: Int, waiting: Int, waitingPerMember: Int) {
            self.running = running
            self.runningPerMember = runningPerMember
            self.waiting = waiting
            self.waitingPerMember = waitingPerMember
        }
    }

    private struct Line: Sendable {
        var running = 0
        var waiting: [Ticket] = []
    }

    private let limits: Limits
    private var lines: [Member: Line] = [:]
    /// Those who have somebody waiting, the one whose turn it is first.
    private var turns: [Member] = []
    private var running = 0
    package private(set) var waiting = 0

    package init(_ limits: Limits) { self.limits = limits }

    package mutating func enter(_ ticket: Ticket, of member: Member) -> Entry {
        let line = lines[member] ?? Line()
        if running < limits.running, line.running < limits.runningPerMember, line.waiting.isEmpty {
            lines[member, default: Line()].running += 1
            running += 1
            return .begin
        }
        guard waiting < limits.waiting, line.waiting.count < limits.waitingPerMember else { return .full }
        if line.waiting.isEmpty { turns.append(member) }
        lines[member, default: Line()].waiting.append(ticket)
        waiting += 1
        return .wait
    }

    /// One that had begun has ended.
    ///
    /// - Returns: who begins in its place.
    package mutating func leave(_ member: Member) -> [Ticket] {
        running -= 1
        lines[member]?.running -= 1
        tidy(member)
        return begin()
    }

    /// One that waits wants no more.
    ///
    /// - Returns: false when it has begun meanwhile.
    package mutating func cancel(_ ticket: Ticket, of member: Member) -> Bool {
        guard let index = lines[member]?.waiting.firstIndex(of: ticket) else { return false }
        lines[member]?.waiting.remove(at: index)
        waiting -= 1
        if lines[member]?.waiting.isEmpty == true { turns.removeAll { $0 == member } }
        tidy(member)
        return true
    }

    private mutating func begin() -> [Ticket] {
        var begun: [Ticket] = []
        var index = 0
        while running < limits.running, index < turns.count {
            let member = turns[index]
            guard var line = lines[member], line.running < limits.runningPerMember else {
                index += 1
                continue
            }
            begun.append(line.waiting.removeFirst())
            line.running += 1
            running += 1
            waiting -= 1
            lines[member] = line
            turns.remove(at: index)
            if !line.waiting.isEmpty { turns.append(member) }
        }
        return begun
    }

    private mutating func tidy(_ member: Member) {
        if let line = lines[member], line.running == 0, line.waiting.isEmpty { lines[member] = nil }
    }
}
