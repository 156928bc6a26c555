import Projections

/// What the answers of all providers have in common; what their bodies say is each channel's own to judge.
enum ProviderAnswer {
    /// How long the rest of an answer is waited for: without the provider's own word in it the outcome stays unknown.
    static let bodyWait = Duration.seconds(10)
    /// How much of a body is kept on record.
    private static let excerptBytes = 1024

    /// What an answer, or its absence, says about the message. Unless the judge finds the provider's own word in it,
    /// the message may have gone out, and only a 429 or a request of which no byte left is safe to repeat.
    ///
    /// - Parameter judge: Sees an answer that came, and changes what it proves to be otherwise.
    static func result(
        _ answer: Result<OutgoingResponse, TransferError>,
        startedAt: Timestamp,
        finishedAt: Timestamp,
        judge: (OutgoingResponse, inout SendResult) -> Void
    ) -> SendResult {
        var result = SendResult(.unknown, code: "", startedAt: startedAt)
        switch answer {
        case .success(let response):
            result.code = "http_\(response.status)"
            if response.status == 429 { result.outcome = .retryLater }
            result.httpStatus = UInt64(max(response.status, 0))
            result.retryAfter = RetryAfter.seconds(of: response, now: finishedAt)
            result.excerpt = Array(response.body.prefix(excerptBytes))
            judge(response, &result)
        case .failure(let error):
            result.code = error.failure.rawValue
            if !error.requestBytesSent { result.outcome = .retryLater }
            result.isNoAttempt = error.failure == .localFailure
        }
        result.durationMilliseconds = finishedAt.milliseconds(since: startedAt)
        return result
    }
}
