package import Log
import Projections

/// Brings back a log from a backup, or the keys of a log that is there. What and why: `docs/backup.md`.
///
/// Everything is checked before anything is written; then a marker keeps others away until the last step is done. Who finds
/// one of an interrupted restore removes what it names and begins anew.
package struct Restore {
    private let data: String
    private let source: String
    private let keyRoot: String
    private let logKey: String
    private let acceptsLoss: Bool
    private let storage = PosixStorage()
    private let root: any RootKeyHolder
    private let manifest: BackupManifest
    private let archive: KeyArchive
    private let log: LogConfiguration

    /// Opens a backup and checks that it is whole.
    ///
    /// - Parameters:
    ///   - keyFile: the backup key; nil for where the manifest says it was.
    ///   - logKey: the file of the key that signs checkpoints.
    /// - Throws: `notFound`, `invalidRequest`, or `keyUnavailable` when the backup cannot be used.
    package init(
        from source: String,
        to data: String,
        keyRoot: String,
        logKey: String,
        keyFile: String?,
        acceptsLoss: Bool,
        log: LogConfiguration,
        now: UInt64 = GuardedClock().now
    ) throws {
        self.source = source
        self.data = data
        self.keyRoot = keyRoot
        self.logKey = logKey
        self.acceptsLoss = acceptsLoss
        self.log = log
        root = try RootKeys.holder(keyRoot)
        let bytes = try BackupManifest.bytes(in: source, storage: storage)
        manifest = try BackupManifest(bytes)
        let path = keyFile ?? manifest.keyFile
        // Nobody has vouched for the manifest yet: a key that comes with it would open whatever it came with.
        if keyFile == nil, AbsolutePath.lies(path, in: source) {
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
        let names = Set(manifest.files.map(\.name))
        guard names.contains(BackupManifest.keysName), names.count == manifest.files.count, names.count > 1 else {
            throw GatewayError(.invalidRequest, "the backup does not list its files; use another backup")
        }
        for file in manifest.files where file.name == BackupManifest.keysName {
            guard try Restore.isSame(file, in: source) else { throw Restore.changed(file.name) }
        }
        archive = try KeyArchive.read(source + "/" + BackupManifest.keysName, key: key)
    }

    /// Whether a directory has a file of the backup, byte for byte.
    private static func isSame(_ file: LogCopy.File, in directory: String) throws -> Bool {
        let (size, digest) = try LogCopy.digest(of: directory + "/" + file.name)
        return size == file.size && digest == file.digest
    }

    /// What only a whole log needs. A lost picture must not keep all else lost.
    private func checkHistoryAndMedia() throws {
        for file in manifest.files {
            guard try Restore.isSame(file, in: source) else { throw Restore.changed(file.name) }
        }
        let there = try MediaFiles(directory: source).tally(storage)
        guard there != manifest.media, !acceptsLoss else { return }
        throw GatewayError(
            .invalidRequest,
            "the backup lists \(manifest.media.files) media files of \(manifest.media.bytes) bytes together, and there are "
                + "\(there.files) of \(there.bytes); use another backup, or give --accept-loss to go on with these"
        )
    }

    private static func changed(_ name: String) -> GatewayError {
        GatewayError(.invalidRequest, "\(name) of the backup is damaged or was changed; use another backup")
    }

    /// What was done, for who asked.
    package struct Outcome {
        package let isWholeLog: Bool
        package let position: LogPosition
        /// The new identity, in hexadecimal; nil for a log that kept its own.
        package let logID: String?
        package let bodiesLost: UInt64
        package let purges: Int
        /// Whether the key that signed the log's checkpoints is there and goes on signing; else the first start makes one.
        package let signsAsBefore: Bool

        package var json: [UInt8] {
            JSONWriter.object { json in
                json.string("mode", (isWholeLog ? RestoreMarker.Mode.log : .keys).rawValue)
                json.number("position", position.rawValue)
                json.string("log_id", logID)
                json.number("bodies_lost", bodiesLost)
                json.number("purges", purges)
                json.string("log_key", signsAsBefore ? "kept" : "new")
            }
        }
    }

    // MARK: Run

    /// - Parameter progress: told of each file that is copied.
    package func run(progress: (LogCopy.File) -> Void) async throws -> Outcome {
        try DirectoryLock.refuseHeld(directory: data)
        try DataOwner.check(data)
        // An empty one that others may write to would be refused for the root key that is to be made in it.
        PrivateDirectory.adopt(data)
        // Who is refused must find everything as it was, without so much as a lock where there was nothing.
        let early: Plan? = try mode(among: (try? storage.list(data)) ?? []) == .log ? planLog() : nil
        try storage.makeDurableDirectory(data)
        let lock = try DirectoryLock(directory: data)
        defer { withExtendedLifetime(lock) {} }
        // Again, now that nobody else can change it.
        let plan: Plan
        switch try mode(among: try storage.list(data)) {
        case .log: plan = try early ?? planLog()
        case .keys: plan = try explainingDamage(planKeys)
        }
        try undoInterrupted()
        return try await carryOut(plan, lock, progress)
    }

    /// What is to be done, found by reading alone.
    private struct Plan {
        let mode: RestoreMarker.Mode
        let state: LogState
        let purges: PurgeReplay
        let bodiesLost: UInt64
        /// Whether the log gets an identity of its own, because history that somebody may know is missing.
        let isNewLog: Bool
        let signsAsBefore: Bool
    }

    // MARK: What is there

    /// What is to be restored, by the names in the data directory, without those that an interrupted restore left.
    private func mode(among names: [String]) throws -> RestoreMarker.Mode {
        let interrupted = try RestoreMarker.load(data, storage: storage)
        try checkRootKeys(interrupted)
        let left = names.filter { interrupted?.owns($0) != true && !isHarmless($0, interrupted) }.sorted()
        if interrupted?.mode != .log, left.contains(where: LogCopy.isSegment) { return .keys }
        if let other = left.first {
            throw GatewayError(
                .invalidRequest,
                interrupted == nil
                    ? "\(data) is neither empty nor a log: there is \(other) in it"
                    : "a restore into \(data) was interrupted, and it did not make \(other); move that away"
            )
        }
        if names.contains(Checkpoint.fileName), let signed = try signedCheckpoint() {
            _ = try isShort(manifest.position, "the backup", of: signed)
        }
        return .log
    }

    /// - Throws: `invalidRequest` when there is a root key that no restore made.
    private func checkRootKeys(_ interrupted: RestoreMarker?) throws {
        if let interrupted, interrupted.generation != nil, interrupted.keyRoot != RootKeys.shown(keyRoot) {
            throw GatewayError(
                .invalidRequest,
                "a restore with --key-root \(interrupted.keyRoot) was interrupted here; finish it with the same one"
            )
        }
        for generation in try root.generations() {
            if try interrupted?.made(generation, in: root) == true { continue }
            throw GatewayError(
                .invalidRequest,
                "there is a root key at \(RootKeys.shown(keyRoot)), and a restore makes a new one; point --key-root "
                    + "elsewhere, or destroy it if no log needs it any more"
            )
        }
    }

    /// Whether a file may be where a log is to be restored.
    private func isHarmless(_ name: String, _ interrupted: RestoreMarker?) -> Bool {
        switch name {
        case RestoreMarker.name, RestoreMarker.temporaryName, Checkpoint.fileName: true
        // Media may have a disk of their own, which must be empty then.
        case MediaFiles.directoryName:
            (interrupted?.mode == .log && isMediaOfBackup()) || isEmpty(name)
        // What a fresh file system brings.
        case "lost+found": true
        default:
            LogOpening.traces.contains(name) || name.hasPrefix(Restore.asidePrefix) || isKeyFile(name, keyRoot)
                || isKeyFile(name, logKey)
        }
    }

    private func isEmpty(_ directory: String) -> Bool {
        (try? storage.list(data + "/" + directory))?.allSatisfy { $0 == "lost+found" } == true
    }

    /// Whether all media files that are there are such as this backup has, so that an interrupted restore may have made them.
    private func isMediaOfBackup() -> Bool {
        let (there, backup) = (MediaFiles(directory: data), MediaFiles(directory: source))
        return
            (try? there.files(storage).allSatisfy { file in
                let sizes = try [there, backup].map { files in
                    try storage.open(files.path(message: file.message, index: file.index), .read).size
                }
                return sizes[0] == sizes[1]
            }) == true
    }

    /// Whether it is the file of a key that was checked elsewhere.
    private func isKeyFile(_ name: String, _ file: String) -> Bool {
        let path = AbsolutePath.resolved(data) + "/" + name
        let key = AbsolutePath.resolved(file)
        return path == key || path == key + ".tmp"
    }

    /// The checkpoint that lies in the data directory, when it can be read.
    private func signedCheckpoint() throws -> Checkpoint? {
        try Checkpoint.load(data).flatMap { SignedNote($0) }.flatMap { Checkpoint(text: $0.text) }
    }

    /// Whether a history that ends with `last` lacks records of the one that was signed.
    ///
    /// - Throws: `invalidRequest` when it does, unless that is accepted.
    private func isShort(_ last: LogPosition, _ name: String, of signed: Checkpoint) throws -> Bool {
        guard signed.size > last.rawValue else { return false }
        if acceptsLoss { return true }
        throw GatewayError(
            .invalidRequest,
            "the checkpoint in \(data) is of \(signed.size) records, and \(name) has \(last); "
                + "give --accept-loss to go on without the others"
        )
    }

    // MARK: Plan

    /// Reads the history of the backup.
    private func planLog() throws -> Plan {
        try checkHistoryAndMedia()
        let log = try ReadOnlyLog(directory: source)
        guard try log.reader.tree().root == manifest.root else {
            throw GatewayError(
                .invalidRequest,
                "the backup's history is not the one its manifest names; use another backup"
            )
        }
        return try plan(.log, log, isNewLog: true)
    }

    /// Checks that the log which is there is the backup's, and goes on from it.
    private func planKeys() throws -> Plan {
        let log = try ReadOnlyLog(directory: data, isLocked: true)
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
        var isNewLog = false
        if let signed = try signedCheckpoint() {
            isNewLog = try isShort(log.end, "the log there", of: signed)
            if !isNewLog, try tiles.root(of: 0..<signed.size) != signed.root {
                throw GatewayError(
                    .invalidRequest,
                    "the log in \(data) is not what its checkpoint was signed for; run waybill verify, and move the file "
                        + "\(Checkpoint.fileName) away if it is an earlier log's"
                )
            }
        }
        return try plan(.keys, log, isNewLog: isNewLog)
    }

    private func plan(_ mode: RestoreMarker.Mode, _ log: ReadOnlyLog, isNewLog: Bool) throws -> Plan {
        var state = LogState()
        try state.catchUp(log.reader, through: log.end)
        let purges = try PurgeReplay(state, log.reader)
        let signsAsBefore = try checkLogKey(state)
        let lost = mode == .keys ? try countLost(log.reader, state, purges) : 0
        if lost > 0, !acceptsLoss {
            throw GatewayError(
                .invalidRequest,
                "\(lost) bodies were sealed after the backup under keys that it does not hold; "
                    + "give --accept-loss to go on without them"
            )
        }
        return Plan(
            mode: mode,
            state: state,
            purges: purges,
            bodiesLost: lost,
            isNewLog: isNewLog,
            signsAsBefore: signsAsBefore
        )
    }

    /// Says what to do about a log that is damaged, where only its keys were lost.
    private func explainingDamage(_ read: () throws -> Plan) throws -> Plan {
        do {
            return try read()
        } catch let error as LogError where error.code == .corrupt {
            throw LogError(
                .corrupt,
                "\(error.message). No key was written. Put the segment files that waybill verify names back from a backup, "
                    + "or restore into an empty directory"
            )
        }
    }

    /// Whether the key that signs checkpoints is there.
    ///
    /// - Throws: `invalidRequest` when another log's is.
    private func checkLogKey(_ state: LogState) throws -> Bool {
        guard let seed = try KeyFile.log(path: logKey).load() else { return false }
        guard VerifierKey(state.verifierKey)?.publicKey == Ed25519.publicKey(seed: seed) else {
            throw GatewayError(
                .invalidRequest,
                "the key at \(logKey) is not the one that this history says its checkpoints are signed with; move it away, "
                    + "or point log_key elsewhere, and the first start makes a new one"
            )
        }
        return true
    }

    /// Records with a body that is not purged, and whose key the backup cannot hold.
    private func countLost(_ reader: LogReader, _ state: LogState, _ purges: PurgeReplay) throws -> UInt64 {
        var lost: UInt64 = 0
        try reader.scan(from: manifest.position.next) { view in
            guard let reference = KeyReference(view.sealed), !archive.knows(reference.epoch) else { return }
            // Secrets that ended, too, are destroyed by key, and no reader asks for them.
            let isPurged =
                purges.destroys(reference)
                || state.purges.bars(
                    recordAt: view.position,
                    client: view.client,
                    conversation: view.conversation,
                    message: view.message
                )
            if !isPurged { lost += 1 }
        }
        return lost
    }

    // MARK: Carry out

    /// What an earlier run wrote, which nobody has used.
    private func undoInterrupted() throws {
        guard let interrupted = try RestoreMarker.load(data, storage: storage) else { return }
        for generation in try root.generations() {
            if try interrupted.made(generation, in: root) { try root.destroy(generation) }
        }
        guard interrupted.mode == .log else { return }
        let aside = data + "/" + Restore.asidePrefix + Hex.encode(Crypto.publicRandomBytes(4))
        for name in try storage.list(data) where interrupted.owns(name) { try undo(name, aside) }
        try MediaFiles(directory: data).remove(storage) { _, _ in true }
        try storage.syncDirectory(data)
    }

    /// Begins the name of the directory for what may be somebody's.
    private static let asidePrefix = "set-aside-"

    /// Removes a file that is half of a copy, or one of the backup. Any other may have come there since, for all logs have the same
    /// names: it is set aside.
    private func undo(_ name: String, _ aside: String) throws {
        let copied = manifest.files.first { $0.name == name }
        if try name.hasSuffix(LogCopy.partSuffix) || LogCopy.isPrepared(name)
            || copied.map({ try Restore.isSame($0, in: data) }) == true
        {
            return try storage.remove(data + "/" + name)
        }
        try storage.makeDurableDirectory(aside)
        try storage.rename(data + "/" + name, to: aside + "/" + name)
        try storage.syncDirectory(aside)
    }

    /// Writes what was planned, puts the restore on record, and lets others in.
    private func carryOut(
        _ plan: Plan,
        _ lock: DirectoryLock,
        _ progress: (LogCopy.File) -> Void
    ) async throws -> Outcome {
        let segments = manifest.files.filter { LogCopy.isSegment($0.name) }
        let marker = RestoreMarker(plan.mode, keyRoot: keyRoot, segments: segments.map(\.name))
        try marker.store(in: data, storage: storage)
        if plan.mode == .log { try copy(segments, plan, progress) }
        let state = plan.state
        let age = KeyStore.Age(generation: state.rootGeneration, epoch: UInt32(clamping: state.keyEpoch))
        let marked = MarkedRootKeys(root: root, marker: marker, directory: data, storage: storage)
        try archive.install(in: data, root: marked, without: plan.purges.targets, age: age)
        // Where only the keys were lost, files of purges that were under way may still be there.
        try MediaFiles(directory: data).remove(storage) { file, _ in plan.purges.covers(file.message, state) }
        let event = event(of: plan)
        let ledger = try await Ledger.open(
            directory: data,
            root: root,
            configuration: quietly,
            version: WaybillVersion.current,
            isSandbox: false,
            restored: event,
            lock: lock
        )
        let position = ledger.head
        await ledger.close(reason: "restore")
        try RestoreMarker.remove(in: data, storage: storage)
        return Outcome(
            isWholeLog: plan.mode == .log,
            position: position,
            logID: plan.isNewLog ? Hex.encode(event.logId.bytes) : nil,
            bodiesLost: plan.bodiesLost,
            purges: plan.purges.count,
            signsAsBefore: plan.signsAsBefore
        )
    }

    /// Copies segments and media files into a directory that has none.
    private func copy(_ segments: [LogCopy.File], _ plan: Plan, _ progress: (LogCopy.File) -> Void) throws {
        for file in segments {
            let (size, digest) = try LogCopy.copy(source + "/" + file.name, to: data + "/" + file.name)
            guard size == file.size, digest == file.digest else { throw Restore.changed(file.name) }
            progress(file)
        }
        _ = try MediaFiles(directory: source).copy(
            to: MediaFiles(directory: data),
            where: { !plan.purges.covers($0, plan.state) },
            done: { (_: MediaFiles.File) throws(LogError) -> Void in }
        )
        try storage.syncDirectory(data)
    }

    private func event(of plan: Plan) -> LogRestored {
        var event = LogRestored()
        event.backupPosition = manifest.position
        event.lossAccepted = acceptsLoss
        let before = plan.state.identity
        event.logIdBefore = RawBytes(before.isEmpty ? Hex.decode(manifest.logID) ?? [] : before)
        event.logId = RawBytes(plan.isNewLog ? Crypto.publicRandomBytes(16) : [])
        event.bodiesLost = plan.bodiesLost
        return event
    }

    /// Without what works in the background, whose files the marker does not name.
    private var quietly: LogConfiguration {
        var configuration = log
        configuration.sealing = false
        configuration.scrubInterval = nil
        return configuration
    }
}
