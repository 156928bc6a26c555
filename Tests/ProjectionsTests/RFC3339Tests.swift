import Foundation
import Projections
import TestSupport
import Testing

@Suite struct RFC3339Tests {
    struct Row: Sendable, CustomTestStringConvertible {
        let text: String
        let nanoseconds: UInt64

        init(_ text: String, _ nanoseconds: UInt64) {
            self.text = text
            self.nanoseconds = nanoseconds
        }

        var testDescription: String { text }
    }

    static let formatted = [
        Row("1970-01-01T00:00:00.000Z", 0),
        Row("1970-01-01T00:00:00.999Z", 999_999_999),
        Row("2000-02-29T23:59:59.001Z", 951_868_799_001_000_000),
        Row("2026-11-01T08:30:00.123Z", 1_793_521_800_123_456_789),
        Row("2100-03-01T00:00:00.000Z", 4_107_542_400_000_000_000),
        Row("2554-07-21T23:34:33.709Z", .max),
    ]

    @Test(arguments: formatted)
    func formats(_ row: Row) {
        #expect(RFC3339.format(Timestamp(row.nanoseconds)) == row.text)
    }

    static let parsed = [
        Row("1970-01-01T00:00:00Z", 0),
        Row("1970-01-01t00:00:00z", 0),
        Row("1970-01-01T01:00:00+01:00", 0),
        Row("1970-01-01T00:00:00.1Z", 100_000_000),
        Row("1970-01-01T00:00:00.123456789Z", 123_456_789),
        Row("2026-11-01T08:30:00.123Z", 1_793_521_800_123_000_000),
        Row("2026-11-01T10:30:00.123+02:00", 1_793_521_800_123_000_000),
        Row("2024-02-29T00:00:00-00:30", 1_709_166_600_000_000_000),
        Row("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
        Row("2554-07-21T23:34:32.999999999Z", 18_446_744_072_999_999_999),
    ]

    @Test(arguments: parsed)
    func parses(_ row: Row) {
        #expect(RFC3339.parse(row.text) == Timestamp(row.nanoseconds))
    }

    /// A client names any time it likes; one beyond the clock's nanoseconds is refused, and does not end the process.
    static let refused = [
        "", "now", "2026-11-01", "2026-11-01T08:30:00", "2026-11-01 08:30:00Z", "2026-11-01T08:30Z",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z",
        "2026-11-31T00:00:00Z", "2026-11-00T00:00:00Z", "2026-11-01T24:00:00Z", "2026-11-01T00:60:00Z",
        "2026-11-01T00:00:61Z", "2026-11-01T00:00:00.Z", "2026-11-01T00:00:00.1234567890Z",
        "2026-11-01T00:00:00+0100", "2026-11-01T00:00:00+24:00", "2026-11-01T00:00:00+01:60",
        "2026-11-01T00:00:00ZZ", "1970-01-01T00:00:00+01:00", "+026-11-01T00:00:00Z", "2026-11-0aT00:00:00Z",
        "１970-01-01T00:00:00Z", "2026-11-01T00:00:00Z ", "1969-12-31T23:59:59Z",
        "2554-07-21T23:34:33Z", "2555-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59",
    ]

    @Test(arguments: refused)
    func refuses(_ text: String) {
        #expect(RFC3339.parse(text) == nil)
    }

    @Test func agreesWithFoundation() throws {
        var random = SeededGenerator(seed: 3339)
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: false)
        for _ in 0..<2000 {
            let seconds = UInt64.random(in: 0..<16_725_225_600, using: &random)
            let text = RFC3339.format(Timestamp(seconds * 1_000_000_000))
            let plain = text.replacingOccurrences(of: ".000Z", with: "Z")
            #expect(plain == style.format(Date(timeIntervalSince1970: Double(seconds))))
            #expect(RFC3339.parse(text) == Timestamp(seconds * 1_000_000_000))
        }
    }
}
