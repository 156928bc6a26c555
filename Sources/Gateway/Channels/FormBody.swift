/// The fields of an `application/x-www-form-urlencoded` body or query string, in the order they were sent.
///
/// Parsing follows the WHATWG URL standard: `+` is a space, `%XX` is a byte, a malformed escape stays as it was
/// written, and bytes that are not UTF-8 become U+FFFD. Repeated names and empty values are kept, because a webhook
/// signature covers them.
package struct FormBody: Sendable {
    /// Every field, repeated names included.
    package let fields: [(name: String, value: String)]

    /// Parses any bytes. Returns nil only when there are more than `fieldsMax` fields, and stops reading there, so
    /// that a hostile body cannot buy more memory than its own size warrants.
    package init?(_ bytes: [UInt8], fieldsMax: Int = 1000) {
        var fields: [(name: String, value: String)] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let pair = rest.prefix { $0 != UInt8(ascii: "&") }
            rest = rest.dropFirst(pair.count + 1)
            if pair.isEmpty { continue }
            guard fields.count < fieldsMax else { return nil }
            fields.append(Self.field(pair))
        }
        self.fields = fields
    }

    /// The first value sent under `name`, or nil when the name is absent. Names match byte for byte: Swift's own
    /// string equality would also accept a differently composed spelling.
    package subscript(_ name: String) -> String? {
        fields.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }

    /// Writes fields in the order given, escaping every byte that the standard does not leave bare.
    package static func encode(_ fields: [(String, String)]) -> [UInt8] {
        var bytes: [UInt8] = []
        for (name, value) in fields {
            if !bytes.isEmpty { bytes.append(UInt8(ascii: "&")) }
            append(name, to: &bytes)
            bytes.append(UInt8(ascii: "="))
            append(value, to: &bytes)
        }
        return bytes
    }

    private static func field(_ pair: ArraySlice<UInt8>) -> (name: String, value: String) {
        let name = pair.prefix { $0 != UInt8(ascii: "=") }
        return (decode(name), decode(pair.dropFirst(name.count + 1)))
    }

    private static func decode(_ text: ArraySlice<UInt8>) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count)
        var rest = text
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), let escaped = escapedByte(rest) {
                bytes.append(escaped)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The byte named by the two hexadecimal digits that `text` starts with, or nil when it does not.
    private static func escapedByte(_ text: ArraySlice<UInt8>) -> UInt8? {
        let digits = text.prefix(2)
        guard digits.count == 2, let high = digits.first.flatMap(hexValue), let low = digits.last.flatMap(hexValue)
        else { return nil }
        return high << 4 | low
    }

    private static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }

    private static func append(_ text: String, to bytes: inout [UInt8]) {
        for byte in text.utf8 {
            if byte == UInt8(ascii: " ") {
                bytes.append(UInt8(ascii: "+"))
            } else if isBare(byte) {
                bytes.append(byte)
            } else {
                PercentEncoding.escape(byte, into: &bytes)
            }
        }
    }

    private static func isBare(_ byte: UInt8) -> Bool {
        PercentEncoding.isAlphanumeric(byte) || "*-._".utf8.contains(byte)
    }
}
