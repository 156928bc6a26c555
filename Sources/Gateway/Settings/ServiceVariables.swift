/// The variables that Kubernetes puts into every pod for each Service, and Docker for a link: those of a Service called `waybill` or
/// `waybill-…` begin like settings of Waybill.
enum ServiceVariables {
    private static let prefix = "WAYBILL_"

    /// Whether a variable has one of the known shapes: `…SERVICE_HOST`, `…SERVICE_PORT`, `…SERVICE_PORT_<NAME>`, `…PORT` and
    /// `…PORT_<number>_<protocol>` with or without `_PROTO`, `_PORT`, `_ADDR`.
    static func includes(_ name: String, value: String) -> Bool {
        guard name.hasPrefix(prefix) else { return false }
        let words = name.dropFirst(prefix.count).split(separator: "_", omittingEmptySubsequences: false)
        guard let last = words.last, !last.isEmpty else { return false }
        let head = words.dropLast()
        if head.last == "SERVICE" { return last == "HOST" || last == "PORT" }
        // A number would be somebody's idea of how to choose the port; it must not go unheard.
        if last == "PORT", value.firstRange(of: "://") != nil { return true }
        return namesServicePort(words) || namesNumberedPort(words)
    }

    /// `SERVICE_PORT_<NAME>`, where the name may have several words.
    private static func namesServicePort(_ words: [Substring]) -> Bool {
        words.indices.dropLast(2).contains { words[$0] == "SERVICE" && words[$0 + 1] == "PORT" }
    }

    /// `PORT_<number>_<protocol>` and what it may end in.
    private static func namesNumberedPort(_ words: [Substring]) -> Bool {
        let endings: Set<Substring> = ["PROTO", "PORT", "ADDR"]
        let shape = words.last.map(endings.contains) == true ? words.dropLast() : words[...]
        guard let transport = shape.last, ["TCP", "UDP", "SCTP"].contains(transport) else { return false }
        let place = shape.dropLast()
        guard let number = place.last, UInt16(number) != nil else { return false }
        return place.dropLast().last == "PORT"
    }
}
