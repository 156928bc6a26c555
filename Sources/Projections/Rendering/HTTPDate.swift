/// A date as HTTP writes it: any of the three forms of RFC 9110, section 5.6.7. The day of the week must be one, and is not
/// compared with the date.
package enum HTTPDate {
    private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let longDays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Seconds since 1970, which may be negative; nil for anything else.
    ///
    /// - Parameter now: By it a year of two digits is understood: it is at most 50 years ahead.
    package static func parse(_ text: String, now: Timestamp) -> Int64? {
        let parts = text.split(separator: " ", omittingEmptySubsequences: false)
        switch parts.count {
        case 6 where parts[2].isEmpty: return asctime(parts[0], parts[1], parts[3], width: 1, parts[4], parts[5])
        case 6: return fixed(parts)
        case 5: return asctime(parts[0], parts[1], parts[2], width: 2, parts[3], parts[4])
        case 4: return obsolete(parts, now)
        default: return nil
        }
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    private static func fixed(_ parts: [Substring]) -> Int64? {
        guard parts[0].last == ",", days.contains(String(parts[0].dropLast())), parts[5] == "GMT" else { return nil }
        return seconds(number(parts[3], 4), parts[2], number(parts[1], 2), parts[4])
    }

    /// `Sunday, 06-Nov-94 08:49:37 GMT`
    private static func obsolete(_ parts: [Substring], _ now: Timestamp) -> Int64? {
        let date = parts[1].split(separator: "-", omittingEmptySubsequences: false)
        guard parts[0].last == ",", longDays.contains(String(parts[0].dropLast())), parts[3] == "GMT",
            date.count == 3, let short = number(date[2], 2)
        else { return nil }
        let present = RFC3339.civil(fromDays: Int64(now.wholeSeconds) / 86_400).year
        let year = present - present % 100 + short
        return seconds(year > present + 50 ? year - 100 : year, date[1], number(date[0], 2), parts[2])
    }

    /// `Sun Nov  6 08:49:37 1994`
    private static func asctime(
        _ weekday: Substring,
        _ month: Substring,
        _ day: Substring,
        width: Int,
        _ time: Substring,
        _ year: Substring
    ) -> Int64? {
        guard days.contains(String(weekday)) else { return nil }
        return seconds(number(year, 4), month, number(day, width), time)
    }

    private static func seconds(_ year: Int64?, _ month: Substring, _ day: Int64?, _ time: Substring) -> Int64? {
        let parts = time.split(separator: ":", omittingEmptySubsequences: false)
        guard let year, let day, let index = months.firstIndex(of: String(month)), parts.count == 3,
            let hour = number(parts[0], 2), let minute = number(parts[1], 2), let second = number(parts[2], 2),
            hour < 24, minute < 60, second < 61
        else { return nil }
        let date = RFC3339.days(year: year, month: Int64(index) + 1, day: day)
        // A day that the month does not have comes back as one of the next.
        guard day > 0, RFC3339.civil(fromDays: date).day == day else { return nil }
        return date * 86_400 + hour * 3600 + minute * 60 + second
    }

    private static func number(_ digits: Substring, _ count: Int) -> Int64? {
        guard digits.utf8.count == count, digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return digits.utf8.reduce(0) { $0 * 10 + Int64($1 - 48) }
    }
}
