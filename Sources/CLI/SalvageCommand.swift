import ArgumentParser
import Gateway
import Log

struct SalvageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "salvage",
        abstract: "Go on from what is whole of a damaged log, as a new log in a new data directory.",
        discussion:
            "For a log that serve refuses to open. Every whole record keeps its position; the first records of the new log name "
            + "what is lost. The damaged directory stays as it is and must not be served again."
    )

    @OptionGroup var settings: SettingsOptions
    @Option(help: "The new data directory; it must not exist or be empty.")
    var to: String
    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        let configuration = try settings.load().configuration
        let salvage = Salvage(
            of: configuration.data,
            to: to,
            keyRoot: configuration.keyRoot,
            log: configuration.log
        )
        let outcome = try await salvage.run { position in
            if position.rawValue % 65_536 == 0 { Output.progress("position \(position)") }
        }
        Output.progress("")
        guard let outcome else {
            throw ValidationError("nothing to salvage; it opens: \(configuration.data)")
        }
        if json { return Output.line(String(decoding: outcome.json, as: UTF8.self)) }
        Output.line("took over what is whole up to position \(outcome.through); \(outcome.lostCount) records are lost")
        for run in outcome.lost { Output.line("lost: positions \(run.lowerBound) to \(run.upperBound)") }
        Output.line("this is a new log, \(outcome.logID): give its checkpoint key to those who verify")
        Output.line("its root key is at \(outcome.keyRoot)")
        Output.line("never serve \(configuration.data) again; destroy it, its root key too, when you need it no more")
    }
}
