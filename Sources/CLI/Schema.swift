import ArgumentParser
import Gateway
import Projections

struct Schema: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the schema of every event as a Markdown table (docs/events.md holds it)."
    )

    @Flag(help: "Print the reference of the settings instead (docs/settings.md).")
    var settings = false

    func run() { Output.write(settings ? SettingsReference.markdown : EventCatalogue.markdown, to: 1) }
}
