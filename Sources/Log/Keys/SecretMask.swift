/// Replaces what is secret in a URI by `***`, for people to see. It also has to find a secret in what is no right URI: somebody
/// who made a mistake is shown what he wrote.
package enum SecretMask {
    private static let mask = "***"
    private static let pin = "pin-value"
    /// What the name of a secret in a query has in it.
    private static let words = ["pass", "pwd", "secret", "token", "key", "pin", "auth", "credential", "signature"]

    /// `text` with user, password and secrets of the query replaced, where it is a URL; else as it is.
    package static func url(_ text: String) -> String {
        guard let start = text.firstRange(of: "://")?.upperBound,
            !text[..<start].contains(where: { ";?=".contains($0) })
        else { return text }
        return text[..<start] + query(withoutUser(text[start...]))
    }

    /// A password may have in it what ends a host. Behind a colon, all up to the last "@" may be one then.
    private static func withoutUser(_ text: Substring) -> String {
        let authority = text.prefix { !"/?#".contains($0) }
        let end = authority.contains("@") || !authority.contains(":") ? authority.endIndex : text.endIndex
        return text[..<end].lastIndex(of: "@").map { mask + text[$0...] } ?? String(text)
    }

    private static func query(_ text: String) -> String {
        let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return String(text) }
        let shown = parts[1].split(separator: "&", omittingEmptySubsequences: false).map { one in
            let name = one.prefix { $0 != "=" }
            let isSecret = words.contains { plain(name).contains($0) }
            return isSecret && name.endIndex < one.endIndex ? "\(name)=\(mask)" : String(one)
        }
        return parts[0] + "?" + shown.joined(separator: "&")
    }

    /// The attributes of a PKCS #11 URI, with the value of every `pin-value` replaced, whatever it stands behind and however its
    /// name is written.
    package static func attributes(_ text: Substring, separator: Character) -> String {
        var shown: [String] = []
        var isBehindPIN = false
        for one in text.split(separator: separator, omittingEmptySubsequences: false) {
            // What has no name may be the rest of a PIN that has the separator in it.
            if isBehindPIN, !one.isEmpty, !one.contains("=") { continue }
            let masked = attribute(one)
            isBehindPIN = masked != one
            shown.append(masked)
        }
        return shown.joined(separator: String(separator))
    }

    /// Up to the separator all may belong to the PIN.
    private static func attribute(_ text: Substring) -> String {
        var name = text.startIndex
        var end = text.startIndex
        while end < text.endIndex {
            if isPIN(text[name..<end]), text[end] == "=" || plain(text[end...]).hasPrefix("=") {
                return text[..<end] + "=" + mask
            }
            if ";&?#:/,".contains(text[end]) { name = text.index(after: end) }
            end = text.index(after: end)
        }
        return String(text)
    }

    private static func isPIN(_ name: Substring) -> Bool { plain(name).hasSuffix(pin) }

    /// In small letters, with its escapes replaced, and without space around it.
    package static func plain(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = [UInt8](text.utf8)[...]
        while let byte = rest.popFirst() {
            let escape = String(decoding: rest.prefix(2), as: UTF8.self)
            if byte == UInt8(ascii: "%"), escape.utf8.count == 2, let value = UInt8(escape, radix: 16) {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        let text = String(decoding: bytes, as: UTF8.self).lowercased()[...]
        let trimmed = text.drop { $0.isWhitespace }
        return String(trimmed.reversed().drop { $0.isWhitespace }.reversed())
    }
}
