import Log
import Projections

/// A file of a message as the API shows it beside what the provider said of it.
struct MediaFileView {
    private let id: String
    private let state: MediaBook.ItemState
    private let bytes: UInt64
    /// As it was fetched; empty before.
    let mimeType: String
    /// Why it was given up, or is tried again; empty for neither.
    private let failure: String

    /// Empty when the message has none, or is purged.
    static func all(
        of message: LogPosition,
        _ ledger: Ledger,
        _ damage: inout ReadDamage
    ) throws -> [MediaFileView] {
        let items = ledger.plan { state in state.isPurged(message) ? [] : state.media.rows[message]?.items ?? [] }
        return try items.enumerated().map { index, item in
            try MediaFileView(item, id: ledger.ids.encode(.media, message, part: UInt8(index)), ledger, &damage)
        }
    }

    private init(
        _ item: MediaBook.Item,
        id: String,
        _ ledger: Ledger,
        _ damage: inout ReadDamage
    ) throws {
        // What is not on disk yet is not shown.
        let isSettled = item.record != .zero && item.record <= ledger.log.durable
        let event = isSettled ? try damage.read { try ledger.event(at: item.record).event } : nil
        self.id = id
        state = isSettled ? item.state : .pending
        bytes = item.bytes
        switch event {
        case .mediaFetched:
            (mimeType, failure) = (try ledger.unpurged { try ledger.mediaType(at: item.record) } ?? "", "")
        case .mediaFailed(let event): (mimeType, failure) = ("", event.code)
        default: (mimeType, failure) = ("", "")
        }
    }

    func write(_ json: inout JSONWriter) {
        json.string("id", id)
        json.string("url", MediaPlaces.path(id))
        switch state {
        case .pending: json.string("status", "pending")
        case .failed: json.string("status", "failed")
        case .fetched:
            json.string("status", "fetched")
            json.number("size", bytes)
        }
        if !failure.isEmpty { json.string("error", failure) }
    }
}
