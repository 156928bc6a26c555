import ArgumentParser
import Projections

struct Schema: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the schema of every event as a Markdown table (docs/events.md holds it)."
    )

    func run() { Output.write(EventCatalogue.markdown, to: 1) }
}
