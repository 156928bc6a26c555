import Foundation
import Projections
import Synchronization

/// The month that a send counts in, by the client's own calendar.
enum UsageMonth {
    /// Making a zone reads the time zone database; that must not happen for every message.
    private static let zones = Mutex<[String: TimeZone]>([:])

    /// What may be set: an IANA name, exactly. What older records hold besides, like `BST`, still counts as Foundation reads it.
    static func isZone(_ identifier: String) -> Bool {
        // The names are ASCII; to Swift a Kelvin sign equals a K.
        identifier.utf8.allSatisfy { $0 < 0x80 } && TimeZoneNames.all.contains(identifier) && zone(identifier) != nil
    }

    /// Year × 100 + month.
    static func of(_ time: Timestamp, timeZone: String) -> UInt64 {
        let seconds = Int64(time.nanoseconds / 1_000_000_000)
        let date = RFC3339.civil(fromDays: (seconds + offset(timeZone, at: seconds)) / 86_400)
        return UInt64(date.year * 100 + date.month)
    }

    private static func offset(_ identifier: String, at seconds: Int64) -> Int64 {
        if identifier == "UTC" { return 0 }
        return Int64(zone(identifier)?.secondsFromGMT(for: Date(timeIntervalSince1970: Double(seconds))) ?? 0)
    }

    private static func zone(_ identifier: String) -> TimeZone? {
        if let known = zones.withLock({ $0[identifier] }) { return known }
        guard let zone = TimeZone(identifier: identifier) else { return nil }
        zones.withLock { $0[identifier] = zone }
        return zone
    }
}

extension JSONFields {
    func timeZone(_ name: String) throws -> String? {
        guard let zone = try string(name) else { return nil }
        guard UsageMonth.isZone(zone) else {
            throw wrong(name, "a name of the IANA time zone database, like Europe/Berlin")
        }
        return zone
    }
}
