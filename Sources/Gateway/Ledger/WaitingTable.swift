package import Log
import Projections

/// What a request waits for. A signal says no more than that it is worth looking again.
package enum Progress: Hashable, Sendable {
    /// The events of a client, and what they say of files.
    case events(LogPosition)
    case message(LogPosition)
    case delivery(LogPosition)
    /// Keys that are destroyed.
    case purges

    /// What waits for something that this record may have changed.
    static func touched(by record: EventRecord) -> [Progress] {
        var touched: [Progress] = []
        if record.message != .zero { touched.append(.message(record.message)) }
        switch record.event {
        case .eventPublished, .mediaFetched, .mediaFailed, .purgeRequested: touched.append(.events(record.client))
        case .deliveryFinished, .deliveryDiscarded: touched.append(.delivery(record.subject))
        case .purgeCompleted, .conversationErased: touched.append(.purges)
        default: break
        }
        return touched
    }

    /// The client all of whose waiting requests have to look again: what let them in may be over, or much is erased at once.
    static func isForAll(_ record: EventRecord) -> Bool {
        switch record.event {
        case .clientDeleted, .eraseRequested: true
        default: record.event.type.changesAccess
        }
    }
}

/// Who waits for what, without the waiting. A signal that comes before its waiter sleeps is kept for it, so that none is lost.
package struct WaitingTable<Sleeper> {
    package typealias ID = UInt64

    private struct Entry {
        let client: LogPosition
        let progress: Progress
        var isSignalled = false
        /// Its caller has left, or the gateway stops: there is nothing to wait for any more.
        var isOver = false
        var sleeper: Sleeper?
        var due: BootTime?
    }

    private var entries: [ID: Entry] = [:]
    private var byProgress: [Progress: Set<ID>] = [:]
    private var byClient: [LogPosition: Set<ID>] = [:]
    private var last = ID(0)
    private var isStopped = false

    package init() {}

    package var count: Int { entries.count }

    /// When the next sleeper is to be woken though nothing happens.
    package var nextDue: BootTime? { entries.values.lazy.compactMap(\.due).min() }

    /// Nil when the client has `most` already.
    package mutating func enter(_ client: LogPosition, for progress: Progress, most: Int) -> ID? {
        guard byClient[client, default: []].count < most else { return nil }
        last += 1
        entries[last] = Entry(client: client, progress: progress, isOver: isStopped)
        byProgress[progress, default: []].insert(last)
        byClient[client, default: []].insert(last)
        return last
    }

    package mutating func leave(_ id: ID) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        WaitingTable.remove(id, from: &byProgress, at: entry.progress)
        WaitingTable.remove(id, from: &byClient, at: entry.client)
    }

    private static func remove<Key: Hashable>(_ id: ID, from index: inout [Key: Set<ID>], at key: Key) {
        index[key]?.remove(id)
        if index[key]?.isEmpty == true { index[key] = nil }
    }

    package func isOver(_ id: ID) -> Bool { entries[id]?.isOver ?? true }

    /// False when there was a signal since the last sleep: it is to look again instead.
    package mutating func sleep(_ id: ID, _ sleeper: Sleeper, until due: BootTime) -> Bool {
        guard var entry = entries[id], !entry.isOver else { return false }
        let wasSignalled = entry.isSignalled
        entry.isSignalled = false
        if !wasSignalled {
            entry.sleeper = sleeper
            entry.due = due
        }
        entries[id] = entry
        return !wasSignalled
    }

    // MARK: Signals, which return whom to wake

    package mutating func signal(_ progress: Progress) -> [Sleeper] { wake(byProgress[progress] ?? []) }

    package mutating func signal(client: LogPosition) -> [Sleeper] { wake(byClient[client] ?? []) }

    package mutating func signalDue(at now: BootTime) -> [Sleeper] {
        wake(entries.filter { entry in entry.value.due.map { $0 <= now } ?? false }.keys)
    }

    package mutating func end(_ id: ID) -> Sleeper? {
        entries[id]?.isOver = true
        return wake([id]).first
    }

    /// Ends all, and whoever comes later at once.
    package mutating func stop() -> [Sleeper] {
        isStopped = true
        for id in Array(entries.keys) { entries[id]?.isOver = true }
        return wake(Array(entries.keys))
    }

    private mutating func wake(_ ids: some Sequence<ID>) -> [Sleeper] {
        var woken: [Sleeper] = []
        for id in ids {
            guard var entry = entries[id] else { continue }
            if let sleeper = entry.sleeper {
                woken.append(sleeper)
                entry.sleeper = nil
                entry.due = nil
            } else {
                entry.isSignalled = true
            }
            entries[id] = entry
        }
        return woken
    }
}
