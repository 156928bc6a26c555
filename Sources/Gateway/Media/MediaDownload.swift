import Log
import Projections

/// The steps of fetching one file, without sockets: which URL is called next, and what an answer means.
package struct MediaDownload: Sendable {
    package enum Step: Sendable, Equatable {
        /// Ask WhatsApp for a URL.
        case lookUp
        /// Fetch from here.
        case fetch(url: String, way: MediaAccess.Way, isAuthorized: Bool)
        case failed(MediaFailure)
    }

    static let redirectsMax = 3

    private let source: MediaSource
    private let access: MediaAccess
    private var lookups = 0
    private var redirects = 0

    package init(_ source: MediaSource, _ access: MediaAccess) {
        self.source = source
        self.access = access
    }

    package mutating func first() -> Step {
        if source.isLookedUp { return lookUp() }
        return source.url.isEmpty ? .failed(MediaFailure("no_source", isFinal: true)) : fetch(source.url)
    }

    private mutating func lookUp() -> Step {
        lookups += 1
        redirects = 0
        return .lookUp
    }

    /// - Parameter limit: the longest file that is wanted, in bytes.
    package func next(after found: MediaLookup.Answer, limit: Int) -> Step {
        switch found {
        case .failed(let failure): return .failed(failure)
        case .found(let found):
            if let size = found.size, size > Int64(limit) { return .failed(MediaDownload.tooLarge) }
            return fetch(found.url)
        }
    }

    /// What to do with an answer that is no success.
    package mutating func next(after response: OutgoingResponse, from url: String) -> Step {
        if (300..<400).contains(response.status), let location = response.header("location") {
            redirects += 1
            guard redirects <= MediaDownload.redirectsMax else { return .failed(MediaFailure("too_many_redirects")) }
            return fetch(CurlLibrary.resolve(location, against: url) ?? "")
        }
        // The URL is over; a new one is to be had once.
        if response.status == 404, source.isLookedUp, lookups < 2 { return lookUp() }
        return .failed(MediaFailure(status: response.status))
    }

    private func fetch(_ url: String) -> Step {
        guard let way = access.way(url, of: source.platform) else {
            return .failed(MediaFailure(URLOrigin(url) == nil ? "invalid_url" : "insecure_url", isFinal: true))
        }
        return .fetch(url: url, way: way, isAuthorized: redirects == 0 && isTrusted(url))
    }

    /// Whether the account's credential may be shown there. Messenger and Instagram serve files to whoever has the URL.
    private func isTrusted(_ url: String) -> Bool {
        switch source.platform {
        case .whatsapp: access.isMeta(url)
        case .sms: access.isTwilio(url)
        case .facebook, .instagram: false
        }
    }

    package static let tooLarge = MediaFailure("too_large", isFinal: true)

    /// - Parameter authorization: the credential, or nil to show none.
    static func request(_ url: String, _ authorization: String?, into sink: (any BodySink)? = nil) -> OutgoingRequest {
        // Without a name, Meta's servers refuse.
        var headers = [("User-Agent", "Waybill/\(WaybillVersion.current)")]
        if let authorization { headers.append(("Authorization", authorization)) }
        var request = OutgoingRequest(
            method: "GET",
            url: url,
            headers: headers,
            timeout: sink == nil ? .seconds(30) : .seconds(600),
            connectTimeout: .seconds(10),
            atMostOnce: false
        )
        request.sink = sink
        return request
    }
}
