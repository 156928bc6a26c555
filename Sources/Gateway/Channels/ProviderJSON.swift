/// A view of JSON that a provider sent, without a tree of its own: members and elements are slices of the bytes as they came.
///
/// Lenient where `JSONParser` is strict, because a verified message must never be lost for its form: a name may come twice
/// (the first counts), half a surrogate pair becomes U+FFFD, and a number keeps its digits, since ids of Meta do not fit a
/// double. The grammar is checked once, for the whole, so every look-up can rely on it. A look-up takes time in proportion to
/// the value it looks in. Depth has no limit, since nothing here calls itself: one item that is nested without end must not
/// make the request unreadable in which it came with others.
package struct ProviderJSON: Sendable {
    private let bytes: ArraySlice<UInt8>

    /// Nil unless the bytes are exactly one JSON value (RFC 8259).
    package init?(_ bytes: [UInt8]) {
        var scanner = JSONScanner(bytes[...])
        guard scanner.skipValue() else { return nil }
        scanner.skipSpace()
        guard scanner.isAtEnd else { return nil }
        self.bytes = bytes[...]
    }

    private init(checked bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    /// The bytes of this value, as they came.
    package var raw: [UInt8] { Array(bytes) }

    // MARK: Structure

    /// The member of this name; nil for null, for none, and for what is not an object.
    package subscript(_ name: String) -> ProviderJSON? {
        var found: ProviderJSON?
        forEachMember { member, value in
            guard member.utf8.elementsEqual(name.utf8) else { return true }
            found = value
            return false
        }
        return found.flatMap { $0.isNull ? nil : $0 }
    }

    /// The names of an object, in order; none for anything else.
    package var names: [String] {
        var names: [String] = []
        forEachMember { name, _ in
            names.append(name)
            return true
        }
        return names
    }

    /// The elements of an array; none for anything else.
    package var elements: [ProviderJSON] {
        var scanner = JSONScanner(bytes)
        var elements: [ProviderJSON] = []
        scanner.skipSpace()
        guard scanner.take(UInt8(ascii: "[")) else { return [] }
        while true {
            scanner.skipSpace()
            guard let value = scanner.slice() else { return elements }
            elements.append(ProviderJSON(checked: value))
            scanner.skipSpace()
            guard scanner.take(UInt8(ascii: ",")) else { return elements }
        }
    }

    package var isObject: Bool { first == UInt8(ascii: "{") }
    package var isArray: Bool { first == UInt8(ascii: "[") }
    private var isNull: Bool { first == UInt8(ascii: "n") }

    private var first: UInt8? {
        var scanner = JSONScanner(bytes)
        scanner.skipSpace()
        return scanner.next
    }

    /// - Parameter body: false ends the walk.
    private func forEachMember(_ body: (String, ProviderJSON) -> Bool) {
        var scanner = JSONScanner(bytes)
        scanner.skipSpace()
        guard scanner.take(UInt8(ascii: "{")) else { return }
        while true {
            scanner.skipSpace()
            guard let name = scanner.string() else { return }
            scanner.skipSpace()
            guard scanner.take(UInt8(ascii: ":")) else { return }
            scanner.skipSpace()
            guard let value = scanner.slice(), body(name, ProviderJSON(checked: value)) else { return }
            scanner.skipSpace()
            guard scanner.take(UInt8(ascii: ",")) else { return }
        }
    }

    // MARK: Values

    /// A string, or a number as it is written: providers change between the two.
    package var text: String? {
        var scanner = JSONScanner(bytes)
        scanner.skipSpace()
        switch scanner.next {
        case UInt8(ascii: "\""): return scanner.string()
        case nil, UInt8(ascii: "{"), UInt8(ascii: "["), UInt8(ascii: "t"), UInt8(ascii: "f"), UInt8(ascii: "n"):
            return nil
        default: return literal
        }
    }

    /// A number as it is written, also one in quotes; nil for what is no JSON number.
    package var number: String? {
        guard let text else { return nil }
        var scanner = JSONScanner(Array(text.utf8)[...])
        return scanner.skipNumber() && scanner.isAtEnd ? text : nil
    }

    /// A whole number, also one in quotes.
    package var integer: Int64? { number.flatMap { Int64($0) } }

    package var bool: Bool? {
        switch first {
        case UInt8(ascii: "t"): true
        case UInt8(ascii: "f"): false
        default: nil
        }
    }

    private var literal: String {
        String(decoding: bytes, as: UTF8.self).trimmingSpaces
    }
}

/// Which containers are open, the innermost last: a bit for each, so that depth costs no stack and next to no memory.
private struct OpenContainers {
    private var full: [UInt64] = []
    /// The newest bit is the lowest; those above the newest `count` mean nothing.
    private var bits: UInt64 = 0
    private var count = 0

    /// Nil when none is open.
    var innermostIsObject: Bool? { count == 0 ? nil : bits & 1 == 1 }

    mutating func push(isObject: Bool) {
        if count == UInt64.bitWidth {
            full.append(bits)
            count = 0
        }
        bits = bits << 1 | (isObject ? 1 : 0)
        count += 1
    }

    mutating func pop() {
        bits >>= 1
        count -= 1
        if count == 0, let last = full.popLast() {
            bits = last
            count = UInt64.bitWidth
        }
    }
}

/// Walks over JSON. What it skips it checks against the grammar; bytes that are not UTF-8 become U+FFFD where they are read.
private struct JSONScanner {
    private let bytes: ArraySlice<UInt8>
    private var offset: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        offset = bytes.startIndex
    }

    var isAtEnd: Bool { offset == bytes.endIndex }
    var next: UInt8? { isAtEnd ? nil : bytes[offset] }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
    }

    mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        offset += 1
        return true
    }

    /// The bytes of the next value; nil where there is none.
    mutating func slice() -> ArraySlice<UInt8>? {
        let start = offset
        return skipValue() ? bytes[start..<offset] : nil
    }

    // MARK: Skipping

    mutating func skipValue() -> Bool {
        var open = OpenContainers()
        repeat {
            guard enterValue(&open), leaveValue(&open) else { return false }
        } while open.innermostIsObject != nil
        return true
    }

    /// Goes on to the end of the first value here that holds no other.
    private mutating func enterValue(_ open: inout OpenContainers) -> Bool {
        while true {
            skipSpace()
            guard let opening = next, opening == UInt8(ascii: "{") || opening == UInt8(ascii: "[") else {
                return skipScalar()
            }
            let isObject = opening == UInt8(ascii: "{")
            offset += 1
            skipSpace()
            if take(JSONScanner.closing(isObject)) { return true }
            open.push(isObject: isObject)
            if isObject, !skipName() { return false }
        }
    }

    /// Leaves every container that ends here, and goes on to the next value of the one that does not.
    private mutating func leaveValue(_ open: inout OpenContainers) -> Bool {
        while let isObject = open.innermostIsObject {
            skipSpace()
            if take(JSONScanner.closing(isObject)) {
                open.pop()
            } else {
                return take(UInt8(ascii: ",")) && (!isObject || skipName())
            }
        }
        return true
    }

    private static func closing(_ isObject: Bool) -> UInt8 { UInt8(ascii: isObject ? "}" : "]") }

    /// The name of a member, and its colon.
    private mutating func skipName() -> Bool {
        skipSpace()
        guard next == UInt8(ascii: "\""), skipString() else { return false }
        skipSpace()
        return take(UInt8(ascii: ":"))
    }

    private mutating func skipScalar() -> Bool {
        switch next {
        case UInt8(ascii: "\""): skipString()
        case UInt8(ascii: "t"): skipWord("true")
        case UInt8(ascii: "f"): skipWord("false")
        case UInt8(ascii: "n"): skipWord("null")
        default: skipNumber()
        }
    }

    private mutating func skipWord(_ word: StaticString) -> Bool {
        word.withUTF8Buffer { word in
            guard bytes[offset...].starts(with: word) else { return false }
            offset += word.count
            return true
        }
    }

    private mutating func skipString() -> Bool {
        offset += 1
        while let byte = next, byte >= 0x20 {
            offset += 1
            if byte == UInt8(ascii: "\"") { return true }
            if byte == UInt8(ascii: "\\"), !skipEscape() { return false }
        }
        return false
    }

    private mutating func skipEscape() -> Bool {
        guard let byte = next else { return false }
        offset += 1
        switch byte {
        case UInt8(ascii: "u"): return fourDigits() != nil
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            return true
        default: return false
        }
    }

    mutating func skipNumber() -> Bool {
        _ = take(UInt8(ascii: "-"))
        let isZero = next == UInt8(ascii: "0")
        let whole = skipDigits()
        guard whole > 0, !isZero || whole == 1 else { return false }
        if take(UInt8(ascii: ".")), skipDigits() == 0 { return false }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            return skipDigits() > 0
        }
        return true
    }

    private mutating func skipDigits() -> Int {
        let start = offset
        while let byte = next, (48...57).contains(byte) { offset += 1 }
        return offset - start
    }

    // MARK: Reading

    /// The string that begins here, unescaped; nil when none does.
    mutating func string() -> String? {
        let start = offset
        guard next == UInt8(ascii: "\""), skipString() else { return nil }
        let content = bytes[(start + 1)..<(offset - 1)]
        // Most strings hold no escape.
        if !content.contains(UInt8(ascii: "\\")) { return String(decoding: content, as: UTF8.self) }
        var inner = JSONScanner(content)
        return inner.unescaped()
    }

    private mutating func unescaped() -> String {
        var text: [UInt8] = []
        while let byte = next {
            offset += 1
            if byte == UInt8(ascii: "\\") { appendEscaped(to: &text) } else { text.append(byte) }
        }
        return String(decoding: text, as: UTF8.self)
    }

    private mutating func appendEscaped(to text: inout [UInt8]) {
        guard let byte = next else { return }
        offset += 1
        switch byte {
        case UInt8(ascii: "b"): text.append(8)
        case UInt8(ascii: "f"): text.append(12)
        case UInt8(ascii: "n"): text.append(10)
        case UInt8(ascii: "r"): text.append(13)
        case UInt8(ascii: "t"): text.append(9)
        case UInt8(ascii: "u"): text.append(contentsOf: String(Character(unicodeEscape())).utf8)
        default: text.append(byte)
        }
    }

    /// What follows `\u`: four digits, or two escapes that are a surrogate pair.
    private mutating func unicodeEscape() -> Unicode.Scalar {
        guard let first = fourDigits() else { return "\u{FFFD}" }
        guard (0xD800..<0xDC00).contains(first) else { return Unicode.Scalar(first) ?? "\u{FFFD}" }
        let rest = offset
        if take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")), let second = fourDigits(),
            (0xDC00..<0xE000).contains(second)
        {
            return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)) ?? "\u{FFFD}"
        }
        offset = rest
        return "\u{FFFD}"
    }

    private mutating func fourDigits() -> UInt32? {
        guard bytes.endIndex - offset >= 4 else { return nil }
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = JSONScanner.hexValue(bytes[offset]) else { return nil }
            value = value << 4 | digit
            offset += 1
        }
        return value
    }

    private static func hexValue(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte) - 48
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte) - 87
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte) - 55
        default: nil
        }
    }
}
