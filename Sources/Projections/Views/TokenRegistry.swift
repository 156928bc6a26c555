package import Log

/// Operator and auditor tokens, by hash.
package struct TokenRegistry: Sendable, Equatable {
    package struct Row: Sendable, Equatable {
        package let position: LogPosition
        package let role: TokenRole
        package let label: String
        package let created: Timestamp
        package let hash: Digest
    }

    package private(set) var rows: [LogPosition: Row] = [:]
    private var byHash: [Digest: LogPosition] = [:]

    package init() {}

    package func role(forHash hash: Digest) -> TokenRole? { byHash[hash].flatMap { rows[$0]?.role } }

    mutating func apply(_ record: EventRecord) {
        switch record.event {
        case .tokenCreated(let event):
            rows[record.position] = Row(
                position: record.position,
                role: event.role,
                label: event.label,
                created: record.time,
                hash: event.hash
            )
            byHash[event.hash] = record.position
        case .tokenRevoked:
            if let row = rows.removeValue(forKey: record.subject) { byHash[row.hash] = nil }
        default: break
        }
    }
}
