import Foundation
import Gateway
import Log
import TestSupport
import Testing

/// The table of settings, and all that is made of it.
@Suite struct SettingsTests {
    /// The written reference and the table are one: `docs/settings.md` is what `waybill schema --settings` prints.
    @Test func theDocumentShowsTheTable() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "docs/settings.md"), encoding: .utf8)
        #expect(text.split(separator: "\n") == SettingsReference.markdown.split(separator: "\n"))
    }

    @Test func keysAndVariablesAreUnique() {
        let all = SettingsTable.all
        #expect(Set(all.map(\.key)).count == all.count)
        #expect(Set(all.map(\.variable)).count == all.count)
    }

    /// What is shown for a value can be given for it, so that nothing shown is misread.
    @Test(arguments: SettingsTable.all.map(\.key))
    func examplesAreReadAndShown(_ key: String) throws {
        let setting = try #require(SettingsTable[key])
        var settings = GatewayConfiguration()
        try setting.value.read(&settings, setting.example)
        #expect(setting.value.show(settings) == setting.example)
        #expect(setting.shown(settings) == (setting.isSecret ? "********" : setting.example))
    }

    // MARK: Where values come from

    private func load(
        _ flags: [String: String] = ["data": "/d"],
        environment: [String: String] = [:],
        text: String = ""
    ) throws -> [String: EffectiveSetting] {
        let directory = TemporaryDirectory()
        defer { withExtendedLifetime(directory) {} }
        let path = directory.path + "/settings"
        try Data(text.utf8).write(to: URL(filePath: path))
        let loaded = try ConfigurationLoader(flags: flags, environment: environment, file: path).load()
        return Dictionary(uniqueKeysWithValues: loaded.effective.map { ($0.key, $0) })
    }

    private func detail(_ text: String, environment: [String: String] = [:]) -> String {
        do {
            _ = try load(environment: environment, text: text)
            return ""
        } catch {
            return (error as? GatewayError)?.detail ?? "\(error)"
        }
    }

    @Test func everySettingIsShownWithItsSource() throws {
        let environment = ["WAYBILL_LISTEN": ":81", "WAYBILL_META_VERIFY_TOKEN": "secret"]
        let shown = try load(environment: environment, text: "meta:\n  app_id: 7\n")
        #expect(shown.count == SettingsTable.all.count)
        #expect(shown["data"]?.source == .flag("--data"))
        #expect(shown["listen"]?.source == .environment("WAYBILL_LISTEN"))
        #expect(shown["listen"]?.value == ":81")
        #expect(shown["meta.verify_token"]?.value == "********")
        if case .file(_, let line)? = shown["meta.app_id"]?.source {
            #expect(line == 2)
        } else {
            Issue.record("\(String(describing: shown["meta.app_id"]))")
        }
        #expect(shown["key_root"]?.source == .standard)
        #expect(shown["key_root"]?.value == "/d/root.key")
        #expect(shown["public_url"]?.value == "http://127.0.0.1:81")
        #expect(shown["log.scrub_interval"]?.value == "7d")
        #expect(shown["ai.api_key"]?.value == "")
    }

    @Test func errorsNameThePlace() {
        #expect(detail("log.origin: x\nwebhooks:\n  allow_cidrs: 10.0.0.0/8, x/8\n").contains("item 2; "))
        #expect(detail("log.origin: x\nwebhooks:\n  allow_cidrs: 10.0.0.0/8, x/8\n").contains("line 3"))
        #expect(detail("\nlistenn: x\n").contains("listenn in line 2"))
        #expect(detail("log.origin: x\nlog: {sealing: true, sealing: false}\n").contains("line 2"))
        #expect(detail("log.sealing: true\nlog:\n  sealing: false\n").contains("lines 1 and 3"))
        #expect(detail("log.origin: x\nlog: [\n").contains("line "))
        let named = detail("", environment: ["WAYBILL_SENDS_QUEUE_MAX": "0"])
        #expect(named.contains("WAYBILL_SENDS_QUEUE_MAX") && named.contains("sends.queue_max"))
    }

    @Test(arguments: ["10.0.0.0/8,", "10.0.0.0/8, ", ",10.0.0.0/8"])
    func aCommaAtTheEndIsNoItem(_ text: String) throws {
        let shown = try load(["data": "/d", "media.allow_cidrs": text])
        #expect(shown["media.allow_cidrs"]?.value == "10.0.0.0/8")
    }

    /// Written as text, it would be the secret of an app that everybody knows.
    @Test(arguments: ["null", "~", "Null", "[a, null]"])
    func nullIsNoSecret(_ value: String) {
        #expect(detail("log.origin: x\nmeta:\n  app_secrets: \(value)\n").contains("line 3, is null"))
    }

    @Test func whatIsQuotedIsText() throws {
        #expect(try load(text: "ai: {model: 'null', api_key: }\n")["ai.model"]?.value == "null")
    }

    @Test(arguments: [
        ("https://user:pa55@host/x@y", "https://***@host/x@y"), ("https://host/x@y", "https://host/x@y"),
        ("https://u@v@host?a", "https://***@host?a"), ("https://user:pa/55@host", "https://***@host"),
        ("https://user:12/34@host", "https://***@host"), ("https://user:p?5#5@host", "https://***@host"),
        ("https://host/v1?api_key=5417&version=2", "https://host/v1?api_key=***&version=2"),
        ("https://host/v1?Access%5FToken=5417", "https://host/v1?Access%5FToken=***"),
        ("https://host:8443/v1", "https://host:8443/v1"), ("http://[::1]:80", "http://[::1]:80"),
    ])
    func aPasswordInAURLIsMasked(_ url: String, _ shown: String) throws {
        #expect(try load(["data": "/d", "ai.base_url": url])["ai.base_url"]?.value == shown)
    }

    @Test func aPathThatLeavesNoRoomForTheSocketIsRefused() throws {
        var settings = GatewayConfiguration()
        // With the socket's name 103 bytes, which is the most.
        settings.data = "/" + String(repeating: "d", count: 89)
        try settings.checkFiles()
        settings.data += "d"
        #expect(throws: GatewayError(.configuration, "")) { try settings.checkFiles() }
    }

    // MARK: Kubernetes

    @Test(arguments: [
        ("WAYBILL_SERVICE_HOST", "10.0.0.1"), ("WAYBILL_SERVICE_PORT", "8080"), ("WAYBILL_SERVICE_PORT_HTTP", "8080"),
        ("WAYBILL_SERVICE_PORT_HTTP_ALT", "8080"), ("WAYBILL_PORT", "tcp://10.0.0.1:8080"),
        ("WAYBILL_PORT_8080_TCP", "tcp://10.0.0.1:8080"), ("WAYBILL_PORT_8080_TCP_PROTO", "tcp"),
        ("WAYBILL_PORT_8080_TCP_PORT", "8080"), ("WAYBILL_PORT_53_UDP_ADDR", "10.0.0.1"),
        ("WAYBILL_PORT_9_SCTP_PROTO", "sctp"), ("WAYBILL_HEADLESS_SERVICE_HOST", "10.0.0.2"),
        ("WAYBILL_HEADLESS_PORT_80_TCP_ADDR", "10.0.0.2"),
    ])
    func variablesOfServicesAreIgnored(_ name: String, _ value: String) throws {
        _ = try load(environment: [name: value])
    }

    @Test(arguments: [
        ("WAYBILL_PORT", "8080"), ("WAYBILL_SERVICE", "x"), ("WAYBILL_SERVICE_PORT_", "1"), ("WAYBILL_PORT_TCP", "1"),
        ("WAYBILL_PORT_X_TCP", "1"), ("WAYBILL_PORT_80_ICMP", "1"), ("WAYBILL_PORT_80", "1"),
        ("WAYBILL_PORT_80_TCP_NAME", "1"), ("WAYBILL_SERVICES_HOST", "x"),
    ])
    func othersStayErrors(_ name: String, _ value: String) {
        #expect(detail("", environment: [name: value]).contains(name))
    }

    // MARK: Addresses

    @Test(arguments: [
        (":8080", "", 8080, "http://127.0.0.1:8080"), ("[::]:8080", "::", 8080, "http://127.0.0.1:8080"),
        ("[::1]:0", "::1", 0, "http://[::1]:0"), ("0.0.0.0:1", "0.0.0.0", 1, "http://127.0.0.1:1"),
        ("localhost:65535", "localhost", 65_535, "http://localhost:65535"),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80, "http://[fe80::1%eth0]:80"),
    ])
    func addresses(_ text: String, _ host: String, _ port: Int, _ url: String) throws {
        let address = try #require(ListenAddress(text))
        #expect(address.host == host)
        #expect(address.port == port)
        #expect(address.description == text)
        #expect(address.url(scheme: "http", port: port) == url)
    }

    @Test(arguments: ["", ":", "[]:1", "[1.2.3.4]:1", "[::1:1", "::1]:1", "[::1]", "::1", "a b:1", "[::1%]:1", "x:1 "])
    func noAddresses(_ text: String) { #expect(ListenAddress(text) == nil) }

    @Test func aPortInUseIsFoundOut() throws {
        let server = try LoopbackServer([])
        defer { server.stop() }
        let address = ListenAddress(host: "127.0.0.1", port: Int(server.port))
        do {
            _ = try address.probe()
            Issue.record("the port is in use")
        } catch {
            #expect(error == GatewayError(.unavailable, ""))
            #expect(error.detail.contains("127.0.0.1:\(server.port)"))
        }
        #expect(try ListenAddress(host: "127.0.0.1", port: 0).probe() == "127.0.0.1")
    }

    // MARK: Reload

    @Test func onlyWhatMayChangeIsTakenOver() {
        var settings = GatewayConfiguration()
        settings.metaAppSecrets = ["old"]
        let live = LiveSettings(settings)
        settings.metaAppSecrets = ["new", "old"]
        settings.metaVerifyToken = "token"
        settings.webhooksAllowHTTP = true
        let (changed, waiting) = live.reload(settings)
        #expect(changed == ["meta.app_secrets", "meta.verify_token"])
        #expect(waiting == ["webhooks.allow_http"])
        #expect(live[\.metaAppSecrets] == ["new", "old"])
        #expect(live[\.metaVerifyToken] == "token")
        #expect(!live[\.webhooksAllowHTTP])
    }
}

