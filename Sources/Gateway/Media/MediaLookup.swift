import Projections

/// Asking WhatsApp where a file is. Facts: `reference/channels.md` section E.5.
package enum MediaLookup {
    /// Where the file is for the next five minutes.
    package struct Found: Sendable, Equatable {
        package let url: String
        package let sha256: String
        /// In bytes, if it says so.
        package let size: Int64?

        package init(_ url: String, sha256: String, size: Int64?) {
            self.url = url
            self.sha256 = sha256
            self.size = size
        }
    }

    package enum Answer: Sendable, Equatable {
        case found(Found)
        case failed(MediaFailure)
    }

    package static func request(
        _ id: String,
        _ credentials: MetaCredentials,
        baseURL: String
    ) -> OutgoingRequest {
        // The id is the provider's word: it must not become another path.
        let number = PercentEncoding.encode(credentials.accountID)
        let path = "\(PercentEncoding.encode(id))?phone_number_id=\(number)"
        return MediaDownload.request("\(baseURL)/\(GraphRequest.version)/\(path)", credentials.bearer)
    }

    package static func answer(_ result: Result<OutgoingResponse, TransferError>) -> Answer {
        switch result {
        case .failure(let error): return .failed(MediaFailure(error))
        case .success(let response):
            let json = response.bodyTruncated ? nil : ProviderJSON(response.body)
            guard response.status == 200 else {
                return .failed(refusal(response.status, json.flatMap { GraphError($0) }))
            }
            guard let url = json?["url"]?.text, !url.isEmpty else { return .failed(MediaFailure("bad_answer")) }
            let size = json?["file_size"]?.integer
            return .found(Found(url, sha256: json?["sha256"]?.text ?? "", size: size))
        }
    }

    /// Meta's code counts, not the status: limits come as 400 too. 33 and 100 mean that there is no such file, or none that this
    /// account may see; all else may change.
    private static func refusal(_ status: Int, _ error: GraphError?) -> MediaFailure {
        guard let error else { return MediaFailure(MediaFailure(status: status).code) }
        return switch error.code {
        case 33, 100: MediaFailure("not_found", isFinal: true)
        case 0, 10, 190, 200...299: MediaFailure("unauthorized")
        default: MediaFailure("provider_error")
        }
    }
}

/// Why a file could not be had.
package struct MediaFailure: Sendable, Equatable {
    /// Stable: recorded, and shown to clients.
    package let code: String
    /// Whether trying again makes no sense.
    package let isFinal: Bool

    package init(_ code: String, isFinal: Bool = false) {
        self.code = code
        self.isFinal = isFinal
    }

    package init(_ error: TransferError) {
        code = error.failure.code
        isFinal = error.failure == .addressRefused || error.failure == .invalidURL
    }

    /// An answer that is no success. A file may be there a moment later, a credential may be renewed; the rest is said for good.
    package init(status: Int) {
        let mayChange = [401, 403, 404, 408, 425, 429].contains(status)
        code = status == 404 ? "not_found" : status == 401 || status == 403 ? "unauthorized" : "http_status"
        isFinal = (400..<500).contains(status) && !mayChange
    }
}
