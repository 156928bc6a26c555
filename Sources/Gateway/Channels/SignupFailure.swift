/// Why an Embedded Signup came to no good end, and what an operator can do about it. Meta's own wording is no part of it:
/// that may repeat the code, the token or the app's secret.
package struct SignupFailure: Error, Sendable, Equatable {
    package enum Kind: Sendable {
        /// Something must change first.
        case refused
        /// A limit, or an outage.
        case later
        /// What came is no answer of Meta's, or the connection was lost.
        case unclear
        case unreachable
        case timedOut
    }

    package let step: EmbeddedSignup.Step
    package let kind: Kind
    /// Meta's code, with its subcode where it has one; else what the connection failed with, or `http_…`.
    package let code: String
    /// The field of the operator's request at fault, where it is one.
    package let field: String?
    /// Seconds after which a repeat makes sense.
    package let retryAfter: Int?
    private let hint: String
    /// Whether Meta may have got the request.
    private let wasAsked: Bool

    /// No answer came.
    init(_ step: EmbeddedSignup.Step, _ error: TransferError) {
        self.step = step
        switch (error.failure, error.requestBytesSent) {
        case (.timedOut, _): kind = .timedOut
        case (_, true): kind = .unclear
        case (_, false): kind = .unreachable
        }
        code = error.failure.code
        field = nil
        retryAfter = nil
        hint = ""
        wasAsked = error.requestBytesSent
    }

    /// An answer came that is not what Meta documents.
    init(_ step: EmbeddedSignup.Step, httpStatus: Int) {
        self.step = step
        kind = .unclear
        code = "http_\(httpStatus)"
        field = nil
        retryAfter = nil
        hint = ""
        wasAsked = true
    }

    /// Meta said no.
    init(_ step: EmbeddedSignup.Step, _ error: GraphError, httpStatus: Int) {
        self.step = step
        let isForNow = SignupFailure.isForNow(step, error, httpStatus)
        kind = isForNow ? .later : .refused
        code = error.name
        field = SignupFailure.fault(step, error.code)
        hint = SignupFailure.advice(step, error.code)
        retryAfter = isForNow ? SignupFailure.wait(error.code) : nil
        wasAsked = true
    }

    /// For people, as `exchange: …`, `subscribe: …` or `register: …`.
    package var detail: String {
        let parts = ["\(step.rawValue): \(finding); nothing was stored.", hint, next]
        return parts.filter { !$0.isEmpty }.joined(separator: " ")
    }

    private var finding: String {
        switch kind {
        case .refused: "Meta refused it with error \(code)"
        case .later: "Meta refused it for now with error \(code)"
        case .unclear: "what came back does not say what became of it (\(code))"
        case .unreachable: "Meta could not be reached (\(code))"
        case .timedOut: "Meta did not answer in time (\(code))"
        }
    }

    private var next: String {
        switch (step, wasAsked) {
        case (.exchange, true):
            "A code lives for 30 seconds and is good for one attempt: let the customer go through Embedded Signup again."
        case (.exchange, false):
            "The code was not used: repeat the request within the 30 seconds that it lives."
        case (.subscribe, _), (.register, _):
            "The code was exchanged, and Waybill keeps the token for ten minutes: until then repeat the request with the "
                + "same code, later let the customer go through Embedded Signup again."
        }
    }

    // MARK: Codes

    private static func isForNow(_ step: EmbeddedSignup.Step, _ error: GraphError, _ httpStatus: Int) -> Bool {
        switch error.code {
        // "Error validating client secret" has the code that stands for an unknown error elsewhere.
        case 1: step != .exchange || httpStatus >= 500
        case 2, 4, 17, 32, 613, 80_007, 130_429, 131_000, 131_016, 131_057, 133_000, 133_004, 133_008, 133_009, 133_015,
            133_016:
            true
        // Some of them come under 500.
        case 0, 3, 10, 190, 200...299, 131_045: false
        default: error.isTransient || httpStatus == 429 || httpStatus >= 500
        }
    }

    private static func wait(_ code: Int64) -> Int {
        switch code {
        case 133_008: 3600
        case 133_015: 300
        case 133_016: 72 * 3600
        default: 60
        }
    }

    /// The field of the request that has to change.
    private static func fault(_ step: EmbeddedSignup.Step, _ code: Int64) -> String? {
        switch (step, code) {
        case (.exchange, 100): "code"
        case (.subscribe, 33), (.subscribe, 100): "waba_id"
        case (.register, 33), (.register, 100): "phone_number_id"
        case (.register, 133_005), (.register, 133_008), (.register, 133_009): "pin"
        default: nil
        }
    }

    private static func advice(_ step: EmbeddedSignup.Step, _ code: Int64) -> String {
        switch (step, code) {
        case (.exchange, 1), (.exchange, 101):
            "Check meta.app_id and the first of meta.app_secrets: both must be of the app whose dialog gave the code."
        case (.exchange, 100):
            "The code is too old, was used, or is of another app than meta.app_id."
        case (.subscribe, 33), (.subscribe, 100):
            "Check waba_id: it must be an account that the customer shared in the dialog."
        case (.register, 33), (.register, 100):
            "Check phone_number_id: it must be a number that the customer shared in the dialog."
        case (.register, 133_005):
            "The number has two-step verification: give its six digits as pin, or change them in WhatsApp Manager."
        case (.register, 133_006):
            "The number must be verified again in WhatsApp Manager."
        case (.register, 133_008), (.register, 133_009):
            "There were too many wrong PINs: wait, then give the right six digits as pin."
        case (.register, 133_015):
            "The number was deleted a moment ago: wait five minutes."
        case (.register, 133_016):
            "Meta takes ten registrations of a number in 72 hours."
        case (_, 3), (_, 10), (_, 200...299):
            "The app needs whatsapp_business_management and whatsapp_business_messaging, granted by the customer."
        default: ""
        }
    }
}
