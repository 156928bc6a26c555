package import Log

/// Which key signed checkpoints when, and under which name, as the history itself tells it: what a checkpoint of any time is
/// judged by. A pure fold, of records that may have gaps between them.
package struct SigningHistory: Sendable {
    /// A key, from the record that names it up to the one that names the next.
    private struct Reign: Sendable {
        let from: LogPosition
        let key: VerifierKey
    }

    /// Where the log went on under a new identity, so that some may know another history behind a certain position.
    package struct Branch: Sendable, Equatable {
        /// The record that says so.
        package let position: LogPosition
        /// The last position of which it is certain that both histories have it.
        package let shared: LogPosition

        package init(position: LogPosition, shared: LogPosition) {
            self.position = position
            self.shared = shared
        }
    }

    private var reigns: [Reign] = []
    private var branches: [Branch] = []

    package init() {}

    /// The keys the history names, the newest last.
    package var keys: [VerifierKey] { reigns.map(\.key) }

    /// Looks at one record, in order.
    package mutating func note(_ view: RecordView) {
        let named: Set<EventType> = [.logKeyRotated, .logRestored, .logSalvaged]
        guard let type = EventType(rawValue: view.type), named.contains(type), let record = try? EventRecord(view)
        else {
            return
        }
        apply(record)
    }

    package mutating func apply(_ record: EventRecord) {
        switch record.event {
        case .logKeyRotated(let event):
            guard let key = VerifierKey(event.verifierKeyAfter) else { return }
            reigns.append(Reign(from: record.position, key: key))
        case .logRestored(let event):
            guard !event.logId.bytes.isEmpty else { return }
            branches.append(Branch(position: record.position, shared: event.backupPosition))
        case .logSalvaged(let event):
            branches.append(Branch(position: record.position, shared: event.shared))
        default: return
        }
    }

    package enum Judgement: Sendable, Equatable {
        /// Signed by the key that was in force when the log had that many records.
        case genuine
        /// By none of the keys that may have signed it.
        case unsigned
        /// By one of the keys that may have signed it, which the history does not name.
        case unnamed
        /// This log never had the name that the checkpoint gives.
        case foreign
        /// By a key of the history that was in force from and to other positions; `through` is nil for the present key.
        case outOfTime(VerifierKey, from: LogPosition, through: LogPosition?)
        /// By the log that this one went on from, behind the place where it did.
        case abandoned(Branch)
    }

    /// - Parameters:
    ///   - keys: those that may have signed it; nil for all that the history names.
    ///   - isOurs: whether this log had the checkpoint's root at its size.
    package func judge(
        _ note: SignedNote,
        of checkpoint: Checkpoint,
        by keys: [VerifierKey]? = nil,
        isOurs: Bool
    ) -> Judgement {
        let signers = reigns.indices.filter { index in
            let key = reigns[index].key
            return keys?.contains(key) != false && key.name == checkpoint.origin && note.isSigned(by: key)
        }
        // A key may be in force twice; then any of its times will do.
        let judged = signers.map { judge(checkpoint, signedIn: $0, isOurs: isOurs) }
        if let judgement = judged.first(where: { $0 == .genuine }) ?? judged.first { return judgement }
        let named = reigns.filter { $0.key.name == checkpoint.origin }
        if named.isEmpty, !reigns.isEmpty { return .foreign }
        guard let keys, keys.contains(where: { $0.name == checkpoint.origin && note.isSigned(by: $0) }) else {
            return .unsigned
        }
        // A key that came behind the place where this log went on is one that it cannot know.
        let left = branches.first { branch in
            checkpoint.size > branch.shared.rawValue && named.contains { $0.from < branch.position }
        }
        if let left, !isOurs { return .abandoned(left) }
        return .unnamed
    }

    private func judge(_ checkpoint: Checkpoint, signedIn index: Int, isOurs: Bool) -> Judgement {
        let from = reigns[index].from
        let next = index + 1 < reigns.count ? reigns[index + 1].from : nil
        let size = LogPosition(checkpoint.size)
        // The log that this one went on from signed on with the same key, and nobody here knows how long.
        let left = branches.first { branch in
            branch.position > from && next.map { branch.position < $0 } != false && size > branch.shared
        }
        if let left, size >= left.position || !isOurs { return .abandoned(left) }
        if size >= from, next.map({ size < $0 }) != false { return .genuine }
        return .outOfTime(reigns[index].key, from: from, through: next.map { LogPosition($0.rawValue - 1) })
    }
}
