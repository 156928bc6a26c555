/// The address of a tile or an entry bundle, as in C2SP tlog-tiles: `tile/<level>/<index>[.p/<width>]` and
/// `tile/entries/<index>[.p/<width>]`, the index in groups of three digits, all but the last with an `x` before them
/// (1234067 is `x001/x234/067`).
package struct TilePath: Equatable, Sendable {
    /// Nil for a bundle of entries.
    package let level: Int?
    package let index: UInt64
    /// How many hashes or entries, 1 to 256.
    package let width: Int

    package static let fullWidth = 256
    /// More levels than a log of 2^64 entries has.
    private static let levelMax = 8

    package init(level: Int?, index: UInt64, width: Int = fullWidth) {
        self.level = level
        self.index = index
        self.width = width
    }

    /// Reads what comes after `tile/`. Nil for anything but the one way to write an address.
    package init?(_ text: some StringProtocol) {
        var parts = String(text).split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
        guard parts.count >= 2 else { return nil }
        let kind = parts.removeFirst()
        guard kind == "entries" || Int(kind).map({ String($0) == kind && (0..<TilePath.levelMax).contains($0) }) == true
        else { return nil }
        var width = TilePath.fullWidth
        if parts.count >= 2, parts[parts.count - 2].hasSuffix(".p") {
            let last = parts.removeLast()
            guard let partial = Int(last), String(partial) == last, (1..<TilePath.fullWidth).contains(partial) else {
                return nil
            }
            width = partial
            parts[parts.count - 1].removeLast(2)
        }
        guard let index = TilePath.index(parts), TilePath.groups(index) == parts else { return nil }
        self.init(level: kind == "entries" ? nil : Int(kind), index: index, width: width)
    }

    private static func index(_ parts: [String]) -> UInt64? {
        guard let last = parts.last, parts.count <= 6, parts.dropLast().allSatisfy({ $0.hasPrefix("x") }) else {
            return nil
        }
        let groups = parts.dropLast().map { $0.dropFirst() } + [last[...]]
        guard groups.allSatisfy({ $0.count == 3 && $0.utf8.allSatisfy { (48...57).contains($0) } }) else { return nil }
        return UInt64(groups.joined())
    }

    private static func groups(_ index: UInt64) -> [String] {
        let digits = String(index)
        var rest = (String(repeating: "0", count: (3 - digits.count % 3) % 3) + digits)[...]
        var groups: [String] = []
        while !rest.isEmpty {
            let group = rest.prefix(3)
            rest = rest.dropFirst(3)
            groups.append(rest.isEmpty ? String(group) : "x" + group)
        }
        return groups
    }

    /// As `init` reads it.
    package var text: String {
        let name = (level.map { String($0) } ?? "entries") + "/" + TilePath.groups(index).joined(separator: "/")
        return width == TilePath.fullWidth ? name : "\(name).p/\(width)"
    }
}
