/// How Messenger and Instagram write single values: what is a string in one version is a number in the next.
enum DirectField {
    /// The first of these members that says something; empty when none does.
    static func text(_ json: ProviderJSON?, _ names: String...) -> String {
        for name in names {
            if let text = json?[name]?.text, !text.isEmpty { return text }
        }
        return ""
    }

    /// A quoted `true` counts too: to miss the mark of an echo would show our own words as the customer's.
    static func isTrue(_ json: ProviderJSON?) -> Bool {
        guard let json else { return false }
        return json.bool == true || json.text == "true"
    }

    /// A fraction is cut off.
    static func wholeNumber(_ json: ProviderJSON) -> Int64? {
        if let integer = json.integer { return integer }
        guard let number = json.number, let value = Double(number) else { return nil }
        return Int64(exactly: value.rounded(.down))
    }

    /// A moment in milliseconds since 1970: a number whose unit its size tells (seconds, milliseconds or microseconds), or a
    /// time in words. Zero for anything else, and for what no `Timestamp` can hold.
    static func milliseconds(_ json: ProviderJSON?) -> UInt64 {
        guard let json, let number = wholeNumber(json) else { return MetaTime.milliseconds(json) }
        guard let value = UInt64(exactly: number) else { return 0 }
        var milliseconds = value
        if value < 100_000_000_000 {
            milliseconds = value * 1000
        } else if value > 100_000_000_000_000 {
            milliseconds = value / 1000
        }
        return milliseconds <= UInt64.max / 1_000_000 ? milliseconds : 0
    }
}
