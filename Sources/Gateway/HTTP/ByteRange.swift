/// One range of bytes (RFC 9110, section 14.2); several, and other units, are ignored as that allows.
package struct ByteRange {
    /// Nil when nothing of it is there.
    package let range: Range<Int>?
    package let isPartial: Bool

    package static func parse(_ header: String?, length: Int) -> ByteRange {
        let whole = ByteRange(range: 0..<length, isPartial: false)
        guard let header, header.hasPrefix("bytes=") else { return whole }
        let parts = header.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let bounds = bounds(parts[0], parts[1], length) else { return whole }
        guard bounds.lowerBound < length else { return ByteRange(range: nil, isPartial: true) }
        return ByteRange(range: bounds.clamped(to: 0..<length), isPartial: true)
    }

    /// Nil for what is no range.
    private static func bounds(_ first: Substring, _ last: Substring, _ length: Int) -> Range<Int>? {
        guard let start = number(first), let end = number(last) else { return nil }
        switch (first.isEmpty, last.isEmpty) {
        case (true, true): return nil
        case (true, false): return max(0, length - end)..<length
        case (false, true): return start..<max(start, length)
        case (false, false): return end < start ? nil : start..<(end + 1)
        }
    }

    /// Zero for none; what is beyond any file is as good as the longest. Nil for what has no digits alone.
    private static func number(_ digits: Substring) -> Int? {
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return digits.isEmpty ? 0 : min(Int(digits) ?? Int.max - 1, Int.max - 1)
    }
}
