import Log
import Projections

/// A delivery as the API shows it.
struct DeliveryView {
    private let id: LogPosition
    private let row: DeliveryBook.Row
    /// Nil where the event's record is damaged.
    private let type: String?
    /// Nil where the record that scheduled it is.
    private let createdAt: Timestamp?
    private let isDamaged: Bool

    init(_ id: LogPosition, _ row: DeliveryBook.Row, _ ledger: Ledger) throws {
        self.id = id
        self.row = row
        var damage = ReadDamage()
        createdAt = try damage.read { try ledger.event(at: id).time }
        type = try damage.read {
            guard case .eventPublished(let event) = try ledger.event(at: row.event).event else {
                throw GatewayError(.internalError, "position \(row.event) is not an event")
            }
            return event.type
        }
        isDamaged = damage.isMet
    }

    func write(_ json: inout JSONWriter, _ ledger: Ledger) {
        json.string("id", ledger.ids.encode(.delivery, id))
        json.string("event_id", ledger.ids.encode(.event, row.event))
        json.string("event_type", type)
        json.string(
            "conversation_id",
            row.conversation == .zero ? nil : ledger.ids.encode(.conversation, row.conversation)
        )
        json.string("state", row.state.name)
        json.number("attempt_count", row.attempts)
        json.time("next_attempt_at", row.nextAttemptAt)
        json.time("created_at", createdAt)
        let reason = row.heldFor.isEmpty ? row.deadReason : row.heldFor
        if !reason.isEmpty { json.string("reason", reason) }
        if let other = row.replacedBy { json.string("replaced_by", ledger.ids.encode(.delivery, other)) }
        if isDamaged {
            json.bool("damaged", true)
            json.number("position", createdAt == nil ? id.rawValue : row.event.rawValue)
        }
    }
}

/// One attempt as the API shows it, read from its outcome record.
struct AttemptView {
    let number: UInt64
    let startedAt: Timestamp
    let durationMilliseconds: UInt64?
    let httpStatus: UInt64?
    let error: String?
    let excerpt: String?
    private let secret: LogPosition
    private let nextAttemptAt: Timestamp?

    private init(_ event: DeliveryFinished, excerpt: [UInt8]?) {
        number = event.attempt
        startedAt = event.startedAt
        durationMilliseconds = event.durationMilliseconds
        httpStatus = event.httpStatus == 0 ? nil : event.httpStatus
        error = event.error.isEmpty ? nil : event.error
        self.excerpt = excerpt.map { String(decoding: $0, as: UTF8.self) }
        secret = event.secret
        nextAttemptAt = event.nextAttemptAt.nanoseconds == 0 ? nil : event.nextAttemptAt
    }

    static func last(_ row: DeliveryBook.Row, _ ledger: Ledger) throws -> AttemptView? {
        var damage = ReadDamage()
        return row.trail == .zero ? nil : try damage.read { try read(row.trail, ledger)?.view } ?? nil
    }

    /// Oldest first. Outcome records name the one before, so that a damaged one hides those before it.
    ///
    /// - Returns: also the position of such a one.
    static func all(
        _ row: DeliveryBook.Row,
        _ ledger: Ledger
    ) throws -> (views: [AttemptView], damaged: LogPosition?) {
        var views: [AttemptView] = []
        var position = row.trail
        var damage = ReadDamage()
        while position != .zero, let (view, previous) = try damage.read({ try read(position, ledger) }) ?? nil {
            views.append(view)
            position = previous
        }
        return (views.reversed(), damage.isMet ? position : nil)
    }

    private static func read(
        _ position: LogPosition,
        _ ledger: Ledger
    ) throws -> (view: AttemptView, previous: LogPosition)? {
        guard case .deliveryFinished(let event) = try ledger.event(at: position).event else { return nil }
        let excerpt = try? ledger.body(at: position, .responseExcerpt)
        return (AttemptView(event, excerpt: excerpt), event.previous)
    }

    func write(_ json: inout JSONWriter, _ ledger: Ledger) {
        json.number("number", number)
        json.time("started_at", startedAt)
        json.number("duration_ms", durationMilliseconds)
        json.number("status", httpStatus)
        json.string("error", error)
        json.string("response_excerpt", excerpt)
        json.string("secret_id", secret == .zero ? nil : ledger.ids.encode(.secret, secret))
        json.time("next_attempt_at", nextAttemptAt)
    }
}
