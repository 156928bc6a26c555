/// A strict parser of JSON (RFC 8259) for bytes from outside: bounded depth, no duplicate names, valid UTF-8 only.
///
/// Foundation's decoder needs about a second for a few hundred nested brackets when it has to find out what a value is; this
/// one takes time and memory in proportion to the input, whatever it holds.
package struct JSONParser {
    static let depthMax = 32
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0
    /// The first fault, where it was found.
    private var fault: (problem: StaticString, offset: Int)?

    /// Nil unless the bytes are exactly one JSON value.
    package static func parse(_ bytes: [UInt8]) -> JSONValue? { try? read(bytes).get() }

    /// The same, saying what is wrong and where.
    package static func read(_ bytes: [UInt8]) -> Result<JSONValue, JSONFault> {
        bytes.withUnsafeBytes { buffer in
            var parser = JSONParser(bytes: buffer)
            if let value = parser.value(depth: 0) {
                parser.skipSpace()
                if parser.offset == buffer.count { return .success(value) }
                parser.note("something follows the value")
            }
            let fault = parser.fault ?? ("this is no JSON value", parser.offset)
            return .failure(JSONFault(fault.problem, at: fault.offset, in: buffer))
        }
    }

    /// Keeps a fault, unless there is one that lies deeper already.
    private mutating func note(_ problem: StaticString, at place: Int? = nil) {
        if fault == nil { fault = (problem, place ?? offset) }
    }

    /// The same, in place of a value.
    private mutating func fail<Value>(_ problem: StaticString, at place: Int? = nil) -> Value? {
        note(problem, at: place)
        return nil
    }

    private init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    private var next: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        offset += 1
        return true
    }

    private mutating func value(depth: Int) -> JSONValue? {
        guard depth < JSONParser.depthMax else { return fail("it is nested more than 32 deep") }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return object(depth: depth)
        case UInt8(ascii: "["): return array(depth: depth)
        case UInt8(ascii: "\""): return string().map { .string($0) }
        case UInt8(ascii: "t"): return word("true") ? .bool(true) : fail("a value is expected")
        case UInt8(ascii: "f"): return word("false") ? .bool(false) : fail("a value is expected")
        case UInt8(ascii: "n"): return word("null") ? .null : fail("a value is expected")
        case let byte? where byte == UInt8(ascii: "-") || (48...57).contains(byte): return number()
        case nil: return fail(offset == 0 ? "it is empty" : "it ends before a value")
        default: return fail("a value is expected")
        }
    }

    private mutating func word(_ text: StaticString) -> Bool {
        guard bytes.count - offset >= text.utf8CodeUnitCount else { return false }
        for index in 0..<text.utf8CodeUnitCount where bytes[offset + index] != text.utf8Start[index] { return false }
        offset += text.utf8CodeUnitCount
        return true
    }

    private mutating func object(depth: Int) -> JSONValue? {
        offset += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            skipSpace()
            let start = offset
            guard let name = string() else { return nil }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { return fail("a colon is expected") }
            guard let value = value(depth: depth + 1) else { return nil }
            guard members.updateValue(value, forKey: name) == nil else {
                return fail("a name comes twice in one object", at: start)
            }
            skipSpace()
            if take(UInt8(ascii: "}")) { return .object(members) }
            guard goesOn(before: UInt8(ascii: "}")) else { return nil }
        }
    }

    private mutating func array(depth: Int) -> JSONValue? {
        offset += 1
        var elements: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return .array(elements) }
        while true {
            guard let element = value(depth: depth + 1) else { return nil }
            elements.append(element)
            skipSpace()
            if take(UInt8(ascii: "]")) { return .array(elements) }
            guard goesOn(before: UInt8(ascii: "]")) else { return nil }
        }
    }

    /// Takes the comma between two members or elements.
    private mutating func goesOn(before end: UInt8) -> Bool {
        let comma = offset
        guard take(UInt8(ascii: ",")) else {
            note(next == nil ? "an object or array does not end" : "a comma, or the closing bracket, is expected")
            return false
        }
        skipSpace()
        if next == end {
            note("there is a trailing comma", at: comma)
            return false
        }
        return true
    }

    // MARK: Strings

    private mutating func string() -> String? {
        guard take(UInt8(ascii: "\"")) else { return fail("a name in double quotes is expected") }
        let start = offset
        while let byte = next, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 { offset += 1 }
        // Most strings hold no escape: one check and one copy.
        if next == UInt8(ascii: "\"") {
            let slice = UnsafeRawBufferPointer(rebasing: bytes[start..<offset])
            offset += 1
            return String(validating: slice, as: UTF8.self) ?? fail("a string is not UTF-8", at: start - 1)
        }
        var unescaped = [UInt8](bytes[start..<offset])
        return finishString(&unescaped, from: start - 1)
    }

    private mutating func finishString(_ text: inout [UInt8], from start: Int) -> String? {
        while let byte = next, byte >= 0x20 {
            let place = offset
            offset += 1
            if byte == UInt8(ascii: "\"") {
                return String(validating: text, as: UTF8.self) ?? fail("a string is not UTF-8", at: start)
            }
            if byte != UInt8(ascii: "\\") {
                text.append(byte)
            } else if !escape(into: &text) {
                return fail("a string has an escape that is none", at: place)
            }
        }
        return next == nil
            ? fail("a string does not end", at: start) : fail("a string has a control character that is not escaped")
    }

    private mutating func escape(into text: inout [UInt8]) -> Bool {
        guard let byte = next else { return false }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(8)
        case UInt8(ascii: "f"): text.append(12)
        case UInt8(ascii: "n"): text.append(10)
        case UInt8(ascii: "r"): text.append(13)
        case UInt8(ascii: "t"): text.append(9)
        case UInt8(ascii: "u"):
            guard let scalar = unicodeEscape() else { return false }
            text.append(contentsOf: String(Character(scalar)).utf8)
        default: return false
        }
        return true
    }

    /// What follows `\u`: four hexadecimal digits, or two escapes that are a surrogate pair; a lone surrogate is not text.
    private mutating func unicodeEscape() -> Unicode.Scalar? {
        guard let first = fourDigits() else { return nil }
        guard (0xD800..<0xDC00).contains(first) else { return Unicode.Scalar(first) }
        guard take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")), let second = fourDigits(),
            (0xDC00..<0xE000).contains(second)
        else { return nil }
        return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
    }

    private mutating func fourDigits() -> UInt32? {
        guard bytes.count - offset >= 4 else { return nil }
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = Character(Unicode.Scalar(bytes[offset])).hexDigitValue, bytes[offset] < 0x80 else {
                return nil
            }
            value = value << 4 | UInt32(digit)
            offset += 1
        }
        return value
    }

    // MARK: Numbers

    private mutating func digits() -> Int {
        let start = offset
        while let byte = next, (48...57).contains(byte) { offset += 1 }
        return offset - start
    }

    private mutating func number() -> JSONValue? {
        let start = offset
        _ = take(UInt8(ascii: "-"))
        let first = next
        let whole = digits()
        guard whole > 0, first != UInt8(ascii: "0") || whole == 1 else {
            return fail("a number is malformed", at: start)
        }
        var isWhole = true
        if take(UInt8(ascii: ".")) {
            isWhole = false
            guard digits() > 0 else { return fail("a number is malformed", at: start) }
        }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            isWhole = false
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            guard digits() > 0 else { return fail("a number is malformed", at: start) }
        }
        let text = String(decoding: bytes[start..<offset], as: UTF8.self)
        if isWhole, let integer = Int64(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else { return fail("a number is too large", at: start) }
        return .number(number)
    }
}
