/// The forms that one WhatsApp number may have, from the numbering plans: a `wa_id` is not always the dialled number. Only
/// forms that can be of nobody else are made one.
enum NumberingPlan {
    /// Under what a number, given as digits with its country, is found again.
    ///
    /// A Brazilian landline has a form that no digits make: an earlier rule took the ninth digit from every number, so that
    /// the hash of the bare digits may stand for the mobile number that has one more.
    static func form(_ number: String) -> String {
        let digits = [UInt8](number.utf8)
        if digits.starts(with: "55".utf8) { return brazilian(digits) }
        if digits.starts(with: "52".utf8) { return mexican(digits) }
        if digits.starts(with: "54".utf8) { return argentine(digits) }
        return number
    }

    /// What the versions before this rule made of it.
    static func earlierForm(_ number: String) -> String {
        let digits = [UInt8](number.utf8)
        guard digits.count == 13 else { return number }
        if digits.starts(with: "55".utf8), digits[4] == nine { return text(digits, without: 4..<5) }
        let hadMore = digits.starts(with: "521".utf8) || digits.starts(with: "549".utf8)
        return hadMore ? text(digits, without: 2..<3) : number
    }

    /// `55`, an area of two digits, a subscriber number of eight. Mobile ones, which began with 6 to 9, got a 9 before them, which
    /// a `wa_id` may lack. Newer mobile ones are 9 and anything: without the 9 they would be landlines.
    private static func brazilian(_ digits: [UInt8]) -> String {
        switch digits.count {
        case 13 where digits[4] == nine && isMobile(digits[5]): text(digits, without: 4..<5)
        case 12 where !isMobile(digits[4]): "landline/" + text(digits)
        default: text(digits)
        }
    }

    private static func isMobile(_ first: UInt8) -> Bool { (UInt8(ascii: "6")...nine).contains(first) }

    /// `52` and ten digits, which begin with 2 to 9 and are of one subscriber, mobile or not. Until 2019 a mobile one was
    /// dialled from abroad with a 1 before it, and a `wa_id` may have that still.
    private static func mexican(_ digits: [UInt8]) -> String {
        let hasMore = digits.count == 13 && digits[2] == UInt8(ascii: "1") && digits[3] >= UInt8(ascii: "2")
        return hasMore ? text(digits, without: 2..<3) : text(digits)
    }

    /// `54` and ten digits, area and subscriber, which are of one subscriber, mobile or not. From abroad a mobile one is dialled
    /// with a 9 before them, at home with a 15 after the area. Areas are 11, or three or four digits that begin with 2 or 3.
    private static func argentine(_ digits: [UInt8]) -> String {
        if digits.count == 13, digits[2] == nine, beginsWithArea(digits[3...]) { return text(digits, without: 2..<3) }
        guard digits.count == 14, beginsWithArea(digits[2...]) else { return text(digits) }
        // At most one place fits: where 15 stands at one, the next has no 1.
        let places = digits[2] == UInt8(ascii: "1") ? [4] : [5, 6]
        let place = places.first { digits[$0...].starts(with: "15".utf8) }
        return place.map { text(digits, without: $0..<($0 + 2)) } ?? text(digits)
    }

    private static func beginsWithArea(_ national: ArraySlice<UInt8>) -> Bool {
        ["11", "2", "3"].contains { national.starts(with: $0.utf8) }
    }

    private static let nine = UInt8(ascii: "9")

    private static func text(_ digits: [UInt8], without range: Range<Int> = 0..<0) -> String {
        var rest = digits
        rest.removeSubrange(range)
        return String(decoding: rest, as: UTF8.self)
    }
}
