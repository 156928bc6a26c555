import Log
import Projections

/// The body of an event as it is delivered: the stored text, with what is known of the message's files in its places.
struct EventRendering: Sendable {
    let ledger: Ledger
    let shelf: MediaShelf
    /// The most that the files of one event may have together where they travel inside it, in bytes.
    let inlineMax: Int

    /// - Parameter carriesFiles: true for the one delivery that has the files of a purge-mode message inside.
    /// - Throws: `bodyPurged`.
    func body(of event: LogPosition, carriesFiles: Bool = false) throws -> [UInt8] {
        let text = try ledger.body(at: event, .rendering) ?? []
        // Most events have none, and are not read a second time for it.
        guard MediaPlaces.areIn(text) else { return text }
        let message = try ledger.event(at: event).message
        let row = ledger.plan { $0.media.rows[message] }
        var room = inlineMax
        return try MediaPlaces.fill(text) { place in
            guard let row, row.items.indices.contains(place.index) else { return .unknown }
            let item = row.items[place.index]
            if !place.isInline { return try known(item, place) }
            if !carriesFiles { return .omitted("webhook_only") }
            return try inline(item, message, place.index, &room)
        }
    }

    /// How much memory the files inside this message's webhook take, while it is made and sent: Base64 is a third longer, and
    /// text, body and libcurl have one copy each.
    func inlineBytes(_ row: MediaBook.Row) -> Int {
        guard row.isInline else { return 0 }
        let files = row.items.reduce(UInt64(0)) { $0 + ($1.state == .fetched ? $1.bytes : 0) }
        return Int(min(files, UInt64(inlineMax))) * 4
    }

    private func known(_ item: MediaBook.Item, _ place: MediaPlaces.Place) throws -> MediaPlaces.Filling {
        guard item.state == .fetched, item.isEarly else { return .unknown }
        return .size(item.bytes, mimeType: place.wantsMimeType ? try mediaType(item) : "")
    }

    /// That the record of a file is damaged must not keep the event itself.
    private func mediaType(_ item: MediaBook.Item) throws -> String {
        try ledger.readable { try ledger.mediaType(at: item.record) } ?? ""
    }

    /// In the order of the message, as long as they fit.
    private func inline(
        _ item: MediaBook.Item,
        _ message: LogPosition,
        _ index: Int,
        _ room: inout Int
    ) throws -> MediaPlaces.Filling {
        switch item.state {
        case .pending: return .omitted("unavailable")
        case .failed:
            guard case .mediaFailed(let event) = try ledger.readable({ try ledger.event(at: item.record).event }) else {
                return .omitted("unavailable")
            }
            return .omitted(event.code == MediaDownload.tooLarge.code ? "too_large" : "unavailable")
        case .fetched:
            guard item.isEarly else { return .omitted("unavailable") }
            guard item.bytes <= UInt64(room) else { return .omitted("too_large") }
            // What the disk does not give back must not keep the message itself.
            guard let bytes = try ledger.readable({ try shelf.read(message, index) }) else {
                return .omitted("unavailable")
            }
            room -= bytes.count
            let text = [UInt8](Base64.encode(bytes).utf8)
            return .content(text, size: item.bytes, mimeType: try mediaType(item))
        }
    }
}

extension Ledger {
    /// What type a fetched file is of.
    ///
    /// - Parameter record: of its `media.fetched`.
    func mediaType(at record: LogPosition) throws -> String {
        String(decoding: try body(at: record, .content) ?? [], as: UTF8.self)
    }

    /// What can be read, or nil when the medium does not give it back; that a message is purged is still an error.
    fileprivate func readable<T>(_ read: () throws -> T) throws -> T? {
        do {
            return try read()
        } catch let error as GatewayError where error == .purged {
            throw error
        } catch {
            return nil
        }
    }
}
