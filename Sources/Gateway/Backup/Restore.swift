package import Log
import Projections

/// Brings back a log from a backup, or the keys of a log that is there. What and why: `docs/backup.md`.
///
/// Everything is checked before anything is written; then a marker keeps others away until the last step is done. Who finds
/// one of an interrupted restore begins anew.
package struct Restore {
    private let data: String
    private let source: String
    private let keyRoot: String
    private let acceptsLoss: Bool
    private let storage = PosixStorage()
    private let root: any RootKeyHolder
    private let manifest: BackupManifest
    private let archive: KeyArchive
    private let log: LogConfiguration

    /// Opens a backup and checks that it is whole.
    ///
    /// - Parameter keyFile: the backup key; nil for where the manifest says it was.
    /// - Throws: `notFound`, `invalidRequest`, or `keyUnavailable` when the backup cannot be used.
    package init(
        from source: String,
        to data: String,
        keyRoot: String,
        keyFile: String?,
        acceptsLoss: Bool,
        log: LogConfiguration,
        now: UInt64 = EventLog.systemTime()
    ) throws {
        self.source = source
        self.data = data
        self.keyRoot = keyRoot
        self.acceptsLoss = acceptsLoss
        self.log = log
        root = try RootKeys.holder(keyRoot)
        let bytes = try BackupManifest.bytes(in: source, storage: storage)
        manifest = try BackupManifest(bytes)
        let path = keyFile ?? manifest.keyFile
        // Nobody has vouched for the manifest yet: a key that comes with it would open whatever it came with.
        if keyFile == nil, AbsolutePath.resolved(path).hasPrefix(AbsolutePath.resolved(source) + "/") {
            throw GatewayError(.invalidRequest, "the backup names a key inside itself; name yours with --backup-key")
        }
        guard let key = try KeyFile.backup(path: path).load() else {
            throw GatewayError(.notFound, "the backup key is not at \(path); name it with --backup-key")
        }
        guard BackupManifest.isGenuine(bytes, in: source, key: key, storage: storage) else {
            let isOther = manifest.keyID != BackupKey.id(of: key)
            throw GatewayError(
                .invalidRequest,
                isOther
                    ? "the backup was made with another backup key, \(Hex.encode(manifest.keyID)); name it with --backup-key"
                    : "\(BackupManifest.name) was changed after it was written; use another backup"
            )
        }
        if manifest.horizon.nanoseconds <= now {
            throw GatewayError(
                .invalidRequest,
                "the horizon of this backup was \(RFC3339.format(manifest.horizon)); it must not be used any more"
            )
        }
        archive = try KeyArchive.read(source + "/" + BackupManifest.keysName, key: key)
        try checkFiles()
    }

    private func checkFiles() throws {
        for file in manifest.files {
            let (size, digest) = try LogCopy.digest(of: source + "/" + file.name)
            guard size == file.size, digest == file.digest else { throw changed(file) }
        }
        let names = Set(manifest.files.map(\.name))
        guard names.contains(BackupManifest.keysName), names.count == manifest.files.count, names.count > 1 else {
            throw GatewayError(.invalidRequest, "the backup does not list its files; use another backup")
        }
    }

    private func changed(_ file: LogCopy.File) -> GatewayError {
        GatewayError(.invalidRequest, "\(file.name) of the backup is damaged or was changed; use another backup")
    }

    /// What was done, for who asked.
    package struct Outcome {
        package let isWholeLog: Bool
        package let position: LogPosition
        /// The new identity, in hexadecimal; nil for a log that kept its own.
        package let logID: String?
        package let bodiesLost: UInt64
        package let purges: Int

        package var json: [UInt8] {
            JSONWriter.object { json in
                json.string("mode", (isWholeLog ? RestoreMarker.Mode.log : .keys).rawValue)
                json.number("position", position.rawValue)
                json.string("log_id", logID)
                json.number("bodies_lost", bodiesLost)
                json.number("purges", purges)
            }
        }
    }

    // MARK: Run

    /// - Parameter progress: told of each file that is copied.
    package func run(progress: (LogCopy.File) -> Void) async throws -> Outcome {
        try undoInterrupted()
        try storage.makeDurableDirectory(data)
        guard try root.generations().isEmpty else {
            throw GatewayError(
                .invalidRequest,
                "there is a root key at \(RootKeys.shown(keyRoot)), and a restore makes a new one; point --key-root "
                    + "elsewhere, or destroy it if no log needs it any more"
            )
        }
        let names = try storage.list(data)
        let restored: Restored
        if names.contains(where: LogCopy.isSegment) {
            restored = try restoreKeys()
        } else {
            restored = try restoreLog(names, progress)
        }
        return try await finish(restored)
    }

    private struct Restored {
        let mode: RestoreMarker.Mode
        let state: LogState
        let reader: LogReader
        let bodiesLost: UInt64
    }

    /// What an earlier run wrote, which nobody has used.
    private func undoInterrupted() throws {
        guard let marker = try RestoreMarker.load(data, storage: storage) else { return }
        guard marker.keyRoot == RootKeys.shown(keyRoot) else {
            throw GatewayError(
                .invalidRequest,
                "a restore with --key-root \(marker.keyRoot) was interrupted here; finish it with the same one"
            )
        }
        for generation in try root.generations() { try root.destroy(generation) }
        guard marker.mode == .log else { return }
        for name in try storage.list(data) where name != RestoreMarker.name && name != Checkpoint.fileName {
            try storage.remove(data + "/" + name)
        }
    }

    /// Copies the history into a directory that has none.
    private func restoreLog(_ names: [String], _ progress: (LogCopy.File) -> Void) throws -> Restored {
        let harmless: Set = [RestoreMarker.name, RestoreMarker.temporaryName, Checkpoint.fileName]
        if let other = names.first(where: { !harmless.contains($0) }) {
            throw GatewayError(.invalidRequest, "\(data) is neither empty nor a log: there is \(other) in it")
        }
        if let known = try Checkpoint.load(data).flatMap({ SignedNote($0) }).flatMap({ Checkpoint(text: $0.text) }),
            known.size > manifest.position.rawValue, !acceptsLoss
        {
            throw GatewayError(
                .invalidRequest,
                "the checkpoint in \(data) is of \(known.size) records, and the backup has \(manifest.position); "
                    + "give --accept-loss to go on without the others"
            )
        }
        try RestoreMarker(mode: .log, keyRoot: keyRoot).store(in: data, storage: storage)
        for file in manifest.files where LogCopy.isSegment(file.name) {
            let (size, digest) = try LogCopy.copy(source + "/" + file.name, to: data + "/" + file.name)
            guard size == file.size, digest == file.digest else { throw changed(file) }
            progress(file)
        }
        try storage.syncDirectory(data)
        let log = try ReadOnlyLog(directory: data)
        guard try log.reader.tree().root == manifest.root else {
            throw GatewayError(
                .invalidRequest,
                "the backup's history is not the one its manifest names; use another backup"
            )
        }
        return Restored(mode: .log, state: try fold(log), reader: log.reader, bodiesLost: 0)
    }

    /// Checks that the log which is there is the backup's, and goes on from it.
    private func restoreKeys() throws -> Restored {
        let log = try ReadOnlyLog(directory: data)
        if log.hasWriter {
            throw GatewayError(.unavailable, "a gateway runs on \(data); stop it first")
        }
        let hint = "move its files away and restore into an empty directory, or use its own backup"
        guard log.id?.description == manifest.logID, log.end >= manifest.position else {
            throw GatewayError(
                .invalidRequest,
                "the log in \(data) is another one, or shorter than the backup; \(hint)"
            )
        }
        let tiles = log.tiles(in: data)
        while try !tiles.advance(to: log.end.rawValue) {}
        guard try tiles.root(of: 0..<manifest.position.rawValue) == manifest.root else {
            throw GatewayError(.invalidRequest, "the log in \(data) has another history than the backup; \(hint)")
        }
        let state = try fold(log)
        let lost = try countLost(log.reader, state)
        if lost > 0, !acceptsLoss {
            throw GatewayError(
                .invalidRequest,
                "\(lost) bodies were sealed after the backup under keys that it does not hold; "
                    + "give --accept-loss to go on without them"
            )
        }
        try RestoreMarker(mode: .keys, keyRoot: keyRoot).store(in: data, storage: storage)
        return Restored(mode: .keys, state: state, reader: log.reader, bodiesLost: lost)
    }

    private func fold(_ log: ReadOnlyLog) throws -> LogState {
        var state = LogState()
        try state.catchUp(log.reader, through: log.end)
        return state
    }

    /// Records with a body that is not purged, and whose key the backup cannot hold.
    private func countLost(_ reader: LogReader, _ state: LogState) throws -> UInt64 {
        var lost: UInt64 = 0
        try reader.scan(from: manifest.position.next) { view in
            guard let reference = KeyReference(view.sealed), !archive.knows(reference.epoch) else { return }
            let isPurged = state.purges.bars(
                recordAt: view.position,
                client: view.client,
                conversation: view.conversation,
                message: view.message
            )
            if !isPurged { lost += 1 }
        }
        return lost
    }

    /// Makes the key state, puts the restore on record, and lets others in.
    private func finish(_ restored: Restored) async throws -> Outcome {
        let state = restored.state
        // Those that are only asked for are carried out by the next start, which puts them on record.
        // A secret that ends later is needed until then.
        let ended = state.purges.entries.keys.filter { (state.purges.pending[$0] ?? Timestamp(0)) <= state.time }
        let targets = try ended.flatMap { subject in
            try subject.targets(subject.records(in: state.inbox), restored.reader)
        }
        let age = KeyStore.Age(generation: state.rootGeneration, epoch: UInt32(clamping: state.keyEpoch))
        try archive.install(in: data, root: root, without: targets, age: age)
        var event = LogRestored()
        event.backupPosition = manifest.position
        event.lossAccepted = acceptsLoss
        event.logIdBefore = RawBytes(state.identity.isEmpty ? Hex.decode(manifest.logID) ?? [] : state.identity)
        event.logId = RawBytes(restored.mode == .log ? Crypto.publicRandomBytes(16) : [])
        event.bodiesLost = restored.bodiesLost
        let ledger = try await Ledger.open(
            directory: data,
            root: root,
            configuration: log,
            version: WaybillVersion.current,
            isSandbox: false,
            restored: event
        )
        let position = ledger.head
        await ledger.close(reason: "restore")
        try RestoreMarker.remove(in: data, storage: storage)
        return Outcome(
            isWholeLog: restored.mode == .log,
            position: position,
            logID: restored.mode == .log ? Hex.encode(event.logId.bytes) : nil,
            bodiesLost: restored.bodiesLost,
            purges: ended.count
        )
    }
}
