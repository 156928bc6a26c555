import Gateway
import Glibc
import Testing

@Suite(.timeLimit(.minutes(30)))
struct CurlDriverTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    /// A label of 70 letters, which the resolver refuses without asking any server.
    private static let impossibleName = String(repeating: "a", count: 70)

    // MARK: Responses

    @Test func aResponseIsCaptured() async throws {
        let server = try LoopbackServer([
            .answer("HTTP/1.1 202 Accepted\r\nX-One: 1\r\nRetry-After: 5\r\nContent-Length: 5\r\n\r\nhello")
        ])
        let response = try await exchange(server, body: "payload").get()
        #expect(response.status == 202)
        #expect(response.header("x-one") == "1")
        #expect(response.header("retry-after") == "5")
        #expect(response.body == Array("hello".utf8))
        #expect(!response.bodyTruncated)
        #expect(response.duration > .zero)
    }

    @Test func theRequestIsWhatTheCallerSaid() async throws {
        let server = try LoopbackServer([.answer(Self.ok)])
        let headers = [(name: "Content-Type", value: "application/json"), (name: "X-Empty", value: "")]
        _ = try await exchange(server, headers: headers, body: "{}").get()
        let request = try #require(server.requests.first)
        #expect(request.hasPrefix("POST /hook HTTP/1.1\r\n"))
        #expect(request.contains("\r\nContent-Type: application/json\r\n"))
        #expect(request.contains("\r\nX-Empty:\r\n"))
        #expect(request.hasSuffix("\r\n\r\n{}"))
    }

    @Test func aLongRequestDoesNotWaitForAContinue() async throws {
        let server = try LoopbackServer([.answer(Self.ok)])
        let body = String(repeating: "x", count: 2 << 20)
        _ = try await exchange(server, body: body).get()
        let request = try #require(server.requests.first)
        #expect(request.utf8.count > body.utf8.count)
        #expect(!request.prefix(1000).lowercased().contains("expect:"))
    }

    @Test func anEmptyPostClaimsNoContentType() async throws {
        let server = try LoopbackServer([.answer(Self.ok)])
        _ = try await exchange(server, body: "").get()
        let request = try #require(server.requests.first).lowercased()
        #expect(request.contains("\r\ncontent-length: 0\r\n"))
        #expect(!request.contains("content-type"))
    }

    @Test func aLongBodyIsCutButStillAResponse() async throws {
        let body = String(repeating: "x", count: 100_000)
        let server = try LoopbackServer([
            .answer("HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"), .answer(Self.ok),
        ])
        let driver = try makeDriver()
        let response = try await driver.perform(request(server.url)).get()
        #expect(response.body.count == 4096)
        #expect(response.bodyTruncated)
        _ = try await driver.perform(request(server.url)).get()
        #expect(server.connections == 1, "the rest was read, so the connection is re-used")
        await driver.shutdown()
        server.stop()
    }

    @Test func anEndlessBodyIsGivenUpButStillAResponse() async throws {
        let body = String(repeating: "x", count: 1 << 20)
        let server = try LoopbackServer([.hang("HTTP/1.1 500 No\r\nContent-Length: 99999999\r\n\r\n\(body)")])
        let response = try await exchange(server).get()
        #expect(response.status == 500)
        #expect(response.body.count == 4096)
        #expect(response.bodyTruncated)
    }

    /// libcurl keeps every trailer in memory as long as the exchange runs.
    @Test func endlessTrailersAreGivenUpButStillAResponse() async throws {
        let trailers = String(repeating: "X-More: " + String(repeating: "y", count: 1014) + "\r\n", count: 1024)
        let server = try LoopbackServer([
            .hang("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\(trailers)")
        ])
        let response = try await exchange(server).get()
        #expect(response.status == 200)
        #expect(response.body == Array("ok".utf8))
        #expect(response.headers.map(\.name) == ["transfer-encoding"])
    }

    @Test func redirectsAreNotFollowed() async throws {
        let server = try LoopbackServer([
            .answer("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"), .answer(Self.ok),
        ])
        let response = try await exchange(server).get()
        #expect(response.status == 302)
        #expect(response.header("location") == "/elsewhere")
        #expect(server.requests.count == 1)
    }

    // MARK: Addresses

    @Test(arguments: ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
    func loopbackIsRefusedHoweverItIsSpelled(_ host: String) async throws {
        let server = try LoopbackServer([.answer(Self.ok)])
        let driver = try makeDriver(policy: AddressPolicy(allowed: []))
        let error = await driver.perform(request("http://\(host):\(server.port)/")).failure
        #expect(error?.failure == .addressRefused)
        #expect(error?.requestBytesSent == false)
        #expect(server.connections == 0)
        await driver.shutdown()
        server.stop()
    }

    @Test func anAllowedAddressIsConnected() async throws {
        let server = try LoopbackServer([.answer(Self.ok)])
        let allowed = try #require(IPNetwork("127.0.0.0/8"))
        let driver = try makeDriver(policy: AddressPolicy(allowed: [allowed]))
        // The name may resolve to ::1 as well, which stays refused.
        #expect(await driver.perform(request("http://localhost:\(server.port)/")).status == 200)
        await driver.shutdown()
        server.stop()
    }

    // MARK: Failures

    @Test func aClosedPortLeavesNothingSent() async throws {
        let (socket, port) = try LoopbackServer.listen()
        close(socket)
        let driver = try makeDriver()
        let error = await driver.perform(request("http://127.0.0.1:\(port)/")).failure
        #expect(error?.failure == .connectFailed)
        #expect(error?.requestBytesSent == false)
        #expect(error?.detail.contains("\(port)") == false)
        await driver.shutdown()
    }

    @Test func aNameThatDoesNotExistLeavesNothingSent() async throws {
        let driver = try makeDriver()
        let error = await driver.perform(request("http://\(Self.impossibleName)/")).failure
        #expect(error?.failure == .nameNotResolved)
        #expect(error?.requestBytesSent == false)
        #expect(error?.detail.contains(Self.impossibleName) == false)
        await driver.shutdown()
    }

    @Test func aTLSHandshakeThatHangsLeavesNothingSent() async throws {
        let server = try LoopbackServer([])
        let driver = try makeDriver()
        let url = "https://127.0.0.1:\(server.port)/"
        // The server waits for the end of a header, which a handshake never sends.
        let error = await driver.perform(request(url, timeout: .milliseconds(500))).failure
        #expect(error?.failure == .timedOut)
        #expect(error?.requestBytesSent == false)
        await driver.shutdown()
        server.stop()
    }

    @Test(arguments: [true, false])
    func aCloseInPlaceOfAResponseIsALostConnection(_ atMostOnce: Bool) async throws {
        let server = try LoopbackServer([.close, .answer(Self.ok)])
        let error = await exchange(server, atMostOnce: atMostOnce).failure
        #expect(error?.failure == .connectionLost)
        #expect(error?.requestBytesSent == true)
        #expect(server.requests.count == 1)
    }

    @Test func aBodyThatBreaksOffIsALostConnection() async throws {
        let server = try LoopbackServer([.answerAndClose("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")])
        let error = await exchange(server).failure
        #expect(error?.failure == .connectionLost)
        #expect(error?.requestBytesSent == true)
    }

    @Test func whatIsNotHTTPIsAProtocolError() async throws {
        let server = try LoopbackServer([.answerAndClose("220 mail.example ESMTP\r\n")])
        let error = await exchange(server).failure
        #expect(error?.failure == .protocolError)
        #expect(error?.requestBytesSent == true)
    }

    /// libcurl by itself would send the second request again on a fresh connection.
    @Test func onADeadReusedConnectionASendLeavesOnce() async throws {
        let server = try LoopbackServer([.answer(Self.ok), .close, .answer(Self.ok)])
        let driver = try makeDriver()
        #expect(await driver.perform(request(server.url, atMostOnce: true)).status == 200)
        let error = await driver.perform(request(server.url, body: "second", atMostOnce: true)).failure
        #expect(error?.failure == .connectionLost)
        #expect(error?.requestBytesSent == true)
        #expect(server.requests.filter { $0.hasSuffix("second") }.count == 1)
        // The driver is none the worse for it.
        #expect(await driver.perform(request(server.url, body: "third", atMostOnce: true)).status == 200)
        await driver.shutdown()
        server.stop()
    }

    @Test func onADeadReusedConnectionADeliveryIsRepeated() async throws {
        let server = try LoopbackServer([.answer(Self.ok), .close, .answer(Self.ok)])
        let driver = try makeDriver()
        #expect(await driver.perform(request(server.url)).status == 200)
        #expect(await driver.perform(request(server.url)).status == 200)
        #expect(server.requests.count == 3)
        #expect(server.connections == 2)
        await driver.shutdown()
        server.stop()
    }

    /// libcurl 7.88 does not see that an idle connection was reset, and takes it all the same. No byte can leave over it.
    @Test(arguments: [true, false])
    func aResetIdleConnectionCostsNothing(_ atMostOnce: Bool) async throws {
        let server = try LoopbackServer([.answerAndReset(Self.ok), .answer(Self.ok)])
        let driver = try makeDriver()
        #expect(await driver.perform(request(server.url, atMostOnce: atMostOnce)).status == 200)
        try await eventually { server.resets == 1 }
        try await Task.sleep(for: .milliseconds(50))
        let second = request(server.url, body: "second", atMostOnce: atMostOnce)
        #expect(await driver.perform(second).status == 200)
        #expect(server.requests.filter { $0.hasSuffix("second") }.count == 1)
        #expect(server.connections == 2)
        await driver.shutdown()
        server.stop()
    }

    /// A repeat never takes another idle connection, which may be as dead.
    @Test func aDeliveryIsRepeatedOnceAndOnAFreshConnection() async throws {
        let server = try LoopbackServer([.answer(Self.ok), .close, .close, .answer(Self.ok)])
        let driver = try makeDriver()
        #expect(await driver.perform(request(server.url)).status == 200)
        let error = await driver.perform(request(server.url)).failure
        #expect(error?.failure == .connectionLost)
        #expect(error?.requestBytesSent == true)
        #expect(server.requests.count == 3)
        #expect(server.connections == 2)
        await driver.shutdown()
        server.stop()
    }

    // MARK: The status line decides

    @Test(arguments: [
        "HTTP/1.1 201 Created\r\nContent-Length: 10\r\nX-One: 1\r\n\r\nhalf",
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX-One: 1\r\n\r\nzz\r\nhalf",
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX-One: 1\r\n\r\n4\r\nhalf\r\n",
    ])
    func aBodyThatBreaksOffIsStillAResponseWhereTheStatusDecides(_ answer: String) async throws {
        let server = try LoopbackServer([.answerAndClose(answer)])
        let driver = try makeDriver()
        var asked = request(server.url)
        asked.bodyWait = .seconds(5)
        let response = try await driver.perform(asked).get()
        #expect(response.status == 201)
        #expect(response.header("x-one") == "1")
        #expect(response.bodyTruncated)
        await driver.shutdown()
        server.stop()
    }

    @Test func aBodyThatDoesNotEndHoldsNoPlace() async throws {
        let server = try LoopbackServer([.hang("HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\nhalf")])
        let driver = try makeDriver()
        var asked = request(server.url, timeout: .seconds(60))
        asked.bodyWait = .milliseconds(100)
        let response = try await driver.perform(asked).get()
        #expect(response.status == 503)
        #expect(response.body == Array("half".utf8))
        #expect(response.duration < .seconds(30))
        try await eventually { server.goneClients == 1 }
        await driver.shutdown()
        server.stop()
    }

    /// Who hung up then would have sent half of a request, and counted it as taken.
    @Test func aSuccessThatComesEarlyStopsNoRequest() async throws {
        let server = try LoopbackServer([], early: Self.ok)
        let driver = try makeDriver()
        let body = String(repeating: "x", count: 16 << 20)
        var asked = request(server.url, body: body, timeout: .seconds(60))
        asked.bodyWait = .milliseconds(50)
        #expect(await driver.perform(asked).status == 200)
        try await eventually { server.requests.count == 1 }
        #expect((server.requests.first?.utf8.count ?? 0) > body.utf8.count)
        await driver.shutdown()
        server.stop()
    }

    @Test func aSuccessOfARequestThatDidNotLeaveInTimeIsNone() async throws {
        let server = try LoopbackServer([], early: Self.ok)
        let driver = try makeDriver()
        let body = String(repeating: "x", count: 16 << 20)
        var asked = request(server.url, body: body, timeout: .milliseconds(400))
        asked.bodyWait = .milliseconds(50)
        let error = await driver.perform(asked).failure
        #expect(error?.failure == .timedOut)
        #expect(error?.requestBytesSent == true)
        await driver.shutdown()
        server.stop()
    }

    /// The last thing that fails is a connect, but the request had been on its way before.
    @Test func aRepeatThatCannotConnectStillCountsAsSent() async throws {
        let server = try LoopbackServer([.answer(Self.ok), .close])
        let driver = try makeDriver()
        #expect(await driver.perform(request(server.url)).status == 200)
        server.stop()
        let error = await driver.perform(request(server.url)).failure
        #expect(error?.failure == .connectionLost)
        #expect(error?.requestBytesSent == true)
        #expect(server.requests.count == 2)
        await driver.shutdown()
    }

    @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"])
    func aSilentServerTimesOut(_ beginning: String) async throws {
        let server = try LoopbackServer([.hang(beginning)])
        let error = await exchange(server, timeout: .milliseconds(300)).failure
        #expect(error?.failure == .timedOut)
        #expect(error?.requestBytesSent == true)
        #expect(error.map { $0.duration >= .milliseconds(290) && $0.duration < .seconds(10) } == true)
    }

    // MARK: Malformed requests

    @Test(arguments: [
        ("X-A", "b\r\nInjected: yes"), ("X-A", "b\nc"), ("X-A", "b\rc"), ("X-A", "b\u{0}c"), ("X-A\r\nInjected", "b"),
        ("X-A\u{0}", "b"), ("X A", "b"), ("", "b"), ("X-A:", "b"),
    ])
    func headersCannotBeInjected(_ name: String, _ value: String) async throws {
        let server = try LoopbackServer([.answer(Self.ok)])
        let error = await exchange(server, headers: [(name: name, value: value)]).failure
        #expect(error?.failure == .protocolError)
        #expect(error?.requestBytesSent == false)
        #expect(server.connections == 0)
    }

    @Test(arguments: [
        "", "/hook", "127.0.0.1", "http://", "ftp://127.0.0.1/", "file:///etc/passwd", "http://127.0.0.1/\r\nX: y",
        "http://127.0.0.1/\u{0}", "http://127.0.0.1/ x", "http://127.0.0.1:99999/", "gopher://127.0.0.1/",
    ])
    func otherURLsAreInvalid(_ url: String) async throws {
        let driver = try makeDriver()
        let error = await driver.perform(request(url)).failure
        #expect(error?.failure == .invalidURL)
        #expect(error?.requestBytesSent == false)
        await driver.shutdown()
    }

    // MARK: Environment

    @Test func proxiesOfTheEnvironmentAreIgnored() async {
        await #expect(processExitsWith: .success) {
            for name in ["http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
                setenv(name, "http://127.0.0.1:1/", 1)
            }
            let server = try LoopbackServer([.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")])
            let driver = try CurlDriver(policy: nil, connectionsMax: 2, connectionsPerHostMax: 2)
            let request = OutgoingRequest(
                method: "GET",
                url: server.url,
                timeout: .seconds(5),
                connectTimeout: .seconds(5),
                atMostOnce: false
            )
            let response = try await driver.perform(request).get()
            await driver.shutdown()
            exit(response.status == 200 && server.connections == 1 ? EXIT_SUCCESS : EXIT_FAILURE)
        }
    }

    // MARK: Ending early

    @Test func shutdownEndsWhatHangs() async throws {
        let server = try LoopbackServer([.hang("")])
        let driver = try makeDriver(connectionsMax: 1)
        async let hanging = driver.perform(request(server.url, timeout: .seconds(30)))
        try await eventually { server.requests.count == 1 }
        async let waiting = driver.perform(request(server.url, timeout: .seconds(30)))
        try await Task.sleep(for: .milliseconds(50))
        await driver.shutdown()
        let (first, second) = await (hanging.failure, waiting.failure)
        #expect(first?.failure == .shuttingDown)
        #expect(first?.requestBytesSent == true)
        #expect(second?.failure == .shuttingDown)
        #expect(second?.requestBytesSent == false)
        try await eventually { server.goneClients == 1 }

        let late = await driver.perform(request(server.url)).failure
        #expect(late?.failure == .shuttingDown)
        #expect(late?.requestBytesSent == false)
        await driver.shutdown()
        server.stop()
    }

    @Test func cancellingTheTaskEndsTheExchange() async throws {
        let server = try LoopbackServer([.hang("")])
        let driver = try makeDriver(connectionsMax: 1)
        let running = Task { await driver.perform(request(server.url, timeout: .seconds(30))) }
        try await eventually { server.requests.count == 1 }
        let waiting = Task { await driver.perform(request(server.url, timeout: .seconds(30))) }
        waiting.cancel()
        #expect(await waiting.value.failure?.requestBytesSent == false)
        running.cancel()
        let error = await running.value.failure
        #expect(error?.failure == .shuttingDown)
        #expect(error?.requestBytesSent == true)
        try await eventually { server.goneClients == 1 }
        await driver.shutdown()
        server.stop()
    }

    // MARK: Fresh connections, and answers that are none

    @Test func aRequestThatWantsAFreshConnectionTakesNoKeptOne() async throws {
        let server = try LoopbackServer([.answer(Self.ok), .answer(Self.ok)])
        let driver = try makeDriver()
        #expect(await driver.perform(request(server.url)).status == 200)
        var second = request(server.url)
        second.usesFreshConnection = true
        #expect(await driver.perform(second).status == 200)
        #expect(server.connections == 2)
        await driver.shutdown()
        server.stop()
    }

    @Test(arguments: ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Half: "], [true, false])
    func aConnectionThatEndsInsideTheHeadersIsNoAnswer(_ head: String, _ statusDecides: Bool) async throws {
        let server = try LoopbackServer([.answerAndClose(head)])
        let driver = try makeDriver()
        var wanted = request(server.url)
        if statusDecides { wanted.bodyWait = .seconds(2) }
        let error = await driver.perform(wanted).failure
        #expect(error?.failure == .connectionLost)
        #expect(error?.requestBytesSent == true)
        await driver.shutdown()
        server.stop()
    }

    @Test func headersThatDoNotEndAreNoAnswer() async throws {
        let server = try LoopbackServer([.hang("HTTP/1.1 200 OK\r\nX-Half: ")])
        let driver = try makeDriver()
        var wanted = request(server.url, timeout: .milliseconds(400))
        wanted.bodyWait = .milliseconds(100)
        #expect(await driver.perform(wanted).failure?.failure == .timedOut)
        await driver.shutdown()
        server.stop()
    }

    // MARK: Places

    @Test func aSlowHostDelaysNoOther() async throws {
        let slow = try LoopbackServer([.hang(""), .hang(""), .hang("")])
        let quick = try LoopbackServer([.answer(Self.ok)])
        let driver = try makeDriver(connectionsMax: 8, connectionsPerHostMax: 1)
        let hanging = (0..<3).map { _ in Task { await driver.perform(request(slow.url, timeout: .seconds(30))) } }
        try await eventually { slow.requests.count == 1 }
        #expect(await driver.perform(request(quick.url)).status == 200)
        #expect(slow.connections == 1)
        await driver.shutdown()
        for task in hanging { #expect(await task.value.failure?.failure == .shuttingDown) }
        slow.stop()
        quick.stop()
    }

    @Test func waitingForAPlaceTimesOut() async throws {
        let server = try LoopbackServer([.hang("")])
        let driver = try makeDriver(connectionsMax: 1)
        let hanging = Task { await driver.perform(request(server.url, timeout: .seconds(30))) }
        try await eventually { server.requests.count == 1 }
        let error = await driver.perform(request(server.url, timeout: .milliseconds(200))).failure
        #expect(error?.failure == .timedOut)
        #expect(error?.requestBytesSent == false)
        await driver.shutdown()
        _ = await hanging.value
        server.stop()
    }

    @Test func manyRequestsShareFewConnections() async throws {
        let server = try LoopbackServer(Array(repeating: .answer(Self.ok), count: 200))
        let driver = try makeDriver(connectionsMax: 8, connectionsPerHostMax: 4)
        let statuses = await withTaskGroup(of: Int?.self) { group in
            for _ in 0..<200 { group.addTask { await driver.perform(request(server.url)).status } }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses.count == 200)
        #expect(statuses.allSatisfy { $0 == 200 })
        #expect(server.connections <= 4)
        await driver.shutdown()
        server.stop()
    }
}

// MARK: - Helpers

private func makeDriver(
    policy: AddressPolicy? = nil,
    connectionsMax: Int = 8,
    connectionsPerHostMax: Int = 4
) throws -> CurlDriver {
    try CurlDriver(policy: policy, connectionsMax: connectionsMax, connectionsPerHostMax: connectionsPerHostMax)
}

private func request(
    _ url: String,
    headers: [(name: String, value: String)] = [],
    body: String = "{}",
    timeout: Duration = .seconds(10),
    atMostOnce: Bool = false
) -> OutgoingRequest {
    OutgoingRequest(
        method: "POST",
        url: url,
        headers: headers,
        body: Array(body.utf8),
        timeout: timeout,
        connectTimeout: .seconds(5),
        atMostOnce: atMostOnce
    )
}

/// One request through a driver of its own.
private func exchange(
    _ server: LoopbackServer,
    headers: [(name: String, value: String)] = [],
    body: String = "{}",
    timeout: Duration = .seconds(10),
    atMostOnce: Bool = false
) async -> Result<OutgoingResponse, TransferError> {
    do {
        let driver = try makeDriver()
        let result = await driver.perform(
            request(server.url, headers: headers, body: body, timeout: timeout, atMostOnce: atMostOnce)
        )
        await driver.shutdown()
        server.stop()
        return result
    } catch {
        return .failure(TransferError(.protocolError, requestBytesSent: false, detail: "no driver: \(error)"))
    }
}

/// Waits until something holds, at most ten seconds.
private func eventually(_ condition: () -> Bool) async throws {
    for _ in 0..<1000 where !condition() { try await Task.sleep(for: .milliseconds(10)) }
    #expect(condition())
}

extension Result where Success == OutgoingResponse, Failure == TransferError {
    fileprivate var status: Int? { try? get().status }

    fileprivate var failure: TransferError? {
        guard case .failure(let error) = self else { return nil }
        return error
    }
}
