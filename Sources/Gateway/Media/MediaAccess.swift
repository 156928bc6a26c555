package import Projections

/// Which URLs files may be fetched from, and who is shown which credential there.
///
/// The URL of a file comes from outside, and a redirect may lead anywhere. Only the origin that the operator configured for
/// the message's provider may have any address; all others must speak TLS and be public, or in a network that the operator allowed. A
/// credential goes to its own provider's hosts alone, never along a redirect.
package struct MediaAccess: Sendable {
    package enum Way: Sendable, Equatable {
        /// An origin of the operator's settings.
        case configured
        /// Anywhere else: the address is checked.
        case open
    }

    private let twilio: URLOrigin?
    private let meta: [URLOrigin]
    private let allowsHTTP: Bool

    /// - Parameter allowsHTTP: whether other origins may speak plain HTTP, for development.
    package init(twilio: String, graph: String, instagram: String, allowsHTTP: Bool) {
        self.twilio = URLOrigin(twilio)
        meta = [URLOrigin(graph), URLOrigin(instagram)].compactMap { $0 }
        self.allowsHTTP = allowsHTTP
    }

    /// Nil when it must not be fetched: it is no URL, or it is not safe.
    ///
    /// - Parameter platform: whose message it is. One provider's word opens no way to another's configured origin.
    package func way(_ url: String, of platform: Platform) -> Way? {
        guard let origin = URLOrigin(url) else { return nil }
        if platform == .sms ? origin == twilio : meta.contains(origin) { return .configured }
        return origin.scheme == "https" || allowsHTTP ? .open : nil
    }

    /// Where files of Meta's lie, and its Graph.
    private static let metaHosts = [".fbsbx.com", ".facebook.com", ".fbcdn.net", ".whatsapp.net", ".cdninstagram.com"]

    /// Whether a token of Meta's may be shown there.
    package func isMeta(_ url: String) -> Bool {
        guard let origin = URLOrigin(url) else { return false }
        return meta.contains(origin)
            || (origin.scheme == "https" && origin.port == "443"
                && MediaAccess.metaHosts.contains { origin.host.hasSuffix($0) })
    }

    package func isTwilio(_ url: String) -> Bool { twilio != nil && URLOrigin(url) == twilio }
}

/// Scheme, host and port of a URL, as libcurl itself understands it: what is checked is what is called.
struct URLOrigin: Sendable, Equatable {
    let scheme: String
    let host: String
    let port: String

    /// Nil for what is no absolute `http` or `https` URL, and for one with a user in it.
    init?(_ url: String) {
        guard let parts = CurlLibrary.origin(ofURL: url) else { return nil }
        (scheme, host, port) = parts
    }
}
