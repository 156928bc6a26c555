import Foundation
import Projections

/// The month that a send counts in, by the client's own calendar.
enum UsageMonth {
    static func isZone(_ identifier: String) -> Bool { TimeZone(identifier: identifier) != nil }

    /// Year × 100 + month.
    static func of(_ time: Timestamp, timeZone: String) -> UInt64 {
        let seconds = Double(time.nanoseconds / 1_000_000_000)
        let zone = TimeZone(identifier: timeZone)
        let offset = zone?.secondsFromGMT(for: Date(timeIntervalSince1970: seconds)) ?? 0
        let date = RFC3339.civil(fromDays: (Int64(seconds) + Int64(offset)) / 86_400)
        return UInt64(date.year * 100 + date.month)
    }
}
