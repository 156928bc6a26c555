import Log

/// Computes and checks `X-Twilio-Signature`: Base64 of HMAC-SHA1, keyed by the account's auth token, over the URL
/// Twilio called and the form fields it posted.
///
/// The URL is opaque text here. Decoding or re-encoding any of it would break genuine signatures, so the caller passes
/// the configured public origin followed by the raw request target, without a fragment, and only a port is ever added
/// or taken away.
package enum TwilioSignature {
    /// What Twilio sent along with the URL, and so what its signature has to cover.
    package enum Body: Sendable {
        /// A form POST: the decoded fields are signed after the URL.
        case form([(name: String, value: String)])
        /// A GET: everything is in the URL, which is signed alone.
        case query
        /// JSON or anything else: the URL is signed alone, and its `bodySHA256` parameter has to match these bytes.
        case raw([UInt8])
    }

    /// The signature for exactly this URL. Nothing is added to it or taken away.
    package static func expected(token: [UInt8], url: String, fields: [(name: String, value: String)]) -> String {
        signature(token: token, message: [UInt8](url.utf8) + signedFields(fields))
    }

    /// Whether `header` is a signature by any of `tokens`, over `url` with or without its port.
    ///
    /// Every token and both spellings of the URL are always tried, so the time taken does not tell which one matched.
    /// An empty token is a missing secret that anyone could sign with, so it matches nothing.
    package static func verify(header: String?, tokens: [[UInt8]], url: String, body: Body) -> Bool {
        guard let header else { return false }
        let urlBytes = [UInt8](url.utf8)
        let suffix = signedSuffix(body)
        let messages = spellings(of: urlBytes).map { $0 + suffix }
        var matched = false
        for token in tokens where !token.isEmpty {
            for message in messages {
                let candidate = signature(token: token, message: message)
                let equal = Crypto.equalConstantTime([UInt8](header.utf8), [UInt8](candidate.utf8))
                matched = equal || matched
            }
        }
        return matched && bodyDigestMatches(body, url: urlBytes)
    }

    /// Whether a header can be a signature at all: Base64 of 20 bytes.
    package static func isForm(_ header: String?) -> Bool {
        header.flatMap { Base64.decode($0) }?.count == 20
    }

    private static func signature(token: [UInt8], message: [UInt8]) -> String {
        Base64.encode(Crypto.hmacSHA1(key: token, message: message))
    }
}

// MARK: - What is signed

extension TwilioSignature {
    private static func signedSuffix(_ body: Body) -> [UInt8] {
        switch body {
        case .form(let fields): signedFields(fields)
        case .query, .raw: []
        }
    }

    /// Names in byte order, and under each name its distinct values in byte order, all without separators.
    ///
    /// Sorting compares names first and never the joined text: `From` sorts before `FromCity` whatever its value
    /// starts with. Bytes are compared because Swift orders and equates strings by canonical equivalence.
    private static func signedFields(_ fields: [(name: String, value: String)]) -> [UInt8] {
        let sorted = fields.map { (name: [UInt8]($0.name.utf8), value: [UInt8]($0.value.utf8)) }
            .sorted { ($0.name == $1.name) ? precedes($0.value, $1.value) : precedes($0.name, $1.name) }
        var message: [UInt8] = []
        var previous: (name: [UInt8], value: [UInt8])?
        for field in sorted {
            if let previous, previous == field { continue }
            message += field.name
            message += field.value
            previous = field
        }
        return message
    }

    private static func precedes(_ first: [UInt8], _ second: [UInt8]) -> Bool {
        first.lexicographicallyPrecedes(second)
    }

    /// A raw body is only vouched for by the digest in the signed URL, so without that parameter it is not vouched
    /// for at all. Twilio's libraries read the first `bodySHA256`, and so does this.
    private static func bodyDigestMatches(_ body: Body, url: [UInt8]) -> Bool {
        guard case .raw(let bytes) = body else { return true }
        guard let stated = firstQueryValue("bodySHA256", in: url) else { return false }
        return Crypto.equalConstantTime(stated, [UInt8](Hex.encode(Crypto.sha256(bytes)).utf8))
    }

    private static func firstQueryValue(_ name: String, in url: [UInt8]) -> [UInt8]? {
        guard let mark = url.firstIndex(of: UInt8(ascii: "?")) else { return nil }
        let prefix = [UInt8]("\(name)=".utf8)
        let pair = url[(mark + 1)...].split(separator: UInt8(ascii: "&")).first { $0.starts(with: prefix) }
        return pair.map { [UInt8]($0.dropFirst(prefix.count)) }
    }
}

// MARK: - The port

extension TwilioSignature {
    /// The URL as given, and the same URL with its port removed or, when it had none, with its scheme's port added.
    /// Twilio's back ends disagree about signing the port, so its own libraries accept both.
    private static func spellings(of url: [UInt8]) -> [[UInt8]] {
        guard let schemeEnd = url.firstIndex(of: UInt8(ascii: ":")), url[schemeEnd...].starts(with: "://".utf8)
        else { return [url] }
        let authority = url[(schemeEnd + 3)...].prefix { !authorityEnds.contains($0) }
        let path = url[authority.endIndex...]
        if let port = portStart(in: authority) {
            return [url, [UInt8](url[..<port] + path)]
        }
        guard let port = defaultPort(scheme: url[..<schemeEnd]) else { return [url] }
        return [url, [UInt8](url[..<authority.endIndex] + port + path)]
    }

    private static let authorityEnds = [UInt8]("/?#".utf8)

    /// Where `:port` starts. Only digits follow a port's colon: somewhere after the colon of a user's password comes
    /// an `@`, and after those of an IPv6 host a bracket, so neither is mistaken for a port.
    private static func portStart(in authority: ArraySlice<UInt8>) -> Int? {
        guard let colon = authority.lastIndex(of: UInt8(ascii: ":")) else { return nil }
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        return authority[(colon + 1)...].allSatisfy(digits.contains) ? colon : nil
    }

    private static func defaultPort(scheme: ArraySlice<UInt8>) -> [UInt8]? {
        switch String(decoding: scheme, as: UTF8.self).lowercased() {
        case "https": [UInt8](":443".utf8)
        case "http": [UInt8](":80".utf8)
        default: nil
        }
    }
}
