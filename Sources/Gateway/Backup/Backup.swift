package import Log
package import Projections

/// Makes a backup: everything but the moment itself, which is the writer's (`BackupControl`).
///
/// Every file has its name once it is whole and on disk, and the manifest comes last: a directory without one is no backup.
package struct Backup: Sendable {
    let data: String
    package let target: String
    package let horizon: Timestamp
    package let key: [UInt8]
    /// Whether the key did not exist before.
    package let isKeyNew: Bool
    private let keyFile: String
    private let created: Timestamp
    private let storage = PosixStorage()
    private let isTargetNew: Bool

    /// Checks the target and takes the backup key, which is made when there is none.
    ///
    /// - Parameter days: from today to the horizon.
    /// - Throws: `notFound` when there is no log in `data`, `invalidRequest` when the target is not empty.
    package init(
        of data: String,
        to target: String,
        keyFile: String,
        days: Int,
        now: UInt64 = GuardedClock().now
    ) throws {
        // A wrong directory must not become a new log.
        _ = try ReadOnlyLog(directory: data)
        try DataOwner.check(data)
        guard !AbsolutePath.lies(keyFile, in: target) else {
            throw GatewayError(.invalidRequest, "the backup key must not lie in the backup; keep them apart")
        }
        isTargetNew = (try? storage.list(target)) == nil
        try storage.makeDurableDirectory(target)
        // A link may lead there only now that it is there.
        guard !AbsolutePath.lies(keyFile, in: target) else {
            throw GatewayError(.invalidRequest, "the backup key must not lie in the backup; keep them apart")
        }
        try Backup.requireEmpty(target, try storage.list(target).filter { $0 != "lost+found" })
        self.data = data
        self.target = target
        self.keyFile = keyFile
        let file = KeyFile.backup(path: keyFile)
        let known = try file.load()
        isKeyNew = known == nil
        key = try known ?? file.create()
        created = Timestamp(now)
        horizon = created.advanced(bySeconds: UInt64(days) * 86_400)
    }

    private static func requireEmpty(_ target: String, _ names: [String]) throws {
        if names.isEmpty { return }
        let isUnfinished =
            !names.contains(BackupManifest.name)
            && names.allSatisfy { BackupManifest.isPart($0) || $0 == MediaFiles.directoryName }
        throw GatewayError(
            .invalidRequest,
            isUnfinished
                ? "\(target) is not empty: it holds a backup that was never finished, for there is no \(BackupManifest.name) "
                    + "in it. Remove it, unless one is being made there now"
                : "\(target) is not empty; a backup needs a directory of its own"
        )
    }

    /// What the writer is to be asked for.
    package var request: [UInt8] {
        JSONWriter.object { json in
            json.string("to", target)
            json.string("key", Hex.encode(key))
            json.time("horizon", horizon)
        }
    }

    /// Copies the rest of the history and the media files, and completes the backup.
    ///
    /// - Parameters:
    ///   - isInterrupted: asked now and then; true ends it.
    ///   - progress: told of each file of the log that is done.
    package func finish(
        _ answer: [UInt8],
        isInterrupted: () -> Bool = { false },
        progress: (LogCopy.File) -> Void
    ) throws -> [UInt8] {
        let begun = try BackupControl.Begun(answer)
        var files: [LogCopy.File] = []
        for name in try storage.list(target).sorted() where name == BackupManifest.keysName || LogCopy.isSegment(name) {
            let (size, digest) = try LogCopy.digest(of: target + "/" + name)
            files.append(LogCopy.File(name: name, size: size, digest: digest))
        }
        try LogCopy.copySegments(of: data, before: begun.segment, to: target) { (file) throws(LogError) -> Void in
            files.append(file)
            progress(file)
            try Backup.goOn(isInterrupted)
        }
        let report = try verify(begun)
        // Files come before the records that name them, so all that the history knows of are there by now.
        let media = try MediaFiles(directory: data).copy(
            to: MediaFiles(directory: target),
            where: { $0 <= begun.position },
            done: { (_: MediaFiles.File) throws(LogError) -> Void in try Backup.goOn(isInterrupted) }
        )
        let manifest = BackupManifest(
            created: created,
            horizon: horizon,
            logID: begun.logID,
            position: begun.position,
            root: report.root,
            keyEpoch: begun.keyEpoch,
            keyFile: keyFile,
            keyID: BackupKey.id(of: key),
            files: files.sorted { $0.name < $1.name },
            media: media
        )
        try storage.syncDirectory(target)
        try Backup.goOn(isInterrupted)
        try manifest.store(in: target, key: key, storage: storage)
        return JSONWriter.object { json in
            json.number("position", begun.position.rawValue)
            json.number("files", files.count)
            json.number("bytes", files.reduce(0) { $0 + $1.size })
            json.number("media_files", media.files)
            json.number("media_bytes", media.bytes)
            json.time("horizon", horizon)
            json.bool("key_created", isKeyNew)
        }
    }

    /// Whether the copy is whole, by reading all of it.
    private func verify(_ begun: BackupControl.Begun) throws -> LogVerifier.Report {
        let report = try LogVerifier(directory: target).run()
        if let finding = report.findings.first {
            throw GatewayError(
                .internalError,
                "the log is damaged: \(finding.problem) in \(finding.file) at offset \(finding.offset); run waybill verify"
            )
        }
        guard report.last == begun.position else {
            throw GatewayError(
                .internalError,
                "the copy ends at \(report.last) and not at \(begun.position); try again"
            )
        }
        return report
    }

    private static func goOn(_ isInterrupted: () -> Bool) throws(LogError) {
        if isInterrupted() { throw LogError(.closed, "the backup was interrupted; nothing is left of it") }
    }

    /// Removes what there is of a backup that failed. What cannot be removed stays, and without a manifest it is no backup.
    package func discard() {
        // First, so that half of a backup never looks like a whole one.
        try? storage.remove(target + "/" + BackupManifest.name)
        let names = (try? storage.list(target)) ?? []
        for name in names where BackupManifest.isPart(name) { try? storage.remove(target + "/" + name) }
        let media = MediaFiles(directory: target)
        try? media.remove(storage) { _, _ in true }
        try? storage.remove(media.root)
        try? storage.syncDirectory(target)
        if isTargetNew { try? storage.remove(target) }
    }
}
