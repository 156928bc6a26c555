/// Loads settings: flags over environment over file over defaults. An unknown key is an error, because a misspelt
/// setting that is silently ignored is found at the worst moment.
package struct ConfigurationLoader: Sendable {
    /// Dotted key → value, from the command line.
    package var flags: [String: String]
    package var environment: [String: String]
    package var file: String?

    package init(flags: [String: String], environment: [String: String], file: String?) {
        self.flags = flags
        self.environment = environment
        self.file = file
    }

    package static let keys: [String] = SettingsTable.all.map(\.key)

    package func load() throws -> (configuration: GatewayConfiguration, effective: [EffectiveSetting]) {
        try checkEnvironment()
        let given = try self.given(try readFile())
        var configuration = GatewayConfiguration()
        for setting in SettingsTable.all {
            if let value = given[setting.key] { try setting.apply(value, to: &configuration) }
        }
        try complete(&configuration, given)
        let effective = SettingsTable.all.map { [configuration] setting in
            EffectiveSetting(
                setting: setting,
                value: setting.shown(configuration),
                source: given[setting.key]?.source ?? .standard
            )
        }
        return (configuration, effective)
    }

    /// What each setting is given as, and where; the rest has its default.
    private func given(_ fromFile: [String: ConfigurationFile.Value]) throws -> [String: GivenValue] {
        var given: [String: GivenValue] = [:]
        for setting in SettingsTable.all {
            if let text = flags[setting.key] {
                given[setting.key] = GivenValue(text, .flag("--" + setting.key.replacing("_", with: "-")))
            } else if let text = environment[setting.variable] {
                given[setting.key] = GivenValue(text, .environment(setting.variable))
            } else if let file, let value = fromFile[setting.key] {
                given[setting.key] = GivenValue(value.text, .file(file, line: value.line))
            }
        }
        return given
    }

    /// What one setting says about another.
    private func complete(_ configuration: inout GatewayConfiguration, _ given: [String: GivenValue]) throws {
        guard !configuration.data.isEmpty else {
            throw GatewayError(
                .configuration,
                "the setting data must be the path of a directory: give --data",
                field: "data"
            )
        }
        if configuration.keyRoot.isEmpty { configuration.keyRoot = configuration.data + "/root.key" }
        if configuration.logKey.isEmpty { configuration.logKey = configuration.data + "/log.key" }
        guard configuration.tlsCertificate.isEmpty == configuration.tlsKey.isEmpty else {
            let one = configuration.tlsKey.isEmpty ? "tls.certificate" : "tls.key"
            let place = given[one]?.source.place.map { " (\($0))" } ?? ""
            throw GatewayError(
                .configuration,
                "the settings tls.certificate and tls.key must be given together; there is only \(one)\(place)",
                field: "tls.key"
            )
        }
    }

    private func checkEnvironment() throws {
        let known = Set(SettingsTable.all.map(\.variable) + ["WAYBILL_CONFIG"])
        let unknown = environment.filter { name, value in
            name.hasPrefix("WAYBILL_") && !known.contains(name) && !ServiceVariables.includes(name, value: value)
        }
        if let name = unknown.keys.min() {
            throw GatewayError(
                .configuration,
                "the environment variable \(name) is not a setting of Waybill: correct its name, or unset it"
            )
        }
    }

    /// Reads YAML or JSON into dotted keys.
    private func readFile() throws -> [String: ConfigurationFile.Value] {
        guard let file else { return [:] }
        let values = try ConfigurationFile(path: file).flattened()
        if let unknown = values.keys.filter({ SettingsTable[$0] == nil }).min() {
            let line = values[unknown]?.line.map { " in line \($0)" } ?? ""
            throw GatewayError(
                .configuration,
                "\(file) has the key \(unknown)\(line), which is not a setting of Waybill: correct its name, or leave it out"
            )
        }
        return values
    }
}

/// The text that a setting was given as.
private struct GivenValue {
    let text: String
    let source: SettingSource

    init(_ text: String, _ source: SettingSource) {
        self.text = text
        self.source = source
    }
}

extension Setting {
    fileprivate func apply(_ given: GivenValue, to configuration: inout GatewayConfiguration) throws {
        do {
            try value.read(&configuration, given.text)
        } catch {
            let item = error.item.map { "item \($0)" }
            throw refusal([item, given.source.place].compactMap { $0 }.joined(separator: "; "))
        }
    }
}
