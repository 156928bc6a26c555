import Log

/// One setting, with all that is known of it: how it is read, how it is shown, and what the documents say.
package struct Setting: Sendable {
    package let key: String
    /// What a value looks like; the end of "the setting … must be".
    package let form: String
    package let meaning: String
    package let example: String
    /// The default in words, where it depends on other settings.
    let defaultText: String?
    package let isSecret: Bool
    /// Whether SIGHUP puts a new value into force.
    package let reloads: Bool
    package let value: SettingValue

    init(
        _ key: String,
        _ form: String,
        _ value: SettingValue,
        default defaultText: String? = nil,
        example: String,
        secret isSecret: Bool = false,
        reloads: Bool = false,
        _ meaning: String
    ) {
        self.key = key
        self.form = form
        self.value = value
        self.defaultText = defaultText
        self.example = example
        self.isSecret = isSecret
        self.reloads = reloads
        self.meaning = meaning
    }

    /// `a.b_c` → `WAYBILL_A_B_C`.
    package var variable: String { "WAYBILL_" + key.replacing(".", with: "_").uppercased() }

    /// The value in force, as it may be shown; empty for none.
    package func shown(_ configuration: GatewayConfiguration) -> String {
        let text = value.show(configuration)
        return isSecret && !text.isEmpty ? "********" : SecretMask.url(text)
    }

    /// - Parameter place: where the value was found, for people.
    func refusal(_ place: String?) -> GatewayError {
        let place = place.map { " (\($0))" } ?? ""
        return GatewayError(.configuration, "the setting \(key) must be \(form)\(place)", field: key)
    }
}

/// What the value of a setting does to the configuration, and how it is read back from there.
package struct SettingValue: Sendable {
    /// - Throws: `SettingFault` for text that is not of the setting's form.
    package let read: @Sendable (inout GatewayConfiguration, String) throws(SettingFault) -> Void
    package let show: @Sendable (GatewayConfiguration) -> String
}

extension SettingValue {
    /// Takes the value over from another configuration. What is shown can be read, for a setting that reloads.
    func copy(_ source: GatewayConfiguration, _ target: inout GatewayConfiguration) {
        // Every setting reads what it shows, but for those that show a default made of others.
        try? read(&target, show(source))
    }
}

/// A value is not of its setting's form.
package struct SettingFault: Error {
    /// The number of the item at fault, from 1, in a list.
    var item: Int?
}

/// Where a value comes from.
package enum SettingSource: Sendable, Equatable {
    case flag(String)
    case environment(String)
    case file(String, line: Int?)
    case standard

    package var name: String {
        switch self {
        case .flag: "flag"
        case .environment: "environment"
        case .file: "file"
        case .standard: "default"
        }
    }

    /// The flag, the variable, or file and line; nil for a default.
    package var place: String? {
        switch self {
        case .flag(let flag): flag
        case .environment(let variable): variable
        case .file(let path, let line): path + (line.map { ", line \($0)" } ?? "")
        case .standard: nil
        }
    }
}

/// A setting as it is in force, for people: secrets are masked.
package struct EffectiveSetting: Sendable {
    package let setting: Setting
    /// Empty for none.
    package let value: String
    package let source: SettingSource

    package var key: String { setting.key }
}
