import Log
import Projections

extension Ledger {
    /// The records that said something about a message's status, the newest first. Each names the one before; the message's own
    /// record is not among them. One that is damaged ends the trail, for nobody knows what came before it.
    func trail(
        of message: LogPosition,
        _ row: Inbox.MessageRow,
        _ damage: inout ReadDamage
    ) throws -> [EventRecord] {
        var records: [EventRecord] = []
        var position = row.trail
        while position > message {
            guard let record = try damage.read({ try event(at: position) }) else { break }
            records.append(record)
            position = record.event.previousStatus ?? message
        }
        return records
    }

    /// The provider's id of a message, where this record of its trail told it; nil also once it is purged.
    func providerMessageID(toldBy record: EventRecord) throws -> String? {
        switch record.event {
        case .sendFinished(let event) where event.outcome == .accepted: break
        case .messageStatusChanged(let event) where !event.providerKey.isAbsent: break
        default: return nil
        }
        return try unpurged { try body(at: record.position, .content) }.map { String(decoding: $0, as: UTF8.self) }
    }
}

extension Event {
    /// The record before this one on the trail of a message; nil for what is not on one.
    fileprivate var previousStatus: LogPosition? {
        switch self {
        case .sendFinished(let event): event.previous
        case .messageStatusChanged(let event): event.previous
        case .sendReconciled(let event): event.previous
        case .sendCanceled(let event): event.previous
        case .sendExpired(let event): event.previous
        case .purgeRequested(let event): event.previous
        default: nil
        }
    }
}
