import Gateway
import Glibc
import TestSupport
import Testing

/// Kept connections over TLS.
@Suite(.timeLimit(.minutes(30)))
struct CurlTLSTests {
    private let directory = TemporaryDirectory()

    /// libcurl 7.88 takes a connection that holds an unread `close_notify` for a living one, and what is written to it is lost
    /// without an answer: of a send nobody would know the outcome.
    @Test func aConnectionThatTLSHasLeftIsNotWrittenTo() async throws {
        let server = LeavingTLSServer()
        let port = try await server.start()
        let file = directory.path + "/trusted.pem"
        let stream = try #require(fopen(file, "w"))
        fputs(LeavingTLSServer.certificate, stream)
        fclose(stream)
        let driver = try CurlDriver(
            policy: nil,
            connectionsMax: 4,
            connectionsPerHostMax: 4,
            usesHTTP2: false,
            certificateAuthorityFile: file
        )
        func status(_ body: String) async throws -> Int {
            let request = OutgoingRequest(
                method: "POST",
                url: "https://127.0.0.1:\(port)/hook",
                body: Array(body.utf8),
                timeout: .seconds(20),
                connectTimeout: .seconds(10),
                atMostOnce: true
            )
            return try await driver.perform(request).get().status
        }
        #expect(try await status("first!") == 200)
        for _ in 0..<1000 where server.leaves == 0 { try await Task.sleep(for: .milliseconds(10)) }
        #expect(server.leaves == 1)
        try await Task.sleep(for: .milliseconds(50))
        #expect(try await status("second!") == 200)
        #expect(try await status("third!") == 200)
        #expect(server.connections == 2, "the second connection is kept")
        #expect(server.requests.count == 3)
        await driver.shutdown()
        try await server.stop()
    }
}
