import ArgumentParser
import Gateway

/// Where the settings come from that a command shares with `serve`: flags first, then the environment, then a file.
struct SettingsOptions: ParsableArguments {
    @Option(help: "Directory that holds the log and everything else.")
    var data: String?
    @Option(help: "Settings file, YAML or JSON.")
    var config: String?
    @Option(
        help:
            "File or PKCS #11 URI of the root key; default root.key in the data directory. Losing it loses every body."
    )
    var keyRoot: String?

    /// - Parameter flags: what the command has beyond these, by the name of the setting.
    func loader(_ flags: [String: String?] = [:]) -> ConfigurationLoader {
        let environment = Environment.all()
        return ConfigurationLoader(
            flags: flags.merging(["data": data, "key_root": keyRoot]) { first, _ in first }.compactMapValues { $0 },
            environment: environment,
            file: config ?? environment["WAYBILL_CONFIG"]
        )
    }

    func load() throws -> (configuration: GatewayConfiguration, effective: [EffectiveSetting]) { try loader().load() }
}
