package import Log

/// Operator and auditor tokens, by hash.
package struct TokenRegistry: Sendable, Equatable {
    /// A use is put on record when the one before is older than this.
    package static let usesApartSeconds: UInt64 = 3600

    package struct Row: Sendable, Equatable {
        package let position: LogPosition
        package let role: TokenRole
        package let label: String
        package let created: Timestamp
        package let hash: Digest
        /// Nil: it does not expire.
        package let expiresAt: Timestamp?
        /// The last use that is on record; later ones are at most an hour later.
        package fileprivate(set) var lastUsed: Timestamp?

        package func isValid(at now: Timestamp) -> Bool { expiresAt.map { now < $0 } ?? true }

        package func isUseNews(at now: Timestamp) -> Bool {
            lastUsed.map { now >= $0.advanced(bySeconds: TokenRegistry.usesApartSeconds) } ?? true
        }
    }

    package private(set) var rows: [LogPosition: Row] = [:]
    private var byHash: [Digest: LogPosition] = [:]

    package init() {}

    /// The token with this hash, while it is valid.
    package func token(forHash hash: Digest, at now: Timestamp) -> Row? {
        guard let row = byHash[hash].flatMap({ rows[$0] }), row.isValid(at: now) else { return nil }
        return row
    }

    mutating func apply(_ record: EventRecord) {
        switch record.event {
        case .tokenCreated(let event):
            rows[record.position] = Row(
                position: record.position,
                role: event.role,
                label: event.label,
                created: record.time,
                hash: event.hash,
                expiresAt: event.expiresAt.nanoseconds == 0 ? nil : event.expiresAt
            )
            byHash[event.hash] = record.position
        case .tokenRevoked:
            if let row = rows.removeValue(forKey: record.subject) { byHash[row.hash] = nil }
        case .tokenUsed: rows[record.subject]?.lastUsed = record.time
        default: break
        }
    }
}
