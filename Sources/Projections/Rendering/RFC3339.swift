/// Times as the API shows them: RFC 3339, UTC, milliseconds, like `2026-11-01T08:30:00.123Z`.
package enum RFC3339 {
    package static func format(_ time: Timestamp) -> String {
        var bytes: [UInt8] = []
        append(time, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    package static func append(_ time: Timestamp, to bytes: inout [UInt8]) {
        let seconds = Int64(time.nanoseconds / 1_000_000_000)
        let date = civil(fromDays: seconds / 86_400)
        let second = seconds % 86_400
        let milliseconds = Int64(time.nanoseconds / 1_000_000 % 1_000)
        bytes.reserveCapacity(bytes.count + 24)
        append(date.year, 4, "-", to: &bytes)
        append(date.month, 2, "-", to: &bytes)
        append(date.day, 2, "T", to: &bytes)
        append(second / 3600, 2, ":", to: &bytes)
        append(second / 60 % 60, 2, ":", to: &bytes)
        append(second % 60, 2, ".", to: &bytes)
        append(milliseconds, 3, "Z", to: &bytes)

    }

    /// Accepts an RFC 3339 time of the years 1970 to 2553 with `Z` or an offset, and up to nine digits of fraction. Nil for
    /// anything else.
    package static func parse(_ text: String) -> Timestamp? {
        let bytes = [UInt8](text.utf8)
        guard bytes.count >= 20, bytes[4] == 45, bytes[7] == 45, bytes[10] == 84 || bytes[10] == 116,
            bytes[13] == 58, bytes[16] == 58
        else { return nil }
        guard let year = number(bytes[0..<4]), let month = number(bytes[5..<7]), let day = number(bytes[8..<10]),
            let hour = number(bytes[11..<13]), let minute = number(bytes[14..<16]), let second = number(bytes[17..<19]),
            year >= 1970, (1...12).contains(month), day >= 1, day <= daysIn(month: month, year: year),
            hour < 24, minute < 60, second < 61
        else { return nil }
        var rest = bytes[19...]
        guard let fraction = takeFraction(&rest), let offset = takeOffset(rest) else { return nil }
        let total = days(year: year, month: month, day: day) * 86_400 + hour * 3600 + minute * 60 + second - offset
        // Nanoseconds since 1970 in 64 bits end in the year 2554.
        guard total >= 0, total < Int64(UInt64.max / 1_000_000_000) else { return nil }
        return Timestamp(UInt64(total) * 1_000_000_000 + fraction)
    }

    private static func takeFraction(_ rest: inout ArraySlice<UInt8>) -> UInt64? {
        guard rest.first == 46 else { return 0 }
        let digits = rest.dropFirst().prefix { $0 >= 48 && $0 <= 57 }
        guard (1...9).contains(digits.count), let value = number(digits) else { return nil }
        rest = rest.dropFirst(1 + digits.count)
        return (digits.count..<9).reduce(UInt64(value)) { scaled, _ in scaled * 10 }
    }

    private static func takeOffset(_ rest: ArraySlice<UInt8>) -> Int64? {
        let bytes = Array(rest)
        if bytes == [90] || bytes == [122] { return 0 }
        guard bytes.count == 6, bytes[0] == 43 || bytes[0] == 45, bytes[3] == 58,
            let hours = number(bytes[1..<3]), let minutes = number(bytes[4..<6]), hours < 24, minutes < 60
        else { return nil }
        return (bytes[0] == 43 ? 1 : -1) * (hours * 3600 + minutes * 60)
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> Int64? {
        guard digits.allSatisfy({ $0 >= 48 && $0 <= 57 }) else { return nil }
        return digits.reduce(0) { $0 * 10 + Int64($1 - 48) }
    }

    private static func append(_ value: Int64, _ width: Int, _ separator: Unicode.Scalar, to bytes: inout [UInt8]) {
        var divisor: Int64 = width == 4 ? 1000 : width == 3 ? 100 : 10
        while divisor > 0 {
            bytes.append(UInt8(48 + value / divisor % 10))
            divisor /= 10
        }
        bytes.append(UInt8(ascii: separator))
    }

    private static func daysIn(month: Int64, year: Int64) -> Int64 {
        let next = month == 12 ? days(year: year + 1, month: 1, day: 1) : days(year: year, month: month + 1, day: 1)
        return next - days(year: year, month: month, day: 1)
    }

    /// Days since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
    package static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    /// The inverse of `days`.
    package static func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}
