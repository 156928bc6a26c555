import Log
import Yams

/// Loads settings: flags over environment over file over defaults. An unknown key is an error, because a misspelt
/// setting that is silently ignored is found at the worst moment.
package struct ConfigurationLoader {
    /// Dotted key → value, from the command line.
    package var flags: [String: String]
    package var environment: [String: String]
    package var file: String?

    package init(flags: [String: String], environment: [String: String], file: String?) {
        self.flags = flags
        self.environment = environment
        self.file = file
    }

    /// Every key of the contract; those that later versions use are accepted and shown, not yet acted upon.
    package static let keys: [String] = [
        "data", "listen", "public_url", "key_root", "log_key", "tls.certificate", "tls.key", "webhooks.allow_http",
        "webhooks.allow_cidrs", "webhooks.header_prefix", "providers.twilio.base_url", "providers.graph.base_url",
        "providers.instagram.base_url", "meta.app_id", "meta.app_secrets", "meta.verify_token", "ai.base_url",
        "ai.model", "ai.api_key", "idempotency.retention", "sends.queue_max", "purge.inline_media_bytes",
        "media.allow_cidrs", "log.segment_bytes", "log.durability", "log.origin", "log.sealing", "log.scrub_interval",
        "audit.public_tiles",
    ]
    private static let secretKeys: Set<String> = ["meta.app_secrets", "meta.verify_token", "ai.api_key"]

    /// `a.b_c` → `WAYBILL_A_B_C`.
    static func variable(_ key: String) -> String { "WAYBILL_" + key.replacing(".", with: "_").uppercased() }

    package func load() throws -> (configuration: GatewayConfiguration, effective: [(key: String, value: String)]) {
        try checkEnvironment()
        let fromFile = try readFile()
        var values: [String: String] = [:]
        for key in ConfigurationLoader.keys {
            values[key] = flags[key] ?? environment[ConfigurationLoader.variable(key)] ?? fromFile[key]
        }
        let configuration = try ConfigurationParser(values).parse()
        let effective = ConfigurationLoader.keys.compactMap { key in
            values[key].map { (key, ConfigurationLoader.shown(key, $0)) }
        }
        return (configuration, effective)
    }

    private static func shown(_ key: String, _ value: String) -> String {
        if secretKeys.contains(key) { return "********" }
        return key == "key_root" ? RootKeys.shown(value) : value
    }

    private func checkEnvironment() throws {
        let known = Set(ConfigurationLoader.keys.map(ConfigurationLoader.variable) + ["WAYBILL_CONFIG"])
        if let unknown = environment.keys.filter({ $0.hasPrefix("WAYBILL_") && !known.contains($0) }).min() {
            throw GatewayError(.configuration, "the environment variable \(unknown) is not a setting of Waybill")
        }
    }

    /// Reads YAML or JSON into dotted keys.
    private func readFile() throws -> [String: String] {
        guard let file else { return [:] }
        let values = try ConfigurationFile(path: file).flattened()
        if let unknown = values.keys.filter({ !ConfigurationLoader.keys.contains($0) }).min() {
            throw GatewayError(.configuration, "\(file) has the key \(unknown), which is not a setting of Waybill")
        }
        return values
    }
}

/// Turns text values into checked settings.
struct ConfigurationParser {
    private let values: [String: String]

    init(_ values: [String: String]) { self.values = values }

    func parse() throws -> GatewayConfiguration {
        var settings = GatewayConfiguration()
        guard let data = values["data"], !data.isEmpty else { throw invalid("data", "the path of a directory") }
        settings.data = data
        try parseListen(&settings)
        settings.publicURL = try url("public_url") ?? ""
        settings.keyRoot = values["key_root"] ?? data + "/root.key"
        settings.logKey = values["log_key"] ?? data + "/log.key"
        settings.logOrigin = values["log.origin"] ?? ""
        settings.publicTiles = try bool("audit.public_tiles") ?? false
        guard settings.logOrigin.isEmpty || VerifierKey.isName(settings.logOrigin) else {
            throw invalid("log.origin", "a name like example.com/log, without spaces and +")
        }
        settings.tlsCertificate = values["tls.certificate"] ?? ""
        settings.tlsKey = values["tls.key"] ?? ""
        if settings.tlsCertificate.isEmpty != settings.tlsKey.isEmpty {
            throw invalid("tls.key", "given together with tls.certificate")
        }
        try parseWebhooks(&settings)
        settings.twilioBaseURL = try url("providers.twilio.base_url") ?? settings.twilioBaseURL
        settings.graphBaseURL = try url("providers.graph.base_url") ?? settings.graphBaseURL
        settings.instagramBaseURL = try url("providers.instagram.base_url") ?? settings.instagramBaseURL
        try parseMeta(&settings)
        settings.idempotencyRetention = try duration("idempotency.retention") ?? settings.idempotencyRetention
        settings.mediaAllowCIDRs = try networks("media.allow_cidrs")
        settings.inlineMediaBytes =
            try integer("purge.inline_media_bytes", in: 0...(64 << 20)) ?? settings.inlineMediaBytes
        settings.queueMax = try integer("sends.queue_max", in: 1...10_000_000) ?? settings.queueMax
        try parseLog(&settings)
        return settings
    }

