import HTTPTypes
import Hummingbird
import Log
import Projections
import Synchronization

/// Bounds what one client asks of the gateway, sends and everything else apart, so that one of them alone cannot use it up.
/// Refusals are counted and not recorded.
struct RequestRates: RouterMiddleware {
    fileprivate enum Kind: String {
        case sends
        case reads
    }

    fileprivate struct Key: Hashable {
        let client: LogPosition
        let kind: Kind
    }

    /// The buckets that are not full. The others say nothing.
    final class Buckets: Sendable {
        private static let sweepAt = 4_096
        private let buckets = Mutex<[Key: TokenBucket]>([:])

        fileprivate func take(_ key: Key, _ rate: RequestRate, _ now: BootTime) -> (TokenBucket.Answer, Duration) {
            buckets.withLock { buckets in
                if buckets.count >= Buckets.sweepAt, buckets[key] == nil {
                    buckets = buckets.filter { !$0.value.isFull(at: now) }
                }
                var bucket = buckets[key] ?? TokenBucket()
                let answer = bucket.take(at: now, rate)
                buckets[key] = bucket
                return (answer, bucket.reset(at: now))
            }
        }
    }

    private static let policy = HTTPField.Name("RateLimit-Policy")
    private static let limit = HTTPField.Name("RateLimit")

    let live: LiveSettings
    let metrics: GatewayMetrics
    let buckets = Buckets()

    func handle(
        _ request: Request,
        context: GatewayContext,
        next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        let client = try context.requireClient()
        let kind: Kind = request.method == .post && request.uri.path == "/v1/send" ? .sends : .reads
        let rate = rate(kind, of: client.plan)
        let (answer, reset) = buckets.take(Key(client: client.id, kind: kind), rate, BootTime.now)
        var response: Response
        var remaining = 0
        switch answer {
        case .taken(let left):
            remaining = left
            response = try await next(request, context)
        case .empty(let wait):
            metrics.count("waybill_requests_refused_total{reason=\"rate\"}")
            let error = GatewayError(
                .rateLimited,
                "more than \(rate.perSecond) \(kind.rawValue) a second; wait, or ask the operator for more",
                retryAfter: RequestRates.seconds(wait)
            )
            response = Answer.problem(error, requestID: context.requestID)
        }
        add("q=\(rate.burst);w=\(rate.window)", kind, RequestRates.policy, to: &response)
        add("r=\(remaining);t=\(RequestRates.seconds(reset))", kind, RequestRates.limit, to: &response)
        return response
    }

    private func add(_ parameters: String, _ kind: Kind, _ name: HTTPField.Name?, to response: inout Response) {
        guard let name else { return }
        response.headers.append(HTTPField(name: name, value: "\"\(kind.rawValue)\";\(parameters)"))
    }

    private func rate(_ kind: Kind, of plan: Plan) -> RequestRate {
        let asked = kind == .sends ? live[\.sendsPerSecond] : live[\.readsPerSecond]
        return asked > 0 ? RequestRate(perSecond: asked) : RequestRates.standard(kind, plan)
    }

    private static func standard(_ kind: Kind, _ plan: Plan) -> RequestRate {
        switch (kind, plan) {
        case (.sends, .creator): RequestRate(perSecond: 100)
        case (.reads, .creator): RequestRate(perSecond: 200)
        case (_, .professional): RequestRate(perSecond: 500)
        case (_, .business): RequestRate(perSecond: 1_000)
        }
    }

    /// Rounded up, at least one.
    private static func seconds(_ time: Duration) -> Int {
        let (seconds, rest) = time.components
        return max(1, Int(clamping: seconds) + (rest > 0 ? 1 : 0))
    }
}
