import Foundation
import Gateway
import Log
import Projections
import Synchronization
import TestSupport
import Testing

/// What must never be read from the disk without a key, looked for in every byte of the data directory.
@Suite(.timeLimit(.minutes(30)))
struct PlaintextScanTests {
    private static let planted = "planted-control-4711"

    /// The files that contain the bytes.
    private func files(_ directory: TemporaryDirectory, containing bytes: [UInt8]) throws -> [String] {
        let root = directory.path + "/data"
        let names = try FileManager.default.subpathsOfDirectory(atPath: root)
        return try names.filter { name in
            var isDirectory = ObjCBool(false)
            _ = FileManager.default.fileExists(atPath: root + "/" + name, isDirectory: &isDirectory)
            if isDirectory.boolValue { return false }
            return try Data(contentsOf: URL(filePath: root + "/" + name)).range(of: Data(bytes)) != nil
        }
    }

    private func exercise(_ probe: GatewayProbe) async throws -> [String: [UInt8]] {
        let account = try await probe.smsAccount()
        let put = try await probe.ask(
            .put,
            "/v1/webhook",
            token: account.key,
            body: #"{"url":"https://hooks.example/secret-path","headers":{"X-Mine":"header-value-9"}}"#
        )
        #expect(put.status == 200)
        let inbound = try await probe.twilio(account, GatewayProbe.message("SM-provider-id-1", text: "inbound-words"))
        #expect(inbound.status == 200)
        let sent = try await probe.send(
            account,
            #"{"to_phone":"+14155559999","text":"outbound-words","metadata":{"m":"metadata-value"},"#
                + #""idempotency_key":"idempotency-key-value"}"#
        )
        #expect(sent.status == 202)
        let secret = try #require(Base64.decode(String(account.secret.dropFirst("whsec_".count))))
        let texts = [
            "inbound-words", "outbound-words", "+14155552671", "4155552671", "+14155559999", "metadata-value",
            "idempotency-key-value", "SM-provider-id-1", "secret-path", "header-value-9", "Acme", account.key,
            account.secret, String(account.secret.dropFirst("whsec_".count)), GatewayProbe.authToken,
            GatewayProbe.accountSID, GatewayProbe.ourPhone, probe.operatorToken,
        ]
        var wanted = Dictionary(uniqueKeysWithValues: texts.map { ($0, [UInt8]($0.utf8)) })
        wanted["the bytes of the webhook secret"] = secret
        return wanted
    }

    @Test func noPlaintextReachesTheDisk() async throws {
        let directory = TemporaryDirectory()
        let ledger = try await GatewayProbe.openLedger(directory)
        let secrets = Mutex([String: [UInt8]]())
        try await GatewayProbe.with(ledger) { probe in
            let found = try await self.exercise(probe)
            secrets.withLock { $0 = found }
            _ = try await TokenControl(ledger).create(role: .auditor, label: PlaintextScanTests.planted)
        }
        await ledger.close(reason: "test")
        let control = try files(directory, containing: [UInt8](PlaintextScanTests.planted.utf8))
        #expect(!control.isEmpty, "the scan does not find what is there")
        #expect(secrets.withLock({ $0 }).count > 15)
        for (name, bytes) in secrets.withLock({ $0 }) {
            #expect(try files(directory, containing: bytes) == [], "\(name) lies on the disk")
        }
    }
}
