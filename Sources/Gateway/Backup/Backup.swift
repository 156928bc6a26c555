package import Log
package import Projections

/// Makes a backup: everything but the moment itself, which is the writer's (`BackupControl`).
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

    /// Checks the target and takes the backup key, which is made when there is none.
    ///
    /// - Parameter days: from today to the horizon.
    /// - Throws: `notFound` when there is no log in `data`, `invalidRequest` when the target is not empty.
    package init(
        of data: String,
        to target: String,
        keyFile: String,
        days: Int,
        now: UInt64 = EventLog.systemTime()
    ) throws {
        // A wrong directory must not become a new log.
        _ = try ReadOnlyLog(directory: data)
        guard !keyFile.hasPrefix(target + "/") else {
            throw GatewayError(.invalidRequest, "the backup key must not lie in the backup; keep them apart")
        }
        try storage.makeDurableDirectory(target)
        guard try storage.list(target).isEmpty else {
            throw GatewayError(.invalidRequest, "\(target) is not empty; a backup needs a directory of its own")
        }
        self.data = data
        self.target = target
        self.keyFile = keyFile
        let file = KeyFile.backup(path: keyFile)
        let known = try file.load()
        isKeyNew = known == nil
        key = try known ?? file.create()
        created = Timestamp(now)
        horizon = Timestamp(now + UInt64(days) * 86_400_000_000_000)
    }

    /// What the writer is to be asked for.
    package var request: [UInt8] {
        JSONWriter.object { json in
            json.string("to", target)
            json.string("key", Hex.encode(key))
            json.time("horizon", horizon)
        }
    }

    /// Copies the rest of the history and completes the backup.
    ///
    /// - Parameter progress: told of each file that is done.
    package func finish(_ answer: [UInt8], progress: (LogCopy.File) -> Void) throws -> [UInt8] {
        let begun = try BackupControl.Begun(answer)
        var files: [LogCopy.File] = []
        for name in try storage.list(target).sorted() {
            let (size, digest) = try LogCopy.digest(of: target + "/" + name)
            files.append(LogCopy.File(name: name, size: size, digest: digest))
        }
        try LogCopy.copySegments(of: data, before: begun.segment, to: target) { file in
            files.append(file)
            progress(file)
        }
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
        let manifest = BackupManifest(
            created: created,
            horizon: horizon,
            logID: begun.logID,
            position: begun.position,
            root: report.root,
            keyEpoch: begun.keyEpoch,
            keyFile: keyFile,
            keyID: BackupKey.id(of: key),
            files: files.sorted { $0.name < $1.name }
        )
        try storage.syncDirectory(target)
        try manifest.store(in: target, key: key, storage: storage)
        return JSONWriter.object { json in
            json.number("position", begun.position.rawValue)
            json.number("files", files.count)
            json.number("bytes", files.reduce(0) { $0 + $1.size })
            json.time("horizon", horizon)
            json.bool("key_created", isKeyNew)
        }
    }
}
