import Foundation
import Gateway
import Log
import TestSupport
import Testing

@Suite struct ConfigurationTests {
    private func load(
        _ flags: [String: String] = [:],
        environment: [String: String] = [:],
        file: String? = nil
    ) throws -> GatewayConfiguration {
        let flags = ["data": "/d"].merging(flags) { $1 }
        return try ConfigurationLoader(flags: flags, environment: environment, file: file).load().configuration
    }

    /// Loads with a settings file of this text.
    private func load(text: String, environment: [String: String] = [:]) throws -> GatewayConfiguration {
        let directory = TemporaryDirectory()
        let path = directory.path + "/settings"
        try Data(text.utf8).write(to: URL(filePath: path))
        return try ConfigurationLoader(flags: [:], environment: environment, file: path).load().configuration
    }

    private func fault(_ body: () throws -> GatewayConfiguration) -> GatewayError? {
        do {
            _ = try body()
            return nil
        } catch {
            return error as? GatewayError
        }
    }

    @Test func defaultsAreThoseOfTheContract() throws {
        let settings = try load()
        #expect(settings.data == "/d")
        #expect(settings.listenHost == "127.0.0.1")
        #expect(settings.listenPort == 8080)
        #expect(settings.publicURL == "")
        #expect(settings.keyRoot == "/d/root.key")
        #expect(!settings.webhooksAllowHTTP)
        #expect(settings.webhooksAllowCIDRs.isEmpty)
        #expect(settings.webhooksHeaderPrefix == "ChatGenius")
        #expect(settings.twilioBaseURL == "https://api.twilio.com")
        #expect(settings.idempotencyRetention == 604_800)
        #expect(settings.log.segmentBytes == 64 << 20)
        #expect(settings.log.durability == .normal)
        #expect(settings.log.sealing)
        #expect(settings.log.scrubInterval == .seconds(604_800))
    }

    /// Every key of the contract is known.
    @Test(arguments: [
        "data", "listen", "public_url", "key_root", "log_key", "tls.certificate", "tls.key", "webhooks.allow_http",
        "webhooks.allow_cidrs", "webhooks.header_prefix", "providers.twilio.base_url", "providers.graph.base_url",
        "providers.instagram.base_url", "meta.app_id", "meta.app_secrets", "meta.verify_token", "ai.base_url",
        "ai.model", "ai.api_key", "idempotency.retention", "purge.inline_media_bytes", "log.segment_bytes",
        "log.durability", "audit.public_tiles",
    ])
    func keysOfTheContract(_ key: String) {
        #expect(ConfigurationLoader.keys.contains(key))
    }

    // MARK: Precedence

    @Test func flagsOverEnvironmentOverFile() throws {
        let directory = TemporaryDirectory()
        let path = directory.path + "/settings.yaml"
        try Data("data: /file\nlisten: f:1\nwebhooks:\n  header_prefix: File\n".utf8).write(to: URL(filePath: path))
        let environment = ["WAYBILL_LISTEN": "e:2", "WAYBILL_WEBHOOKS_HEADER_PREFIX": "Env", "HOME": "/root"]
        let settings = try ConfigurationLoader(flags: ["listen": "g:3"], environment: environment, file: path).load()
            .configuration
        #expect(settings.data == "/file")
        #expect(settings.listenHost == "g")
        #expect(settings.listenPort == 3)
        #expect(settings.webhooksHeaderPrefix == "Env")
    }

    @Test func underscoresStayInTheVariable() throws {
        let environment = ["WAYBILL_PROVIDERS_TWILIO_BASE_URL": "http://t/", "WAYBILL_WEBHOOKS_ALLOW_HTTP": "true"]
        let settings = try load(environment: environment)
        #expect(settings.twilioBaseURL == "http://t")
        #expect(settings.webhooksAllowHTTP)
    }

    // MARK: Unknown keys

