package import Projections

/// When a token ends, as a person says it.
package enum TokenExpiry {
    private static let units: [Character: UInt64] = ["m": 60, "h": 3600, "d": 86_400]

    /// A time in RFC 3339, or from now `90d`, `12h`, `30m`; nil for anything else.
    package static func parse(_ text: String, now: Timestamp) -> Timestamp? {
        if let time = RFC3339.parse(text) { return time }
        guard let unit = text.last.flatMap({ units[$0] }), text.utf8.dropLast().allSatisfy({ (48...57).contains($0) }),
            let number = UInt64(text.dropLast()), number > 0, number < 1 << 32
        else { return nil }
        let time = now.advanced(bySeconds: number * unit)
        // Later than a time can be written.
        return time < Timestamp(.max) ? time : nil
    }
}
