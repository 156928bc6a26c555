extension CurlDriver {
    /// Posts as a provider does; the gateway's status, or 0 when it gave none.
    func post(_ url: String, _ headers: [(name: String, value: String)], _ body: [UInt8]) async -> Int {
        let answer = await perform(
            OutgoingRequest(
                method: "POST",
                url: url,
                headers: headers,
                body: body,
                timeout: .seconds(15),
                connectTimeout: .seconds(5),
                atMostOnce: false
            )
        )
        if case .success(let response) = answer { return response.status }
        return 0
    }
}