    @Test(arguments: ["WAYBILL_LISTENN", "WAYBILL_", "WAYBILL_LISTEN_", "WAYBILL_WEBHOOKS"])
    func unknownVariablesAreErrors(_ name: String) {
        let error = fault { try load(environment: [name: "x"]) }
        #expect(error == GatewayError(.configuration, ""))
        #expect(error?.detail.contains(name) == true)
    }

    @Test func otherVariablesAreNobodysBusiness() throws {
        _ = try load(environment: ["PATH": "/bin", "waybill_listen": "x", "WAYBILL_CONFIG": "/somewhere"])
    }

    @Test(arguments: [
        "data: /d\nlistenn: x\n", "data: /d\nwebhooks:\n  allow_htp: true\n",
        "{\"data\":\"/d\",\"x\":{\"y\":{\"z\":1}}}",
        "data: /d\nwebhooks.allow_http.more: 1\n", "data: /d\n1: 2\n",
    ])
    func unknownKeysInTheFileAreErrors(_ text: String) {
        #expect(fault { try load(text: text) } == GatewayError(.configuration, ""))
    }

    // MARK: Files

    static let files = [
        "data: /d\nlisten: 0.0.0.0:9000\nwebhooks:\n  allow_http: true\n  allow_cidrs: [10.0.0.0/8, 127.0.0.0/8]\n",
        "data: /d\nlisten: 0.0.0.0:9000\nwebhooks:\n  allow_http: yes\n  allow_cidrs:\n  - 10.0.0.0/8\n  - 127.0.0.0/8\n",
        "data: /d\nlisten: 0.0.0.0:9000\nwebhooks.allow_http: true\nwebhooks.allow_cidrs: 10.0.0.0/8, 127.0.0.0/8\n",
        #"{"data":"/d","listen":"0.0.0.0:9000","webhooks":{"allow_http":true,"allow_cidrs":["10.0.0.0/8","127.0.0.0/8"]}}"#,
        #"{"data":"/d","listen":"0.0.0.0:9000","webhooks.allow_http":"1","webhooks.allow_cidrs":"10.0.0.0/8,127.0.0.0/8"}"#,
    ]

    @Test(arguments: files)
    func yamlAndJSONSayTheSame(_ text: String) throws {
        let settings = try load(text: text)
        #expect(settings.data == "/d")
        #expect(settings.listenHost == "0.0.0.0")
        #expect(settings.listenPort == 9000)
        #expect(settings.webhooksAllowHTTP)
        #expect(settings.webhooksAllowCIDRs.count == 2)
    }

    @Test(arguments: ["data: [", "just text", "- a\n- b\n", "{\"data\":", "a: b: c"])
    func whatIsNoSettingsFile(_ text: String) {
        #expect(fault { try load(text: text, environment: ["WAYBILL_DATA": "/d"]) } == GatewayError(.configuration, ""))
    }

    @Test func aMissingFileIsAnError() {
        #expect(fault { try load(file: "/nowhere/settings.yaml") } == GatewayError(.configuration, ""))
    }

    /// A file in which everything is commented out sets nothing.
    @Test(arguments: ["", "\n", "# listen: x\n"])
    func anEmptyFileSetsNothing(_ text: String) {
        #expect(fault { try load(text: text, environment: ["WAYBILL_DATA": "/d"]) } == nil)
    }

    // MARK: Values

    struct Bad: Sendable, CustomTestStringConvertible {
        let key: String
        let value: String

        init(_ key: String, _ value: String) {
            self.key = key
            self.value = value
        }

        var testDescription: String { "\(key)=\(value)" }
    }

    private static func rows(_ key: String, _ values: [String]) -> [Bad] { values.map { Bad(key, $0) } }

