/// One HTTP request that Waybill makes: a webhook delivery or a call to a provider.
package struct OutgoingRequest: Sendable {
    /// `GET` or `POST`.
    package var method: String
    /// Absolute, with `http` or `https`.
    package var url: String
    /// All headers that the caller wants to say, credentials included. Host, length and `Accept` are added.
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
    /// How long the exchange may take, from opening the connection to the last byte of the response.
    ///
    /// A request may first wait for a place among the running ones, and that wait is bounded by the same time again.
    /// It is not taken from the exchange, because an endpoint must not fail for a queue on this side.
    package var timeout: Duration
    /// How long name resolution, connecting and the TLS handshake may take together.
    package var connectTimeout: Duration
    /// Whether the request must never leave twice. A webhook delivery may, a send to a customer may not.
    ///
    /// A kept connection that ended before a byte of the response is replaced by a fresh one, once and within the same
    /// time: with `atMostOnce` only if no byte of the request had left.
    package var atMostOnce: Bool
    /// With a value the status line decides: once it came, the body is waited for so long, and a body that breaks off or
    /// does not end is cut. A success that comes before the whole request has left is waited for until it has. Nil: a response
    /// without its whole body is none.
    package var bodyWait: Duration?
    /// Whether the request must go over a connection of its own. A kept one may have ended at the other side without a sign, and
    /// what is written to it may be gone without anybody having read it.
    package var usesFreshConnection = false
    /// Takes the body of a success in place of the response; an exchange that brings nothing for half a minute then ends.
    package var sink: (any BodySink)?

    package init(
        method: String,
        url: String,
        headers: [(name: String, value: String)] = [],
        body: [UInt8] = [],
        timeout: Duration,
        connectTimeout: Duration,
        atMostOnce: Bool
    ) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.timeout = timeout
        self.connectTimeout = connectTimeout
        self.atMostOnce = atMostOnce
    }
}

/// Takes the body of a response with a status of 2xx as it comes, on the driver's thread.
package protocol BodySink: AnyObject, Sendable {
    /// False when no more is wanted: the exchange ends, and counts as complete.
    func take(_ bytes: UnsafeRawBufferPointer) -> Bool
}

/// A response: its status, and as much else as was wanted and came.
package struct OutgoingResponse: Sendable {
    package let status: Int
    /// Those of the final response, names in lower case, in the order received. What exceeds 64 KiB is dropped.
    package let headers: [(name: String, value: String)]
    /// The first bytes of the body, as many as the driver captures.
    package let body: [UInt8]
    /// Whether the body was longer than what was captured, or was cut.
    package let bodyTruncated: Bool
    package let duration: Duration

    package init(
        status: Int,
        headers: [(name: String, value: String)],
        body: [UInt8],
        bodyTruncated: Bool,
        duration: Duration
    ) {
        self.status = status
        self.headers = headers
        self.body = body
        self.bodyTruncated = bodyTruncated
        self.duration = duration
    }

    /// The first value of a header; the name in lower case.
    package func header(_ name: String) -> String? {
        headers.first { $0.name == name }?.value
    }
}

/// Why an exchange gave no response.
package enum TransferFailure: String, Error, Sendable, Equatable {
    /// Every address of the host is one that the policy refuses.
    case addressRefused = "address_refused"
    case nameNotResolved = "name_not_resolved"
    case connectFailed = "connect_failed"
    case tlsFailed = "tls_failed"
    case timedOut = "timed_out"
    case connectionLost = "connection_lost"
    case invalidURL = "invalid_url"
    /// The request cannot be expressed in HTTP, or what came back is not HTTP.
    case protocolError = "protocol_error"
    /// This host lacked what it takes to begin: descriptors, memory or ports. Nothing left, and the other side has no part in it.
    case localFailure = "local_failure"
    /// Waybill ended the exchange itself: the driver shuts down, or the calling task was cancelled.
    case shuttingDown = "shutting_down"

    /// Stable: it is recorded in the log and shown to clients.
    package var code: String { rawValue }

    /// What a client can do about an attempt that ended so; nil where the code says all.
    static func advice(_ code: String?) -> String? {
        code == addressRefused.code
            ? "every address of the host is one that is not public; on an instance of your own, the setting "
                + "webhooks.allow_cidrs permits networks"
            : nil
    }
}

/// An exchange without a response, and what is certain about it.
package struct TransferError: Error, Sendable {
    package let failure: TransferFailure
    /// False only if it is certain that no byte of the request left, so that it may be repeated without any risk.
    package let requestBytesSent: Bool
    /// Fixed texts of libcurl and of the operating system: never a URL, a host, a header or a body.
    package let detail: String
    package let duration: Duration

    package init(_ failure: TransferFailure, requestBytesSent: Bool, detail: String, duration: Duration = .zero) {
        self.failure = failure
        self.requestBytesSent = requestBytesSent
        self.detail = detail
        self.duration = duration
    }
}
