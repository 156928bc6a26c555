package import Projections

/// Every way in which a request can fail, with the stable code that clients see. The HTTP status is chosen here only.
package struct GatewayError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: String, Sendable, CaseIterable {
        case unauthorized
        case forbidden
        case notFound = "not_found"
        case methodNotAllowed = "method_not_allowed"
        case invalidJSON = "invalid_json"
        case invalidRequest = "invalid_request"
        case unknownField = "unknown_field"
        case unknownParameter = "unknown_parameter"
        case payloadTooLarge = "payload_too_large"
        case requestTimeout = "request_timeout"
        case expectationFailed = "expectation_failed"
        case unsupportedChannel = "unsupported_channel"
        case invalidSignature = "invalid_signature"
        case idempotencyInProgress = "idempotency_in_progress"
        case positionNotReached = "position_not_reached"
        case unavailable
        case overloaded
        case rateLimited = "rate_limited"
        case diskFull = "disk_full"
        case configuration = "configuration_invalid"
        case signupInProgress = "signup_in_progress"
        case signupFailed = "signup_failed"
        case bodyPurged = "body_purged"
        case rangeNotSatisfiable = "range_not_satisfiable"
        case mediaPending = "media_pending"
        case mediaUnavailable = "media_unavailable"
        case internalError = "internal_error"
    }

    package let code: String
    package let status: Int
    package let detail: String
    /// The request field at fault.
    package let field: String?
    /// Seconds after which trying again makes sense.
    package let retryAfter: Int?

    package init(_ code: Code, _ detail: String, field: String? = nil, retryAfter: Int? = nil) {
        self.code = code.rawValue
        self.detail = detail
        self.field = field
        self.status =
            switch code {
            case .unauthorized: 401
            case .forbidden, .invalidSignature: 403
            case .notFound, .mediaUnavailable: 404
            case .methodNotAllowed: 405
            case .requestTimeout: 408
            case .payloadTooLarge: 413
            case .expectationFailed: 417
            // Over HTTP: the request is right, the settings lack what it needs.
            case .idempotencyInProgress, .signupInProgress, .configuration: 409
            case .bodyPurged: 410
            case .invalidJSON, .invalidRequest, .unknownField, .unknownParameter, .unsupportedChannel: 400
            case .positionNotReached: 412
            case .rangeNotSatisfiable: 416
            case .signupFailed: 422
            case .unavailable, .overloaded, .diskFull, .mediaPending: 503
            case .rateLimited: 429
            case .internalError: 500
            }
        self.retryAfter = retryAfter ?? (self.status == 503 ? 1 : nil)
    }

    package init(_ refusal: Refusal) {
        code = refusal.code.rawValue
        detail = refusal.detail
        field = refusal.field
        status =
            switch refusal.code {
            case .planRequired, .channelNotConnected, .smsNotEnabled: 403
            case .unknownRecipient, .notFound: 404
            case .recipientOptedOut, .conversationErased, .bodyPurged: 410
            case .smsQuotaExceeded, .queueFull: 429
            case .idempotencyMismatch: 422
            case .notCancelable, .notADeadLetter, .endpointDisabled, .trialUsed, .purgeRequiresWebhook, .accountInUse,
                .ambiguousRecipient, .outsideWindow:
                409
            case .unsupportedChannel, .invalidRequest: 400
            }
        retryAfter = status == 429 ? (refusal.code == .queueFull ? 10 : 3600) : nil
    }

    package init(_ failure: SignupFailure) {
        code = Code.signupFailed.rawValue
        detail = failure.detail
        field = failure.field
        status =
            switch failure.kind {
            case .refused: 422
            case .unclear, .unreachable: 502
            case .later: 503
            case .timedOut: 504
            }
        retryAfter = failure.retryAfter
    }

    /// The body was read too late.
    package static let purged = GatewayError(.bodyPurged, "the body is purged: its key is destroyed")

    package static func == (a: GatewayError, b: GatewayError) -> Bool { a.code == b.code }

    package var description: String { "\(code): \(detail)" }

    /// What the code is called in `title`: the code, readable.
    package var title: String { code.replacing("_", with: " ") }
}
