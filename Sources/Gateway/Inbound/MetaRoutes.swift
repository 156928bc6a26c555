import HTTPTypes
import Hummingbird
import Log
import Logging
import Projections

/// Meta's webhooks for Messenger, Instagram and WhatsApp: verify, adapt each item by itself, append, answer when all of it
/// is on disk.
struct MetaRoutes: Sendable {
    /// WhatsApp documents 3 MB.
    static let bodyMax = 4 << 20
    /// How often an item is offered to a log that is busy, and how long it waits in between.
    private static let tries = 20
    private static let pause = Duration.milliseconds(50)

    private static let mismatch = "the signature does not match the body under any of meta.app_secrets"
    private static let signature = HTTPField.Name("X-Hub-Signature-256")

    let ledger: Ledger
    let live: LiveSettings
    let metrics: GatewayMetrics
    let logger: Logger

    func add(to router: Routes) {
        router.get("/channels/meta", query: .any) { request, _ in try confirm(request) }
        router.post("/channels/meta", query: .any) { try await logging(to: $1.logger).take($0) }
    }

    /// The same, whose lines in the process log name the request.
    private func logging(to logger: Logger) -> MetaRoutes {
        MetaRoutes(ledger: ledger, live: live, metrics: metrics, logger: logger)
    }

    /// Meta asks whether the address is ours, whenever it is entered.
    private func confirm(_ request: Request) throws -> Response {
        let query = FormBody([UInt8]((request.uri.query ?? "").utf8))
        let token = [UInt8]((query?["hub.verify_token"] ?? "").utf8)
        let expected = [UInt8](live[\.metaVerifyToken].utf8)
        guard query?["hub.mode"] == "subscribe", let challenge = query?["hub.challenge"], !expected.isEmpty,
            Crypto.equalConstantTime(token, expected)
        else { throw refused("the verify token is not the one that is set as meta.verify_token") }
        return Answer.text(.ok, "text/plain; charset=utf-8", challenge)
    }

    private func refused(_ detail: String) -> GatewayError {
        metrics.count("waybill_invalid_signatures_total")
        return GatewayError(.invalidSignature, detail)
    }

    private func take(_ request: Request) async throws -> Response {
        let header = MetaRoutes.signature.flatMap { request.headers[$0] }
        // What is certain to be refused is not read.
        try request.refuseLonger(than: MetaRoutes.bodyMax)
        guard MetaSignature.isForm(header), !live[\.metaAppSecrets].isEmpty else { throw refused(MetaRoutes.mismatch) }
        let raw = try await request.bytes(limit: MetaRoutes.bodyMax)
        let isSigned = MetaSignature.verify(
            header: header,
            secrets: live[\.metaAppSecrets].map { [UInt8]($0.utf8) },
            body: raw
        )
        guard isSigned else { throw refused(MetaRoutes.mismatch) }
        var last = LogPosition.zero
        let events = ProviderJSON(raw).map(MetaWebhook.events) ?? []
        if events.isEmpty { last = try await noteForeign(.facebook, raw) }
        var failure: (any Error)?
        for event in events {
            do {
                last = max(last, try await take(event))
            } catch let error as LogError where error.code != .corrupt {
                // The log cannot take the others either.
                throw error
            } catch {
                logger.error("an inbound item could not be taken", metadata: ["error": "\(error)"])
                metrics.count("waybill_inbound_items_failed_total")
                failure = failure ?? error
            }
        }
        try await ledger.log.waitUntilDurable(last)
        if let failure { throw failure }
        return Answer.text(.ok, "text/plain; charset=utf-8", "")
    }

    /// One item. What is wrong with it would not get better if Meta repeated it, and does not make the request fail. What is
    /// wrong here, a log that is full or a record that is damaged, does, so that Meta repeats it and nothing is lost.
    private func take(_ event: ChannelEvent) async throws -> LogPosition {
        let route = ledger.route(event.platform, event.account.id)
        guard let client = ledger.plan({ $0.clients.routes[route] }) else {
            return try await noteForeign(event.platform, event.bytes)
        }
        for smaller in MetaRoutes.attempts(event) {
            do {
                return try await offered { try await intake.take(smaller, of: client) }
            } catch let error as LogError where error.code == .recordTooLarge {
                metrics.count("waybill_inbound_items_cut_total")
            } catch let error as GatewayError where error == .purged {
                // The client was deleted under our hands.
                return try await noteForeign(event.platform, event.bytes)
            }
        }
        return try await noteForeign(event.platform, event.bytes)
    }

    /// What fits into a record: all of it, or without the provider's bytes, or at least that there was a message.
    private static func attempts(_ event: ChannelEvent) -> [ChannelEvent] {
        var smaller = event
        smaller.bytes = []
        var smallest = smaller
        if case .message(let content) = event.action {
            var rest = MessageContent()
            rest.platformMessageID = content.platformMessageID
            rest.kind = "unsupported"
            smallest.action = .message(rest)
        } else {
            smallest.action = .unrecognized
        }
        return [event, smaller, smallest]
    }

    private var intake: ChannelIntake { ChannelIntake(ledger: ledger, logger: logger) }

    /// A batch can be more than may wait in the log at once.
    private func offered(_ body: () async throws -> LogPosition) async throws -> LogPosition {
        for _ in 1..<MetaRoutes.tries {
            do {
                return try await body()
            } catch let error as LogError where error.code == .overloaded {
                try await Task.sleep(for: MetaRoutes.pause)
            }
        }
        return try await body()
    }

    /// Verified, but of an account that belongs to no client, or of no known form. It is put on record that something came; the
    /// bytes are not kept, because there is nobody whose they are and who could have them purged.
    private func noteForeign(_ platform: Platform, _ bytes: [UInt8]) async throws -> LogPosition {
        metrics.count("waybill_inbound_items_foreign_total")
        var event = ProviderEventUnrecognized()
        event.platform = platform
        event.duplicateKey = ledger.route(platform, Hex.encode(Crypto.sha256(bytes)))
        return try await offered {
            try ledger.append(flush: .byWaiter) { [event] state, _ in
                let isKnown = state.deduplication.first(.zero, event.duplicateKey) != nil
                return (isKnown ? [] : [NewEvent(.providerEventUnrecognized(event))], ())
            }.position
        }
    }
}
