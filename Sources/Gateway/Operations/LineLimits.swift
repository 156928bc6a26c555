package import Log

/// How often lines of one kind are written, whoever causes them: a few at once, and one more after each pause. The others are
/// counted.
package struct LineLimits: Sendable {
    /// What lines have in common that are told together.
    package struct Kind: Hashable, Sendable {
        package var level: String
        package var text: String
        /// The stable code of the problem, where there is one.
        package var code: String

        package init(level: String, text: String, code: String = "") {
            self.level = level
            self.text = text
            self.code = code
        }
    }

    /// Lines that were not written.
    package struct Withheld: Sendable, Equatable {
        package let kind: Kind
        package let count: Int

        package init(kind: Kind, count: Int) {
            self.kind = kind
            self.count = count
        }
    }

    private struct Row {
        /// When as many lines may be written at once as ever.
        var fullAt: BootTime
        var withheld = 0
        var withheldSince: BootTime
    }

    package static let burst = 10
    package static let pause = Duration.seconds(10)
    /// Texts of libraries may name what an outsider said; all beyond this many kinds are one.
    package static let kindsMax = 200

    private var rows: [Kind: Row] = [:]

    package init() {}

    /// Whether a line may be written now; `before` is what was withheld of its kind, to be told first.
    package mutating func admit(_ kind: Kind, at now: BootTime) -> (isWritten: Bool, before: Withheld?) {
        let kind = known(kind, at: now)
        var row = rows[kind] ?? Row(fullAt: now, withheldSince: now)
        defer { rows[kind] = row }
        guard row.fullAt.since(now) <= LineLimits.pause * (LineLimits.burst - 1) else {
            if row.withheld == 0 { row.withheldSince = now }
            row.withheld += 1
            return (false, nil)
        }
        row.fullAt = max(row.fullAt, now).advanced(by: LineLimits.pause)
        let before = row.withheld > 0 ? Withheld(kind: kind, count: row.withheld) : nil
        row.withheld = 0
        return (true, before)
    }

    /// What has been withheld for a pause, or all of it: told now, it is forgotten here.
    package mutating func due(at now: BootTime, all: Bool = false) -> [Withheld] {
        var due: [Withheld] = []
        for (kind, row) in rows where row.withheld > 0 && (all || now.since(row.withheldSince) >= LineLimits.pause) {
            due.append(Withheld(kind: kind, count: row.withheld))
            rows[kind]?.withheld = 0
        }
        return due.sorted { ($0.kind.text, $0.kind.code) < ($1.kind.text, $1.kind.code) }
    }

    private mutating func known(_ kind: Kind, at now: BootTime) -> Kind {
        if rows[kind] != nil || rows.count < LineLimits.kindsMax { return kind }
        rows = rows.filter { $0.value.withheld > 0 || $0.value.fullAt > now }
        return rows.count < LineLimits.kindsMax ? kind : Kind(level: kind.level, text: "lines of other kinds")
    }
}