    static let bad: [[Bad]] = [
        rows("data", [""]),
        rows("listen", ["8080", "host", "host:", "host:x", "host:65536", "host:-1", "host:+1", "", "[::1]", "::1:80"]),
        rows("public_url", ["waybill.example", "ftp://x", ""]),
        rows("providers.twilio.base_url", ["api.twilio.com"]),
        rows("webhooks.allow_http", ["maybe", "", "2"]),
        rows("webhooks.allow_cidrs", ["10.0.0.0/33", "x/8", "10.0.0.0/8;127.0.0.0/8"]),
        rows("webhooks.header_prefix", ["", "a b", "a:b", "é", "a_b"]),
        rows("idempotency.retention", ["", "0", "-1d", "7 d", "d", "1.5h", "7w", "4294967296d"]),
        rows("log.segment_bytes", ["1048575", "1048577", "1073741825", "x", "64MiB"]),
        rows("log.durability", ["fast", "", "Normal"]),
        rows("log.sealing", ["maybe", ""]),
        rows("log.scrub_interval", ["", "0", "always"]),
        rows("sends.queue_max", ["0", "x"]),
        rows("meta.app_id", ["app", "12 34", "-1", "١٢", String(repeating: "1", count: 65)]),
    ]

    @Test(arguments: bad.flatMap { $0 })
    func badValuesAreNamed(_ row: Bad) {
        let error = fault { try load([row.key: row.value]) }
        #expect(error == GatewayError(.configuration, ""))
        #expect(error?.field == row.key)
    }

    @Test(arguments: ["tls.certificate", "tls.key"])
    func aCertificateNeedsItsKey(_ key: String) throws {
        #expect(fault { try load([key: "/x.pem"]) }?.field == "tls.key")
        #expect(try load(["tls.certificate": "/c", "tls.key": "/k"]).tlsKey == "/k")
    }

    @Test func dataIsRequired() {
        let error = fault { try ConfigurationLoader(flags: [:], environment: [:], file: nil).load().configuration }
        #expect(error?.field == "data")
    }

    @Test(arguments: [("90", UInt64(90)), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)])
    func durations(_ text: String, _ seconds: UInt64) throws {
        #expect(try load(["idempotency.retention": text]).idempotencyRetention == seconds)
    }

    @Test func theRestOfTheValues() throws {
        let settings = try load([
            "public_url": "https://w.example/base//", "listen": "[::1]:0", "log.durability": "strict",
            "log.segment_bytes": "1048576", "key_root": "/k", "sends.queue_max": "5",
            "webhooks.header_prefix": "My-Prefix2", "log.sealing": "false", "log.scrub_interval": "never",
        ])
        #expect(settings.publicURL == "https://w.example/base")
        #expect(settings.listenHost == "::1")
        #expect(settings.listenPort == 0)
        #expect(settings.log.durability == .strict)
        #expect(settings.log.segmentBytes == 1 << 20)
        #expect(settings.keyRoot == "/k")
        #expect(settings.queueMax == 5)
        #expect(settings.webhooksHeaderPrefix == "My-Prefix2")
        #expect(!settings.log.sealing)
        #expect(settings.log.scrubInterval == nil)
        #expect(try load(["log.scrub_interval": "2h"]).log.scrubInterval == .seconds(7200))
    }

    @Test func theAppAtMeta() throws {
        let settings = try load(["meta.app_id": " 236484624622562 ", "meta.app_secrets": " first , second,,"])
        #expect(settings.metaAppID == "236484624622562")
        #expect(settings.metaAppSecrets == ["first", "second"])
        #expect(try load().metaAppID == "")
        #expect(try load(environment: ["WAYBILL_META_APP_ID": "7"]).metaAppID == "7")
    }

    @Test func secretsAreMasked() throws {
        let flags = ["data": "/d", "ai.api_key": "sk-1", "meta.app_secrets": "a,b", "meta.verify_token": "v"]
        let effective = try ConfigurationLoader(flags: flags, environment: [:], file: nil).load().effective
        let shown = Dictionary(uniqueKeysWithValues: effective.map { ($0.key, $0.value) })
        #expect(shown["data"] == "/d")
        for key in ["ai.api_key", "meta.app_secrets", "meta.verify_token"] { #expect(shown[key] == "********") }
    }
}
