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
        guard first.utf8.allSatisfy(isDigit), last.utf8.allSatisfy(isDigit) else { return nil }
        if first.isEmpty {
            guard let count = Int(last) else { return nil }
            return count == 0 ? length..<length : max(0, length - count)..<length
        }
        guard let start = Int(first) else { return nil }
        if last.isEmpty { return start..<max(start, length) }
        guard let end = Int(last), end >= start, end < Int.max else { return nil }
        return start..<(end + 1)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }
}
