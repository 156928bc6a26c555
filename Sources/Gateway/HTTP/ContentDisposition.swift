/// The name under which a browser stores a file (RFC 6266, with RFC 8187 for what is not plain ASCII).
package enum ContentDisposition {
    /// Longer names lose their beginning: file systems have no more room, and some clients refuse long headers.
    private static let scalarsMax = 120

    package static func attachment(_ said: String) -> String {
        if said.isEmpty { return "attachment" }
        var filename = ""
        filename.unicodeScalars += said.unicodeScalars.suffix(scalarsMax).map { shown($0) }
        let plain = String(filename.unicodeScalars.map { isPlain($0) ? Character($0) : "_" })
        let coded = plain == filename ? "" : "; filename*=UTF-8''\(PercentEncoding.encode(filename))"
        return "attachment; filename=\"\(plain)\"\(coded)"
    }

    /// What cannot be seen, or turns the order of what can (so that `exe.pdf` hides `fdp.exe`), becomes `_`.
    private static func shown(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: "_"
        default: scalar
        }
    }

    /// Whether every receiver takes it as it stands, in quotes.
    private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
        (0x20...0x7E).contains(scalar.value) && !"\"\\%/".unicodeScalars.contains(scalar)
    }
}
