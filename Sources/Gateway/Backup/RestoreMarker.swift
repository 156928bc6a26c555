import Log
import Projections

/// The file that is in a data directory while it is being restored. Nothing may be served from what is half there.
///
/// It is written before anything else, and names what the restore makes, none of which was there before. So whoever finds one of
/// an interrupted restore knows what he may remove.
struct RestoreMarker: Equatable, Sendable {
    static let name = "restoring"
    /// What a restore leaves that was killed before it began.
    static let temporaryName = name + ".tmp"
    private static let sizeMax = 64 << 20
    private static let proof = [UInt8]("waybill restore marker v1".utf8)

    enum Mode: String, Sendable {
        /// History and keys.
        case log
        /// Only the keys: the history is there.
        case keys
    }

    let mode: Mode
    /// Where the new root key is made, as it may be shown.
    let keyRoot: String
    /// The segments that are copied.
    private let segments: Set<String>
    /// The number of the first segment that opening the log adds behind those.
    private let nextSegment: UInt64
    /// The generation of the root key that the restore makes; nil before it begins to.
    private(set) var generation: UInt64?
    /// Sealed under that key, to tell it from any other; empty before it is made.
    private var seal: [UInt8]

    /// - Parameter segments: the names of those that are copied; none when only the keys are restored.
    init(_ mode: Mode, keyRoot: String, segments: [String]) {
        self.mode = mode
        self.keyRoot = RootKeys.shown(keyRoot)
        self.segments = Set(segments)
        nextSegment = (segments.compactMap { LogCopy.segmentNumber($0) }.max() ?? 0) + 1
        seal = []
    }

    // MARK: What belongs to the restore

    /// Whether the restore made the file of this name in the data directory. Media files are its own as well in this mode.
    func owns(_ name: String) -> Bool {
        guard mode == .log else { return false }
        let isPart = name.hasSuffix(LogCopy.partSuffix)
        let whole = isPart ? String(name.dropLast(LogCopy.partSuffix.count)) : name
        if segments.contains(whole) || KeyArchive.isKeyState(name) || LogCopy.isPrepared(name) { return true }
        return LogCopy.segmentNumber(name).map { $0 >= nextSegment } ?? false
    }

    /// Whether the restore made this root key.
    func made(_ generation: UInt64, in root: any RootKeyHolder) throws(LogError) -> Bool {
        guard generation == self.generation else { return false }
        // Killed while the key was being made: it has sealed nothing, and cannot be told from anybody's.
        if seal.isEmpty { return false }
        return try root.open(seal, generation: generation, authenticated: RestoreMarker.proof) != nil
    }

    /// The marker when a root key is about to be made.
    func making(_ generation: UInt64) -> RestoreMarker {
        var marker = self
        marker.generation = generation
        marker.seal = []
        return marker
    }

    /// The marker when it is made.
    func having(_ generation: UInt64, in root: any RootKeyHolder) throws(LogError) -> RestoreMarker {
        var marker = making(generation)
        marker.seal = try root.seal(
            RestoreMarker.proof,
            generation: generation,
            authenticated: RestoreMarker.proof
        )
        return marker
    }

    // MARK: File

    static func load(_ directory: String, storage: any Storage) throws -> RestoreMarker? {
        guard exists(in: directory, storage: storage) else { return nil }
        return try RestoreMarker(try JSONFields(try storage.readAll(directory + "/" + name, limit: sizeMax)))
    }

    private init(_ fields: JSONFields) throws {
        guard let mode = Mode(rawValue: try fields.require("mode")) else { throw fields.wrong("mode", "log or keys") }
        self.mode = mode
        keyRoot = try fields.require("key_root")
        segments = Set(try fields.strings("segments") ?? [])
        nextSegment = UInt64(try fields.integer("next_segment", in: 0...Int64.max) ?? Int64.max)
        generation = try fields.integer("root_generation", in: 0...Int64.max).map { UInt64($0) }
        guard let seal = Hex.decode(try fields.string("root_seal") ?? "") else {
            throw fields.wrong("root_seal", "hexadecimal")
        }
        self.seal = seal
    }

    private static func exists(in directory: String, storage: any Storage) -> Bool {
        (try? storage.list(directory).contains(name)) ?? false
    }

    /// Durable when this returns.
    func store(in directory: String, storage: any Storage) throws(LogError) {
        let bytes = JSONWriter.object { json in
            json.string("mode", mode.rawValue)
            json.string("key_root", keyRoot)
            json.number("root_generation", generation)
            json.string("root_seal", Hex.encode(seal))
            json.number("next_segment", nextSegment)
            json.array("segments") { json in
                for name in segments.sorted() { json.element { $0.string(name) } }
            }
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

/// Root keys as a restore makes them: the marker says which one it is, so that the next restore takes no other one for it.
struct MarkedRootKeys: RootKeyHolder {
    let root: any RootKeyHolder
    let marker: RestoreMarker
    /// The data directory.
    let directory: String
    let storage: PosixStorage

    func generations() throws(LogError) -> [UInt64] { try root.generations() }

    func create(_ generation: UInt64) throws(LogError) {
        try marker.making(generation).store(in: directory, storage: storage)
        do throws(LogError) {
            try root.create(generation)
        } catch {
            // Who sees to it, and brings a key of his own there, must not lose that one.
            if let left = try? root.generations(), left.isEmpty { try? marker.store(in: directory, storage: storage) }
            throw error
        }
        try marker.having(generation, in: root).store(in: directory, storage: storage)
    }

    func destroy(_ generation: UInt64) throws(LogError) { try root.destroy(generation) }

    func seal(_ plaintext: [UInt8], generation: UInt64, authenticated: [UInt8]) throws(LogError) -> [UInt8] {
        try root.seal(plaintext, generation: generation, authenticated: authenticated)
    }

    func open(_ box: [UInt8], generation: UInt64, authenticated: [UInt8]) throws(LogError) -> [UInt8]? {
        try root.open(box, generation: generation, authenticated: authenticated)
    }
}
