import Log

extension SettingValue {
    typealias Path<Value> = WritableKeyPath<GatewayConfiguration, Value> & Sendable

    /// Any text.
    static func text(_ path: any Path<String>) -> SettingValue { text(path) { _ in true } }

    /// A path, or whatever else must not be empty.
    static func place(_ path: any Path<String>) -> SettingValue { text(path) { !$0.isEmpty } }

    static func text(_ path: any Path<String>, where isValid: @escaping @Sendable (String) -> Bool) -> SettingValue {
        SettingValue(
            read: { (settings, text) throws(SettingFault) in
                guard isValid(text) else { throw SettingFault() }
                settings[keyPath: path] = text
            },
            show: { $0[keyPath: path] }
        )
    }

    static func bool(_ path: any Path<Bool>) -> SettingValue {
        SettingValue(
            read: { (settings, text) throws(SettingFault) in
                switch text.lowercased() {
                case "true", "1", "yes": settings[keyPath: path] = true
                case "false", "0", "no": settings[keyPath: path] = false
                default: throw SettingFault()
                }
            },
            show: { String($0[keyPath: path]) }
        )
    }

    static func integer(_ path: any Path<Int>, in range: ClosedRange<Int>, multipleOf step: Int = 1) -> SettingValue {
        SettingValue(
            read: { (settings, text) throws(SettingFault) in
                guard let value = Int(text), range.contains(value), value % step == 0 else { throw SettingFault() }
                settings[keyPath: path] = value
            },
            show: { String($0[keyPath: path]) }
        )
    }

    static func seconds(_ path: any Path<UInt64>) -> SettingValue {
        SettingValue(
            read: { (settings, text) throws(SettingFault) in
                settings[keyPath: path] = try SettingDuration.parse(text)
            },
            show: { SettingDuration.text($0[keyPath: path]) }
        )
    }

    /// An http or https URL, kept without slashes at its end.
    static func url(_ path: any Path<String>) -> SettingValue {
        SettingValue(
            read: { (settings, text) throws(SettingFault) in
                guard text.hasPrefix("http://") || text.hasPrefix("https://") else { throw SettingFault() }
                var text = text
                while text.hasSuffix("/") { text.removeLast() }
                settings[keyPath: path] = text
            },
            show: { $0[keyPath: path] }
        )
    }

    /// Texts with commas in between. What is empty, as behind a comma at the end, is no item.
    static func list(_ path: any Path<[String]>) -> SettingValue {
        SettingValue(
            read: { (settings, text) throws(SettingFault) in
                settings[keyPath: path] = items(text).map(\.text)
            },
            show: { $0[keyPath: path].joined(separator: ",") }
        )
    }

    static func networks(_ path: any Path<[IPNetwork]>) -> SettingValue {
        SettingValue(
            read: { (settings, text) throws(SettingFault) in
                var networks: [IPNetwork] = []
                for item in items(text) {
                    guard let network = IPNetwork(item.text) else { throw SettingFault(item: item.number) }
                    networks.append(network)
                }
                settings[keyPath: path] = networks
            },
            show: { $0[keyPath: path].map(\.description).joined(separator: ",") }
        )
    }

    private static func items(_ text: String) -> [(number: Int, text: String)] {
        text.split(separator: ",", omittingEmptySubsequences: false).enumerated()
            .map { ($0.offset + 1, String($0.element).trimmingSpaces) }
            .filter { !$0.1.isEmpty }
    }
}

/// `90`, `90s`, `15m`, `12h`, `7d`.
enum SettingDuration {
    private static let units: [(name: Character, seconds: UInt64)] = [
        ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1),
    ]

    /// In seconds.
    static func parse(_ text: String) throws(SettingFault) -> UInt64 {
        let unit = text.last.flatMap { last in units.first { $0.name == last } }
        guard let number = UInt64(unit == nil ? text[...] : text.dropLast()), number > 0, number < 1 << 32 else {
            throw SettingFault()
        }
        return number * (unit?.seconds ?? 1)
    }

    /// In the largest unit that is whole.
    static func text(_ seconds: UInt64) -> String {
        for unit in units where seconds > 0 && seconds % unit.seconds == 0 {
            return "\(seconds / unit.seconds)\(unit.name)"
        }
        return "\(seconds)s"
    }
}
