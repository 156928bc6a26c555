import Gateway
import Projections
import Testing

/// How long Meta asks to wait, where it refuses for now.
@Suite struct GraphWaitTests {
    private typealias Headers = [(name: String, value: String)]

    private func result(_ code: Int64, status: Int = 400, _ headers: Headers) -> SendResult {
        let body = #"{"error":{"message":"m","type":"OAuthException","code":\#(code),"fbtrace_id":"AbC"}}"#
        return result(body: body, status: status, headers)
    }

    private func result(body: String, status: Int, _ headers: Headers) -> SendResult {
        let response = OutgoingResponse(
            status: status,
            headers: headers,
            body: [UInt8](body.utf8),
            bodyTruncated: false,
            duration: .zero
        )
        let now = Timestamp(1_000_000_000)
        return GraphAnswer.result(.whatsapp, .success(response), startedAt: now, finishedAt: now)
    }

    private static func usage(_ minutes: [Int]) -> String {
        let entries = minutes.map { #"{"type":"whatsapp","call_count":99,"estimated_time_to_regain_access":\#($0)}"# }
        let list = entries.joined(separator: ",")
        return #"{"2002":[{"call_count":1}],"2003":[\#(list)]}"#
    }

    @Test func theUsageHeadersAreInMinutes() {
        let business = (name: "x-business-use-case-usage", value: Self.usage([3, 0, 5]))
        let app = (name: "x-app-usage", value: #"{"call_count":100,"estimated_time_to_regain_access":4}"#)
        #expect(result(4, [business]).retryAfter == 300)
        #expect(result(4, [app]).retryAfter == 240)
        #expect(result(4, [app, business]).retryAfter == 300)
    }

    @Test func retryAfterCountsBeforeThem() {
        let headers = [
            (name: "x-business-use-case-usage", value: Self.usage([5])), (name: "retry-after", value: "17"),
        ]
        #expect(result(4, headers).retryAfter == 17)
        #expect(result(body: "slow down", status: 429, headers).retryAfter == 17)
    }

    @Test func aBareTooManyRequestsHasUsageToo() {
        let headers = [(name: "x-business-use-case-usage", value: Self.usage([5]))]
        let result = result(body: "", status: 429, headers)
        #expect(result.outcome == .retryLater)
        #expect(result.code == "http_429")
        #expect(result.retryAfter == 300)
    }

    @Test(arguments: [
        "", "{}", "[]", "nope", "5", "null", "{\"2002\":5}", "{\"2002\":{\"estimated_time_to_regain_access\":5}}",
        "{\"estimated_time_to_regain_access\":\"soon\"}", "{\"estimated_time_to_regain_access\":0}",
        "{\"estimated_time_to_regain_access\":-5}", "{\"estimated_time_to_regain_access\":1.5}",
        "{\"estimated_time_to_regain_access\":99999999999999999999999}", "{\"estimated_time_to_regain_access\":5",
    ])
    func aUsageThatAsksForNothing(_ value: String) {
        #expect(result(4, [(name: "x-business-use-case-usage", value: value)]).retryAfter == nil)
        #expect(result(4, [(name: "x-app-usage", value: value)]).retryAfter == nil)
    }

    @Test func whatItAsksForIsBounded() {
        let long = Self.usage([Int.max])
        #expect(result(4, [(name: "x-business-use-case-usage", value: long)]).retryAfter == 86_400)
        let padded = Self.usage([5]) + String(repeating: " ", count: 20_000)
        #expect(result(4, [(name: "x-business-use-case-usage", value: padded)]).retryAfter == nil)
    }

    /// The limit of one pair has no header of its own.
    @Test func aPairWaitsAtLeastSixSeconds() {
        #expect(result(131_056, []).retryAfter == 6)
        #expect(result(131_056, [(name: "retry-after", value: "3")]).retryAfter == 6)
        #expect(result(131_056, [(name: "retry-after", value: "30")]).retryAfter == 30)
        #expect(result(131_056, [(name: "x-app-usage", value: Self.usage([1]))]).retryAfter == 60)
        #expect(result(130_429, []).retryAfter == nil)
    }

    @Test func onlyARefusalForNowWaits() {
        let headers = [(name: "x-business-use-case-usage", value: Self.usage([5]))]
        #expect(result(100, headers).retryAfter == nil)
        #expect(result(190, headers).retryAfter == nil)
        #expect(result(body: #"{"messages":[{"id":"wamid.A"}]}"#, status: 200, headers).retryAfter == nil)
    }
}
