import Gateway
import Projections
import Testing

@Suite struct RetryAfterTests {
    /// 1994-11-06 08:49:30.5.
    static let now = Timestamp(784_111_770_500_000_000)

    @Test(arguments: [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 7), ("Sunday, 06-Nov-94 08:49:37 GMT", 7), ("Sun Nov  6 08:49:37 1994", 7),
        ("Wed Nov 16 08:49:37 1994", 86_400), ("Sun, 06 Nov 1994 08:49:29 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Monday, 01-Jan-45 00:00:00 GMT", 0), ("0", 0), ("17", 17), ("007", 7),
        ("86401", 86_400), ("99999999999999999999999", 86_400),
    ])
    func whatIsAskedFor(_ value: String, _ seconds: UInt64) {
        #expect(RetryAfter.seconds(value, now: Self.now) == seconds)
    }

    private static let answers: [([String: String], UInt64?)] = [
        (["retry-after": "Sun, 06 Nov 1994 08:49:37 GMT", "date": "Sun, 06 Nov 1994 08:49:30 GMT"], 7),
        (["retry-after": "Mon, 07 Nov 1994 08:49:37 GMT", "date": "Mon, 07 Nov 1994 08:49:30 GMT"], 7),
        (["retry-after": "Sun, 06 Nov 1994 08:49:37 GMT", "date": "soon"], 7),
        (["retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"], 7), (["retry-after": "5", "date": "soon"], 5),
        (["retry-after": "soon"], nil), ([:], nil),
    ]

    /// Both dates are the server's, whatever our clock shows.
    @Test(arguments: answers) func isReckonedByTheServersClock(_ headers: [String: String], _ seconds: UInt64?) {
        let response = OutgoingResponse(
            status: 429,
            headers: headers.map { ($0.key, $0.value) },
            body: [],
            bodyTruncated: false,
            duration: .zero
        )
        #expect(RetryAfter.seconds(of: response, now: Self.now) == seconds)
    }

    @Test(arguments: [
        "", " ", "-1", "+5", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 CET",
        "Xyz, 06 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun Nov 6 08:49:37 1994", "Sunday, 06-Nov-1994 08:49:37 GMT", "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 8:49:37 GMT", "Sun, ٠٦ Nov 1994 08:49:37 GMT",
    ])
    func whatIsNeitherIsIgnored(_ value: String) {
        #expect(RetryAfter.seconds(value, now: Self.now) == nil)
    }
}
