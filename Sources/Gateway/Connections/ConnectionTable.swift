/// Which connections are open, from where, and which of them wait for a request since when. Pure: it says whom to close, and the
/// registry does it.
///
/// One that was chosen to be closed counts no more, but it is known until it has closed: a request that reached it before the close
/// did takes it back, over the limits if need be.
package struct ConnectionTable<ID: Hashable & Sendable, Address: Hashable & Sendable>: Sendable {
    package enum Admission: Equatable, Sendable {
        /// In the place of another one, where there was no room.
        case admitted(closing: ID?)
        /// All that could have made room are working.
        case refused
    }

    private struct Row {
        let source: Address?
        /// Since which turn it is idle; nil while it works or is about to be closed.
        var idle: UInt64?
        var isLeaving = false
    }

    private struct Source {
        var count = 0
        var idle = IdleQueue<ID>()
    }

    private let most: Int
    private let mostPerSource: Int
    private var rows: [ID: Row] = [:]
    private var sources: [Address: Source] = [:]
    private var idle = IdleQueue<ID>()
    private var turn: UInt64 = 0
    /// Those that are about to be closed left out.
    package private(set) var count = 0

    package init(most: Int, mostPerSource: Int) {
        self.most = max(1, most)
        self.mostPerSource = max(1, mostPerSource)
    }

    /// A new connection, which is idle.
    ///
    /// - Parameter source: nil where connections are not counted by address.
    package mutating func admit(_ id: ID, source: Address?) -> Admission {
        var leaving: ID?
        if let source, (sources[source]?.count ?? 0) >= mostPerSource {
            guard let oldest = takeOldest(of: source) else { return .refused }
            leaving = oldest
        } else if count >= most {
            guard let oldest = takeOldest() else { return .refused }
            leaving = oldest
        }
        if let leaving { leave(leaving) }
        rows[id] = Row(source: source)
        enter(source)
        rest(id)
        return .admitted(closing: leaving)
    }

    /// A request has begun on it.
    package mutating func work(_ id: ID) {
        guard let row = rows[id] else { return }
        if row.isLeaving { enter(row.source) }
        rows[id]?.isLeaving = false
        rows[id]?.idle = nil
    }

    /// It waits for its next request.
    package mutating func rest(_ id: ID) {
        guard let row = rows[id], !row.isLeaving else { return }
        turn += 1
        rows[id]?.idle = turn
        let entry = IdleQueue<ID>.Entry(id: id, turn: turn)
        let isCurrent = isCurrent
        idle.add(entry, liveMax: rows.count, where: isCurrent)
        if let source = row.source {
            let members = sources[source]?.count ?? 0
            sources[source]?.idle.add(entry, liveMax: members, where: isCurrent)
        }
    }

    package mutating func closed(_ id: ID) {
        guard let row = rows.removeValue(forKey: id), !row.isLeaving else { return }
        exit(row.source)
    }

    /// Whether it is still meant to be closed.
    package func isLeaving(_ id: ID) -> Bool { rows[id]?.isLeaving ?? false }

    package func isIdle(_ id: ID) -> Bool { rows[id]?.idle != nil }

    private mutating func leave(_ id: ID) {
        guard let row = rows[id] else { return }
        rows[id]?.isLeaving = true
        rows[id]?.idle = nil
        exit(row.source)
    }

    private mutating func enter(_ source: Address?) {
        count += 1
        if let source { sources[source, default: Source()].count += 1 }
    }

    private mutating func exit(_ source: Address?) {
        count -= 1
        guard let source, let members = sources[source]?.count else { return }
        if members > 1 { sources[source]?.count = members - 1 } else { sources[source] = nil }
    }

    private mutating func takeOldest() -> ID? {
        let isCurrent = isCurrent
        return idle.takeOldest(where: isCurrent)
    }

    private mutating func takeOldest(of source: Address) -> ID? {
        let isCurrent = isCurrent
        return sources[source]?.idle.takeOldest(where: isCurrent)
    }

    /// Holds the rows as they are: while it lives, a change of them copies them all.
    private var isCurrent: (IdleQueue<ID>.Entry) -> Bool {
        { [rows] in rows[$0.id]?.idle == $0.turn }
    }
}

/// Idle connections, the oldest first. Entries are not looked for when a connection gets to work: those that are out of date are
/// passed over, and swept out when they are the greater part.
struct IdleQueue<ID: Hashable & Sendable>: Sendable {
    struct Entry: Sendable {
        let id: ID
        let turn: UInt64
    }

    private static var slack: Int { 64 }
    private var entries: [Entry] = []
    private var first = 0

    var count: Int { entries.count - first }

    mutating func add(_ entry: Entry, liveMax: Int, where isCurrent: (Entry) -> Bool) {
        entries.append(entry)
        guard entries.count > 2 * liveMax + IdleQueue.slack else { return }
        entries = entries[first...].filter(isCurrent)
        first = 0
    }

    mutating func takeOldest(where isCurrent: (Entry) -> Bool) -> ID? {
        while first < entries.count {
            let entry = entries[first]
            first += 1
            if isCurrent(entry) { return entry.id }
        }
        entries.removeAll(keepingCapacity: true)
        first = 0
        return nil
    }
}
