import Log
import Projections

/// Fetches one file and puts it on the shelf.
package struct MediaFetcher: Sendable {
    let shelf: MediaShelf
    let access: MediaAccess
    let graphURL: String
    let drivers: MediaDrivers
    /// The longest file that travels inside a webhook, in bytes.
    let inlineMax: Int

    init(shelf: MediaShelf, drivers: MediaDrivers, settings: GatewayConfiguration) {
        self.shelf = shelf
        self.drivers = drivers
        graphURL = settings.graphBaseURL
        inlineMax = settings.inlineMediaBytes
        access = MediaAccess(
            twilio: settings.twilioBaseURL,
            graph: settings.graphBaseURL,
            instagram: settings.instagramBaseURL,
            allowsHTTP: !settings.mediaAllowCIDRs.isEmpty
        )
    }

    /// - Throws: `bodyPurged`, errors of the disk and the log, and `CancellationError`; what the provider did is in the result.
    func fetch(_ message: LogPosition, _ index: Int) async throws -> MediaResult {
        guard let source = try shelf.source(message, index) else {
            return .failed(code: "no_source", isFinal: true)
        }
        let isInline = shelf.ledger.plan { $0.media.rows[message]?.isInline } ?? false
        let limit = isInline ? min(source.bytesMax, inlineMax) : source.bytesMax
        let credential = try await credential(of: message, source.platform)
        if credential == nil, source.isLookedUp { return .failed(code: "channel_not_connected", isFinal: false) }
        var download = MediaDownload(source, access)
        var step = download.first()
        var promised = [source.sha256]
        while true {
            try Task.checkCancellation()
            switch step {
            case .failed(let failure): return .failed(code: failure.code, isFinal: failure.isFinal)
            case .lookUp:
                let found = try await lookUp(source, credential)
                if case .found(let found) = found { promised = [source.sha256, found.sha256] }
                step = download.next(after: found, limit: limit)
            case .fetch(let url, let way, let isAuthorized):
                let attempt = Attempt(
                    message: message,
                    index: index,
                    limit: limit,
                    mimeType: source.mimeType,
                    promised: promised,
                    driver: drivers.driver(way)
                )
                switch try await perform(attempt, url, isAuthorized ? credential?.authorization : nil) {
                case .done(let result): return result
                case .answered(let response): step = download.next(after: response, from: url)
                }
            }
        }
    }

    /// The request did not leave this host, for a lack on this host: that is no attempt.
    struct LocalLack: Error {}

    private enum Credential {
        case twilio(TwilioCredentials)
        case meta(MetaCredentials)

        var authorization: String {
            switch self {
            case .twilio(let credentials): credentials.basic
            case .meta(let credentials): credentials.bearer
            }
        }
    }

    /// What the client's channel is connected with now; nil when it is not.
    private func credential(of message: LogPosition, _ platform: Platform) async throws -> Credential? {
        let secret = try await shelf.ledger.current(
            { state in
                state.inbox.messages[message].flatMap { state.clients[$0.client]?.channels[platform]?.position }
            },
            secretAt: { $0 }
        )
        guard let secret = secret?.secret else { return nil }
        return platform == .sms ? .twilio(try TwilioCredentials(secret)) : .meta(try MetaCredentials(secret))
    }

    private func lookUp(_ source: MediaSource, _ credential: Credential?) async throws -> MediaLookup.Answer {
        guard case .meta(let credentials) = credential else {
            return .failed(MediaFailure("channel_not_connected"))
        }
        let request = MediaLookup.request(source.providerID, credentials, baseURL: graphURL)
        let answer = await drivers.driver(.configured).perform(request)
        try Task.checkCancellation()
        if answer.isForLackHere { throw LocalLack() }
        return MediaLookup.answer(answer)
    }

    private struct Attempt: Sendable {
        let message: LogPosition
        let index: Int
        let limit: Int
        let mimeType: String
        /// What the webhook and the Graph said of its SHA-256.
        let promised: [String]
        let driver: CurlDriver
    }

    private enum Outcome {
        case done(MediaResult)
        /// Anything but a success.
        case answered(OutgoingResponse)
    }

    private func perform(_ attempt: Attempt, _ url: String, _ authorization: String?) async throws -> Outcome {
        let sink = MediaSink(
            limit: attempt.limit,
            open: { [shelf] in try shelf.writer(attempt.message, attempt.index) },
            admit: { [shelf] in try shelf.admit() }
        )
        defer { sink.discard() }
        let answer = await attempt.driver.perform(MediaDownload.request(url, authorization, into: sink))
        try Task.checkCancellation()
        if let failure = sink.failure { throw failure }
        if answer.isForLackHere { throw LocalLack() }
        if sink.isTooLarge { return .done(.failed(code: MediaDownload.tooLarge.code, isFinal: true)) }
        switch answer {
        case .failure(let error):
            let failure = MediaFailure(error)
            return .done(.failed(code: failure.code, isFinal: failure.isFinal))
        case .success(let response):
            guard (200..<300).contains(response.status) else { return .answered(response) }
            return .done(try await finish(sink, attempt, response))
        }
    }

    private func finish(_ sink: MediaSink, _ attempt: Attempt, _ response: OutgoingResponse) async throws -> MediaResult
    {
        let content = sink.digest()
        guard attempt.promised.allSatisfy({ MediaSource.agrees(content, with: $0) }) else {
            return .failed(code: "hash_mismatch", isFinal: false)
        }
        let path = shelf.files.path(message: attempt.message, index: UInt32(attempt.index))
        let (bytes, digest) = try await DiskWork.run { try sink.finish(as: path) }
        let said = attempt.mimeType.isEmpty ? response.header("content-type") ?? "" : attempt.mimeType
        return .fetched(
            bytes: bytes,
            mimeType: MediaType(said).text,
            file: MediaFiles.name(message: attempt.message, index: UInt32(attempt.index)),
            digest: digest
        )
    }
}

extension Result where Success == OutgoingResponse, Failure == TransferError {
    fileprivate var isForLackHere: Bool {
        if case .failure(let error) = self { error.failure == .localFailure } else { false }
    }
}
