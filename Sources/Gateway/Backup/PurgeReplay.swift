package import Log
package import Projections

/// The purges of a history, to be carried out once more on keys of a backup, which may be older than they are.
package struct PurgeReplay: Sendable {
    /// How far apart two records may lie to be read in one go. Behind that, looking one up costs less than reading on.
    private static let distanceMax: UInt64 = 256
    private static let shownMax = 5

    /// Whose time had come when the history ended. A purge that was only asked for is carried out with them: the next start puts
    /// it on record. A secret that ends later is needed until then.
    private let ended: Set<PurgeBook.Subject>
    /// What is to be destroyed.
    package let targets: [KeyStore.Target]
    private let destroyed: Set<KeyStore.Target>

    package var count: Int { ended.count }

    /// Finds the keys, by reading the records that they sealed in the order in which they lie.
    ///
    /// - Throws: `corrupt`, naming positions, when records are damaged, so that nobody knows their keys.
    package init(_ state: LogState, _ reader: LogReader) throws {
        ended = Set(
            state.purges.entries.keys.filter { (state.purges.pending[$0] ?? Timestamp(0)) <= state.time }
        )
        var destroyed: Set<KeyStore.Target> = []
        var wanted: Set<LogPosition> = []
        for subject in ended {
            if case .client(let client) = subject { destroyed.insert(.client(client)) }
            wanted.formUnion(subject.records(in: state.inbox))
        }
        var damaged: [LogPosition] = []
        for run in PurgeReplay.runs(of: wanted.sorted()) {
            try PurgeReplay.read(run, reader, &destroyed, &damaged)
        }
        if !damaged.isEmpty { throw PurgeReplay.refusal(damaged) }
        self.destroyed = destroyed
        targets = Array(destroyed)
    }

    /// Positions that ascend, divided where the next one is far off.
    private static func runs(of positions: [LogPosition]) -> [ArraySlice<LogPosition>] {
        var runs: [ArraySlice<LogPosition>] = []
        var start = 0
        for index in positions.indices {
            let isLast = index + 1 == positions.count
            guard isLast || positions[index + 1].rawValue - positions[index].rawValue > distanceMax else { continue }
            runs.append(positions[start...index])
            start = index + 1
        }
        return runs
    }

    /// Notes the keys of some records, and which of these cannot be read.
    private static func read(
        _ wanted: ArraySlice<LogPosition>,
        _ reader: LogReader,
        _ destroyed: inout Set<KeyStore.Target>,
        _ damaged: inout [LogPosition]
    ) throws {
        guard let first = wanted.first, let last = wanted.last else { return }
        var left = wanted
        try reader.salvage(
            from: first,
            through: last,
            { view in
                while let next = left.first, next < view.position {
                    damaged.append(next)
                    left.removeFirst()
                }
                guard left.first == view.position else { return }
                left.removeFirst()
                if view.sealed.isEmpty, view.computedDigest == view.storedDigest { return }
                if view.computedDigest == view.storedDigest, let reference = KeyReference(view.sealed) {
                    destroyed.insert(.leaf(reference))
                } else {
                    damaged.append(view.position)
                }
            },
            gap: { _, _ in }
        )
        damaged += left
    }

    private static func refusal(_ damaged: [LogPosition]) -> LogError {
        let shown = damaged.prefix(shownMax).map(\.description).joined(separator: ", ")
        let more = damaged.count > shownMax ? " and \(damaged.count - shownMax) more" : ""
        return LogError(
            .corrupt,
            "the records at the positions \(shown)\(more) are damaged, so nobody knows which keys their purges destroyed, "
                + "and the backup would bring those back"
        )
    }

    /// Whether a key must not come back.
    func destroys(_ reference: KeyReference) -> Bool {
        destroyed.contains(.leaf(reference)) || destroyed.contains(.client(LogPosition(reference.client)))
    }

    /// Whether nothing of a message may come back, its media files included.
    ///
    /// - Parameter state: that this was made of.
    func covers(_ message: LogPosition, _ state: LogState) -> Bool {
        if ended.contains(.message(message)) || ended.contains(.secret(message)) { return true }
        guard let row = state.inbox.messages[message] else { return false }
        return ended.contains(.conversation(row.conversation)) || ended.contains(.client(row.client))
    }
}