/// Places in JSON that is none.
@Suite struct JSONFaultTests {
    @Test(arguments: [
        ("{\"a\":1,}", "trailing comma", 1, 7), ("{\n  \"a\": [1, 2,\n  ]\n}", "trailing comma", 2, 13),
        ("{\"é\":1,}", "trailing comma", 1, 7), ("", "empty", 1, 1), ("{", "double quotes", 1, 2),
        ("{\"a\" 1}", "colon", 1, 6), ("{\"a\":1 \"b\":2}", "comma", 1, 8), ("{\"a\":1", "does not end", 1, 7),
        ("{\"a\":1,\"a\":2}", "twice", 1, 8), ("{\"a\":tru}", "value is expected", 1, 6),
        ("{\"a\":01}", "number", 1, 6), ("{\"a\":\"x}", "string does not end", 1, 6), ("{}{}", "follows", 1, 3),
        ("{\"a\":\"\\x\"}", "escape", 1, 7), ("{\"a\":\"\t\"}", "control", 1, 7),
    ])
    func faultsHaveAPlace(_ text: String, _ problem: String, _ line: Int, _ column: Int) {
        guard case .failure(let fault) = JSONParser.read([UInt8](text.utf8)) else {
            Issue.record("\(text) is taken")
            return
        }
        #expect(fault.description.contains(problem), "\(fault)")
        #expect(fault.line == line, "\(fault)")
        #expect(fault.column == column, "\(fault)")
    }

    @Test func aFaultQuotesNothing() {
        guard case .failure(let fault) = JSONParser.read([UInt8]("{\"secret\":secret}".utf8)) else { return }
        #expect(!fault.description.contains("secret"))
    }
}
