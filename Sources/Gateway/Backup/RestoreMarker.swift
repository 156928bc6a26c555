import Log
import Projections

/// The file that is in a data directory while it is being restored. Nothing may be served from what is half there.
struct RestoreMarker: Equatable {
    static let name = "restoring"
    /// What a restore leaves that was killed before it began.
    static let temporaryName = name + ".tmp"

    enum Mode: String {
        /// History and keys.
        case log
        /// Only the keys: the history is there.
        case keys
    }

    let mode: Mode
    /// Where the new root key is made: what lies there belongs to the restore.
    let keyRoot: String

    static func load(_ directory: String, storage: any Storage) throws -> RestoreMarker? {
        guard exists(in: directory, storage: storage) else { return nil }
        let fields = try JSONFields(try storage.readAll(directory + "/" + name, limit: 1 << 16))
        guard let mode = Mode(rawValue: try fields.require("mode")) else { throw fields.wrong("mode", "log or keys") }
        return RestoreMarker(mode: mode, keyRoot: try fields.require("key_root"))
    }

    private static func exists(in directory: String, storage: any Storage) -> Bool {
        (try? storage.list(directory).contains(name)) ?? false
    }

    /// Durable when this returns.
    func store(in directory: String, storage: any Storage) throws {
        let bytes = JSONWriter.object { json in
            json.string("mode", mode.rawValue)
            json.string("key_root", RootKeys.shown(keyRoot))
        }
        try storage.replaceFile(directory + "/" + RestoreMarker.name, with: bytes)
    }

    static func remove(in directory: String, storage: any Storage) throws {
        try storage.remove(directory + "/" + name)
        try storage.syncDirectory(directory)
    }

    /// - Throws: `unavailable` while a restore is not finished.
    static func refuse(in directory: String, storage: any Storage) throws {
        guard exists(in: directory, storage: storage) else { return }
        throw GatewayError(
            .unavailable,
            "\(directory) is being restored, or its restore was interrupted; run the same waybill restore again"
        )
    }
}
