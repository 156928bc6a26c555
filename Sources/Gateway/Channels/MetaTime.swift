import Projections

/// Times that Meta writes in words where it mostly writes numbers: ISO 8601 as RFC 3339 has it, or with an offset without a colon,
/// as Graph writes it.
enum MetaTime {
    /// In milliseconds since 1970; zero for anything else, also for a time without an offset: nobody knows which moment that is.
    static func milliseconds(_ json: ProviderJSON?) -> UInt64 {
        guard let text = json?.text, let time = RFC3339.parse(withColon(text)) else { return 0 }
        return time.nanoseconds / 1_000_000
    }

    private static func withColon(_ text: String) -> String {
        var bytes = [UInt8](text.utf8)
        let offset = bytes.suffix(5)
        guard offset.count == 5, offset.first == UInt8(ascii: "+") || offset.first == UInt8(ascii: "-"),
            offset.dropFirst().allSatisfy({ (48...57).contains($0) })
        else { return text }
        bytes.insert(UInt8(ascii: ":"), at: bytes.count - 2)
        return String(decoding: bytes, as: UTF8.self)
    }
}
