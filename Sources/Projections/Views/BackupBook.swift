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

    /// The latest horizon of those made after one record and before another, or nil when there is none.
    package func horizon(after first: LogPosition, before last: LogPosition) -> Timestamp? {
        let start = rows.partitionPoint { $0.position <= first }
        return rows[start...].prefix { $0.position < last }.map(\.horizon).max()
    }

    mutating func apply(_ record: EventRecord) {
        guard case .logBackedUp(let event) = record.event else { return }
        rows.append(Row(position: record.position, horizon: event.horizon))
    }
}
