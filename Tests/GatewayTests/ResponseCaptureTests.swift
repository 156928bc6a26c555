import Gateway
import Testing

@Suite struct ResponseCaptureTests {
    @Test func onlyTheFinalResponsesHeadersCount() {
        var capture = ResponseCapture(bodyBytesMax: 16)
        feed(&capture, ["HTTP/1.1 103 Early: hints\r\n", "Link: </a>\r\n", "\r\n"])
        feed(&capture, ["HTTP/1.1 200 OK\r\n", "Retry-After:  7 \r\n", " folded: no\r\n", "X-Empty:\r\n", "\r\n"])
        feed(&capture, ["X-Trailer: 1\r\n"])
        #expect(capture.headers.map(\.name) == ["retry-after", "x-empty"])
        #expect(capture.headers.map(\.value) == ["7", ""])
    }

    @Test func theFirstFinalStatusLineCounts() {
        var capture = ResponseCapture(bodyBytesMax: 16)
        feed(&capture, ["HTTP/1.1 100 Continue\r\n", "\r\n"])
        #expect(capture.status == nil)
        feed(&capture, ["HTTP/1.1 503\r\n"])
        #expect(capture.status == 503)
        feed(&capture, ["X-One: 1\r\n", "\r\n", "HTTP/1.1 200 OK\r\n"])
        #expect(capture.status == 503)
        #expect(capture.headers.map(\.name) == ["x-one"])
    }

    @Test func headerBytesAreBounded() {
        var capture = ResponseCapture(bodyBytesMax: 16)
        feed(&capture, ["HTTP/2 200\r\n"])
        for _ in 0..<100 { feed(&capture, ["x: " + String(repeating: "y", count: 1023) + "\r\n"]) }
        #expect(capture.headers.count == 64)
    }

    @Test func interimHeadersTakeNoRoomFromTheFinalOnes() {
        var capture = ResponseCapture(bodyBytesMax: 16)
        feed(&capture, ["HTTP/1.1 103 Early Hints\r\n"])
        for _ in 0..<100 { feed(&capture, ["x: " + String(repeating: "y", count: 1023) + "\r\n"]) }
        feed(&capture, ["\r\n", "HTTP/1.1 429\r\n", "Retry-After: 7\r\n"])
        #expect(capture.headers.map(\.value) == ["7"])
    }

    @Test func bodyIsCutAndReadingGivenUp() {
        var capture = ResponseCapture(bodyBytesMax: 10)
        #expect(body(&capture, 10))
        #expect(capture.body.count == 10)
        #expect(!capture.bodyTruncated)
        #expect(body(&capture, ResponseCapture.discardedBytesMax))
        #expect(capture.bodyTruncated)
        #expect(!capture.stoppedReading)
        #expect(!body(&capture, 1))
        #expect(capture.stoppedReading)
        #expect(capture.body.count == 10)
    }

    private func feed(_ capture: inout ResponseCapture, _ lines: [String]) {
        for line in lines { _ = Array(line.utf8).withUnsafeBytes { capture.takeHeader(line: $0) } }
    }

    private func body(_ capture: inout ResponseCapture, _ count: Int) -> Bool {
        [UInt8](repeating: 0x61, count: count).withUnsafeBytes { capture.takeBody($0) }
    }
}
