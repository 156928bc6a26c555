import Gateway
import Testing

/// Expected values computed with Python's hmac, hashlib and base64.
@Suite struct WebhookSignatureTests {
    private let first = [UInt8](0..<32)
    private let ours = "v1=9bdc968309ff5f580af7cda53a8cc6a89de93962061f53e7641b1dd7eec91b83"
    private let standard = "v1,qNbiHXpr+UGcRgWWnpLHeyMzfzcr8DSm6GVwNRlgysg="

    private let second = [UInt8](32..<64)
    private let secondOurs = "v1=c003967eb61bef759331af901c997aa7dd49800e3927ac47658c3a30502663c4"
    private let secondStandard = "v1,0JDZgu2L9k3GxIFJpEAmfVlXSKzGKEfJoRUJxltdHAY="

    private let body = [UInt8](#"{"id":"evt_1","text":"Café ☕"}"#.utf8)

    private func headers(_ secrets: [[UInt8]]) -> [String: String] {
        let headers = WebhookSignature.headers(
            body: body,
            id: "evt_1",
            seconds: 1_793_521_800,
            secrets: secrets,
            prefix: "ChatGenius"
        )
        return Dictionary(uniqueKeysWithValues: headers.map { ($0.name, $0.value) })
    }

    @Test func oneSecret() {
        let headers = headers([first])
        #expect(headers["X-ChatGenius-Signature"] == "t=1793521800,\(ours)")
        #expect(headers["webhook-id"] == "evt_1")
        #expect(headers["webhook-timestamp"] == "1793521800")
        #expect(headers["webhook-signature"] == standard)
        #expect(headers.count == 4)
    }

    /// One signature for each valid secret while rotating.
    @Test func twoSecrets() {
        let headers = headers([second, first])
        #expect(headers["X-ChatGenius-Signature"] == "t=1793521800,\(secondOurs),\(ours)")
        #expect(headers["webhook-signature"] == "\(secondStandard) \(standard)")
    }

    @Test func theSecretIsShownAsStandardWebhooksWantsIt() {
        #expect(WebhookSignature.show(first) == "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    }
}
