import Foundation
import Projections
import Testing

@Suite struct EventCatalogueTests {
    private static let marker = "<!-- catalogue: printed by waybill schema -->\n"

    /// The written schema and the code are one: `docs/events.md` ends with what `waybill schema` prints.
    @Test func theDocumentShowsTheCatalogue() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "docs/events.md"), encoding: .utf8)
        let marker = try #require(text.range(of: EventCatalogueTests.marker), "docs/events.md has no marker line")
        let printed = text[marker.upperBound...].drop { $0 == "\n" }
        #expect(printed.split(separator: "\n") == EventCatalogue.markdown.split(separator: "\n"))
    }

    @Test func namesAndNumbersAreUnique() {
        let types = EventType.allCases
        #expect(Set(types.map(\.rawValue)).count == types.count)
        #expect(Set(types.map(\.name)).count == types.count)
    }

    @Test(arguments: EventType.allCases)
    func everyTypeKnowsItself(_ type: EventType) {
        #expect(type.prototype.type == type)
        #expect(EventType.named(type.name) == type)
        #expect(EventCatalogue.markdown.contains("| \(type.rawValue) | `\(type.name)` |"))
        #expect(!EventCatalogue.summary(of: type).isEmpty)
    }
}
