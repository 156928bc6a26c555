/// `docs/settings.md`, printed by `waybill schema --settings`.
package enum SettingsReference {
    package static var markdown: String {
        let rows = SettingsTable.all.map(row)
        return ([introduction, head] + rows).joined(separator: "\n") + "\n"
    }

    private static let introduction = """
        # Settings

        Printed by `waybill schema --settings` from the table that parses them; a test compares the two.

        A value comes from a flag of the command line (`--data`, `--listen`, `--key-root`), else from the environment, else from the
        file that `--config` or `WAYBILL_CONFIG` names, else it is the default. The file is YAML or JSON, with the parts of a key
        nested (`tls: {key: …}`) or written out (`tls.key: …`). Lists are comma-separated; in the file they may also be lists. `null` is
        an error: leave the setting out.

        An unknown key and an unknown variable that begins with `WAYBILL_` are errors. Those that Kubernetes makes for a Service
        called `waybill` or `waybill-…` are no settings and are ignored: `…SERVICE_HOST`, `…SERVICE_PORT`, `…SERVICE_PORT_<NAME>`,
        `…PORT=tcp://…`, `…PORT_<number>_<protocol>` and what begins with that and ends in `_PROTO`, `_PORT` or `_ADDR`.

        `waybill serve … --check-config` validates the settings and prints each with its value and where that comes from; `--json`
        does for programs. Where SIGHUP says yes, a new value in the file is put into force by that signal
        ([operating.md](operating.md#tls)); the others need a restart.

        """

    private static let head = """
        | setting | environment | value | default | example | SIGHUP | meaning |
        |---|---|---|---|---|---|---|
        """

    private static func row(_ setting: Setting) -> String {
        let value = setting.value.show(GatewayConfiguration())
        let standard = setting.defaultText ?? (value.isEmpty ? "none" : "`\(value)`")
        let cells = [
            "`\(setting.key)`", "`\(setting.variable)`", setting.form + (setting.isSecret ? " (secret)" : ""), standard,
            "`\(setting.example)`", setting.reloads ? "yes" : "no", setting.meaning,
        ]
        return "| " + cells.joined(separator: " | ") + " |"
    }
}