    private func parseLog(_ settings: inout GatewayConfiguration) throws {
        if let bytes = try integer("log.segment_bytes", in: 1 << 20...1 << 30) {
            guard bytes % 4096 == 0 else { throw invalid("log.segment_bytes", "a multiple of 4096") }
            settings.log.segmentBytes = bytes
        }
        if let text = values["log.durability"] {
            guard let durability = LogConfiguration.Durability(rawValue: text) else {
                throw invalid("log.durability", "normal or strict")
            }
            settings.log.durability = durability
        }
        settings.log.sealing = try bool("log.sealing") ?? settings.log.sealing
        if values["log.scrub_interval"] == "never" {
            settings.log.scrubInterval = nil
        } else if let seconds = try duration("log.scrub_interval") {
            settings.log.scrubInterval = .seconds(seconds)
        }
    }

    private func parseMeta(_ settings: inout GatewayConfiguration) throws {
        settings.metaAppID = (values["meta.app_id"] ?? "").trimmingSpaces
        guard settings.metaAppID.utf8.count <= 64, settings.metaAppID.utf8.allSatisfy({ (48...57).contains($0) }) else {
            throw invalid("meta.app_id", "the number of an app at Meta")
        }
        settings.metaAppSecrets = (values["meta.app_secrets"] ?? "").split(separator: ",")
            .map { String($0).trimmingSpaces }.filter { !$0.isEmpty }
        settings.metaVerifyToken = values["meta.verify_token"] ?? ""
    }

    private func parseListen(_ settings: inout GatewayConfiguration) throws {
        guard let listen = values["listen"] else { return }
        guard let colon = listen.lastIndex(of: ":"), let port = Int(listen[listen.index(after: colon)...]),
            (0...65_535).contains(port), colon != listen.startIndex
        else { throw invalid("listen", "HOST:PORT") }
        settings.listenHost = String(listen[..<colon])
        settings.listenPort = port
    }

    private func parseWebhooks(_ settings: inout GatewayConfiguration) throws {
        settings.webhooksAllowHTTP = try bool("webhooks.allow_http") ?? false
        if let prefix = values["webhooks.header_prefix"] {
            guard !prefix.isEmpty,
                prefix.utf8.allSatisfy({ $0 == 45 || (48...57).contains($0) || ($0 | 32 >= 97 && $0 | 32 <= 122) })
            else { throw invalid("webhooks.header_prefix", "letters, digits and hyphens") }
            settings.webhooksHeaderPrefix = prefix
        }
        settings.webhooksAllowCIDRs = try networks("webhooks.allow_cidrs")
    }

    private func networks(_ key: String) throws -> [IPNetwork] {
        try (values[key] ?? "").split(separator: ",").map { text in
            guard let network = IPNetwork(String(text).trimmingSpaces) else {
                throw invalid(key, "a list of networks like 127.0.0.0/8")
            }
            return network
        }
    }

    private func bool(_ key: String) throws -> Bool? {
        switch values[key]?.lowercased() {
        case nil: nil
        case "true", "1", "yes": true
        case "false", "0", "no": false
        default: throw invalid(key, "true or false")
        }
    }

    private func integer(_ key: String, in range: ClosedRange<Int>) throws -> Int? {
        guard let text = values[key] else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw invalid(key, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// `90`, `90s`, `15m`, `12h`, `7d`, in seconds.
    private func duration(_ key: String) throws -> UInt64? {
        guard let text = values[key] else { return nil }
        let units: [Character: UInt64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        let unit = text.last.flatMap { units[$0] }
        guard let number = UInt64(unit == nil ? text[...] : text.dropLast()), number > 0, number < 1 << 32 else {
            throw invalid(key, "a duration like 7d, 12h, 15m or 90s")
        }
        return number * (unit ?? 1)
    }

    private func url(_ key: String) throws -> String? {
        guard var text = values[key] else { return nil }
        guard text.hasPrefix("http://") || text.hasPrefix("https://") else {
            throw invalid(key, "an http or https URL")
        }
        while text.hasSuffix("/") { text.removeLast() }
        return text
    }

    private func invalid(_ key: String, _ wanted: String) -> GatewayError {
        GatewayError(.configuration, "the setting \(key) must be \(wanted)", field: key)
    }
}

/// A settings file in YAML, of which JSON is a subset.
struct ConfigurationFile {
    let path: String

    /// Nested maps as dotted keys, lists as comma-separated text.
    func flattened() throws -> [String: String] {
        let text: String
        do {
            text = String(decoding: try PosixStorage().readAll(path, limit: 1 << 20), as: UTF8.self)
        } catch {
            throw GatewayError(.configuration, "could not read the settings file: \(error.message)")
        }
        let parsed = Result { try Yams.compose(yaml: text) }
        guard case .success(let document) = parsed else {
            throw GatewayError(.configuration, "\(path) is neither YAML nor JSON")
        }
        guard let root = document else { return [:] }
        var values: [String: String] = [:]
        try collect(root, prefix: "", into: &values)
        return values
    }

    private func collect(_ node: Node, prefix: String, into values: inout [String: String]) throws {
        switch node {
        case .mapping(let mapping):
            for (key, value) in mapping {
                let name = prefix + (key.string ?? "")
                if case .mapping = value {
                    try collect(value, prefix: name + ".", into: &values)
                } else {
                    values[name] = try scalar(value, name)
                }
            }
        case .scalar(let scalar) where prefix.isEmpty && scalar.string.isEmpty: return
        default: throw GatewayError(.configuration, "\(path) must hold settings by name")
        }
    }

    private func scalar(_ node: Node, _ name: String) throws -> String {
        switch node {
        case .scalar(let scalar): return scalar.string
        case .sequence(let sequence): return try sequence.map { try scalar($0, name) }.joined(separator: ",")
        default: throw GatewayError(.configuration, "the setting \(name) in \(path) must be text or a list")
        }
    }
}
