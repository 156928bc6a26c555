import Projections

/// The other end of the control socket, for commands.
package struct ControlClient: Sendable {
    private let socket: String

    package init(data: String) { socket = data + "/" + ControlRoutes.socketName }

    /// - Throws: what the gateway answered as an error, or `unavailable` when it does not answer.
    package func call(
        _ method: String,
        _ path: String,
        _ body: [UInt8],
        timeout: Duration = .seconds(30)
    ) async throws -> [UInt8] {
        let driver = try CurlDriver(
            policy: nil,
            connectionsMax: 1,
            connectionsPerHostMax: 1,
            bodyBytesMax: 16 << 20,
            usesHTTP2: false,
            unixSocket: socket
        )
        let answer = await driver.perform(
            OutgoingRequest(
                method: method,
                url: "http://waybill\(path)",
                headers: [("Content-Type", "application/json")],
                body: body,
                timeout: timeout,
                connectTimeout: .seconds(5),
                atMostOnce: true
            )
        )
        await driver.shutdown()
        switch answer {
        case .failure:
            throw GatewayError(.unavailable, "the running gateway does not answer on \(socket); is it still starting?")
        case .success(let response) where (200..<300).contains(response.status): return response.body
        case .success(let response):
            let detail = (try? JSONFields(response.body).string("detail")) ?? nil
            throw GatewayError(.invalidRequest, detail ?? "the gateway refused with status \(response.status)")
        }
    }
}
