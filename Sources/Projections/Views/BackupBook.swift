package import Log

/// Backups that were made, for those who want to know what can still undo a purge.
package struct BackupBook: Sendable, Equatable {
    private struct Row: Sendable, Equatable {
        let position: LogPosition
        let horizon: Timestamp
    }

    /// In the order of the log.
    private var rows: [Row] = []

    package init() {}

    /// The latest horizon of those made before a record, or nil when there is none. Also a backup that is older than a message
    /// may open it: the seed of the epoch that was current then goes on making keys until that epoch ends.
    package func horizon(before last: LogPosition) -> Timestamp? {
        rows.prefix { $0.position < last }.map(\.horizon).max()
    }

    mutating func apply(_ record: EventRecord) {
        guard case .logBackedUp(let event) = record.event else { return }
        rows.append(Row(position: record.position, horizon: event.horizon))
    }
}
