/// Base64 with the standard alphabet and padding (RFC 4648 section 4).
package enum Base64 {
    private static let alphabet = [UInt8]("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    package static func encode(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count + 2) / 3 * 4)
        var index = 0
        while index < bytes.count {
            let left = bytes.count - index
            let word =
                UInt32(bytes[index]) << 16
                | (left > 1 ? UInt32(bytes[index + 1]) << 8 : 0)
                | (left > 2 ? UInt32(bytes[index + 2]) : 0)
            output.append(alphabet[Int(word >> 18) & 63])
            output.append(alphabet[Int(word >> 12) & 63])
            output.append(left > 1 ? alphabet[Int(word >> 6) & 63] : UInt8(ascii: "="))
            output.append(left > 2 ? alphabet[Int(word) & 63] : UInt8(ascii: "="))
            index += 3
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil for anything but canonical padded Base64.
    package static func decode(_ text: String) -> [UInt8]? {
        let symbols = [UInt8](text.utf8)
        guard symbols.count % 4 == 0 else { return nil }
        let padding = symbols.reversed().prefix { $0 == UInt8(ascii: "=") }.count
        guard padding <= 2 else { return nil }
        var output: [UInt8] = []
        var word: UInt32 = 0
        for (index, symbol) in symbols.dropLast(padding).enumerated() {
            guard let value = value(of: symbol) else { return nil }
            word = word << 6 | value
            guard index % 4 == 3 else { continue }
            output += [UInt8(word >> 16 & 255), UInt8(word >> 8 & 255), UInt8(word & 255)]
            word = 0
        }
        if padding == 1 { output += [UInt8(word >> 10 & 255), UInt8(word >> 2 & 255)] }
        if padding == 2 { output.append(UInt8(word >> 4 & 255)) }
        return encode(output) == text ? output : nil
    }

    private static func value(of symbol: UInt8) -> UInt32? {
        switch symbol {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(symbol - 65)
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(symbol - 97) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(symbol - 48) + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}

/// Lower-case hexadecimal.
package enum Hex {
    private static let digits = [UInt8]("0123456789abcdef".utf8)

    package static func encode(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count * 2)
        for byte in bytes {
            output.append(digits[Int(byte >> 4)])
            output.append(digits[Int(byte & 15)])
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil for an odd length, an upper-case digit or anything else that is not hexadecimal.
    package static func decode(_ text: String) -> [UInt8]? {
        let symbols = [UInt8](text.utf8)
        guard symbols.count % 2 == 0 else { return nil }
        var output: [UInt8] = []
        for pair in stride(from: 0, to: symbols.count, by: 2) {
            guard let high = digits.firstIndex(of: symbols[pair]), let low = digits.firstIndex(of: symbols[pair + 1])
            else { return nil }
            output.append(UInt8(high << 4 | low))
        }
        return output
    }
}

/// Crockford's Base32 in lower case: no letter that reads like a digit, safe in URLs and in speech.
package enum Base32 {
    private static let alphabet = [UInt8]("0123456789abcdefghjkmnpqrstvwxyz".utf8)

    package static func encode(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        var word: UInt32 = 0
        var bits = 0
        for byte in bytes {
            word = word << 8 | UInt32(byte)
            bits += 8
            while bits >= 5 {
                bits -= 5
                output.append(alphabet[Int(word >> UInt32(bits)) & 31])
            }
        }
        if bits > 0 { output.append(alphabet[Int(word << UInt32(5 - bits)) & 31]) }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil unless `text` is exactly what `encode` gives for `count` bytes.
    package static func decode(_ text: some StringProtocol, count: Int) -> [UInt8]? {
        var output: [UInt8] = []
        var word: UInt32 = 0
        var bits = 0
        for symbol in text.utf8 {
            guard let value = alphabet.firstIndex(of: symbol) else { return nil }
            word = word << 5 | UInt32(value)
            bits += 5
            guard bits >= 8 else { continue }
            bits -= 8
            output.append(UInt8(truncatingIfNeeded: word >> UInt32(bits)))
        }
        return output.count == count && encode(output) == text ? output : nil
    }
}
