import Log
import Projections

extension PurgeBook.Subject {
    /// The records whose keys a purge destroys. A client's keys go together, without anyone naming them.
    func records(in inbox: borrowing Inbox) -> [LogPosition] {
        switch self {
        case .client: return []
        case .message(let record), .secret(let record): return [record]
        case .conversation(let id):
            let row = inbox.conversations[id]
            return [id] + (row?.messages ?? []) + (row?.others ?? [])
        }
    }

    /// The keys that a purge destroys. A record without a sealed section has none.
    func targets(_ records: [LogPosition], _ reader: LogReader) throws -> [KeyStore.Target] {
        if case .client(let client) = self { return [.client(client)] }
        return try records.compactMap { position in
            try reader.record(at: position).withView { KeyReference($0.sealed).map { .leaf($0) } }
        }
    }
}
