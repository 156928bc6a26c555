/// The name under which a browser stores a file (RFC 6266, with RFC 8187 for what is not plain ASCII).
package enum ContentDisposition {
    package static func attachment(_ filename: String) -> String {
        if filename.isEmpty { return "attachment" }
        let plain = String(filename.unicodeScalars.map { isPlain($0) ? Character($0) : "_" })
        let coded = plain == filename ? "" : "; filename*=UTF-8''\(PercentEncoding.encode(filename))"
        return "attachment; filename=\"\(plain)\"\(coded)"
    }

    /// Whether every receiver takes it as it stands, in quotes.
    private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
        (0x20...0x7E).contains(scalar.value) && !"\"\\%/".unicodeScalars.contains(scalar)
    }
}
