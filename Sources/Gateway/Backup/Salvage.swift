package import Log
import Projections

/// Makes a new log of what is whole in one that a start refuses because acknowledged records are damaged. What and why:
/// `docs/backup.md`.
///
/// The damaged one stays as it is. The new one is made beside where it is to be, and gets its name when it is whole.
package struct Salvage {
    private static let partSuffix = ".salvaging"
    private let source: String
    private let target: String
    private let keyRoot: String
    private let log: LogConfiguration
    private let storage = PosixStorage()

    /// - Parameters:
    ///   - keyRoot: where the root key of the damaged log is.
    ///   - log: how the new one is written.
    package init(of source: String, to target: String, keyRoot: String, log: LogConfiguration) {
        self.source = source
        var target = AbsolutePath.of(target)[...]
        while target.count > 1, target.last == "/" { target.removeLast() }
        self.target = String(target)
        self.keyRoot = keyRoot
        self.log = log
    }

    /// What was done, for who asked.
    package struct Outcome {
        package let position: LogPosition
        /// The new identity, in hexadecimal.
        package let logID: String
        package let through: LogPosition
        package let lost: [ClosedRange<UInt64>]
        package let lostCount: UInt64
        /// Where the root key of the new log is, as it may be shown.
        package let keyRoot: String

        package var json: [UInt8] {
            JSONWriter.object { json in
                json.number("position", position.rawValue)
                json.string("log_id", logID)
                json.number("through", through.rawValue)
                json.number("lost_count", lostCount)
                json.array("lost") { json in
                    for run in lost {
                        json.element { json in
                            json.object { json in
                                json.number("first_position", run.lowerBound)
                                json.number("last_position", run.upperBound)
                            }
                        }
                    }
                }
                json.string("key_root", keyRoot)
            }
        }
    }

    // MARK: Run

    /// - Parameter progress: told of each record that is copied.
    /// - Returns: nil when there is nothing to salvage, because the log opens.
    package func run(progress: (LogPosition) -> Void) async throws -> Outcome? {
        try checkSource()
        let part = try makeTarget()
        let lock = try DirectoryLock(directory: source)
        defer { withExtendedLifetime(lock) {} }
        if try opens() { return nil }
        // Whether its keys open is asked before anything is written.
        _ = try KeyStore.openForReading(directory: source, root: try RootKeys.holder(keyRoot), storage: storage)
        try storage.makeDurableDirectory(part)
        let copied = try copyRecords(to: part, progress)
        let newKeyRoot = try copyKeys(to: part)
        _ = try MediaFiles(directory: source).copy(
            to: MediaFiles(directory: part),
            where: { _ in true },
            done: { (_: MediaFiles.File) throws(LogError) -> Void in }
        )
        let event = event(of: copied)
        let position = try await goOn(in: part, newKeyRoot, event)
        // Over an empty directory this puts the new one in its place.
        try storage.rename(part, to: target)
        try storage.syncDirectory(parent)
        return Outcome(
            position: position,
            logID: Hex.encode(event.logId.bytes),
            through: copied.through,
            lost: copied.lost,
            lostCount: copied.lostCount,
            keyRoot: RootKeys.shown(newKeyRoot == keyRoot ? keyRoot : newKeyPath(in: target))
        )
    }

    private var parent: String {
        let slash = target.lastIndex(of: "/")
        return slash.map { $0 == target.startIndex ? "/" : String(target[..<$0]) } ?? "."
    }

    private func checkSource() throws {
        guard let names = try? storage.list(source), names.contains(where: LogCopy.isSegment) else {
            throw GatewayError(.notFound, "there is no log in \(source); check --data")
        }
        try DirectoryLock.refuseHeld(directory: source)
        try DataOwner.check(source)
        try RestoreMarker.refuse(in: source, storage: storage)
    }

    /// - Returns: where the new log is made.
    private func makeTarget() throws -> String {
        if let there = try? storage.list(target), !there.isEmpty {
            throw GatewayError(.invalidRequest, "\(target) is not empty; name a directory that does not exist yet")
        }
        if AbsolutePath.resolved(target) == AbsolutePath.resolved(source) || AbsolutePath.lies(target, in: source) {
            throw GatewayError(.invalidRequest, "\(target) lies in the damaged data directory; name one beside it")
        }
        let part = target + Salvage.partSuffix
        guard (try? storage.list(part)) == nil else {
            throw GatewayError(.invalidRequest, "\(part) is left of a salvage that was interrupted; remove it")
        }
        return part
    }

    /// Whether a start would find nothing wrong.
    private func opens() throws -> Bool {
        do {
            let log = try ReadOnlyLog(directory: source, isLocked: true)
            var state = LogState()
            try state.catchUp(log.reader, through: log.end)
            return true
        } catch let error as LogError where error.code == .corrupt {
            return false
        }
    }

    // MARK: Copy

    private func copyRecords(to part: String, _ progress: (LogPosition) -> Void) throws -> SalvageCopy.Outcome {
        let log = try ReadOnlyLog(directory: source, isSalvage: true, isLocked: true)
        return try SalvageCopy(log).write(
            to: part,
            segmentBytes: self.log.segmentBytes,
            filler: Salvage.filler,
            progress: progress
        )
    }

    /// What stands in the place of a lost record. The first holds the key of all ids, which then are others.
    private static func filler(_ position: LogPosition, _ run: ClosedRange<UInt64>) -> RecordDraft {
        if position == LogPosition(1) {
            var created = LogCreated()
            created.formatVersion = 1
            created.idKey = RawBytes(Crypto.randomBytes(OpaqueID.keySize))
            return RecordDraft(type: EventType.logCreated.rawValue, payload: created.encoded)
        }
        var lost = RecordLost()
        lost.first = LogPosition(run.lowerBound)
        lost.last = LogPosition(run.upperBound)
        return RecordDraft(type: EventType.recordLost.rawValue, payload: lost.encoded)
    }

    /// Copies the key state, and the root key where that lies in the damaged directory.
    ///
    /// - Returns: where the root key is now.
    private func copyKeys(to part: String) throws -> String {
        for name in try storage.list(source) where KeyArchive.isKeyState(name) {
            _ = try LogCopy.copy(source + "/" + name, to: part + "/" + name)
        }
        var newKeyRoot = keyRoot
        if !PKCS11URI.isOne(keyRoot), AbsolutePath.lies(keyRoot, in: source) {
            newKeyRoot = newKeyPath(in: part)
            _ = try LogCopy.copy(keyRoot, to: newKeyRoot)
        }
        try storage.syncDirectory(part)
        return newKeyRoot
    }

    private func newKeyPath(in directory: String) -> String {
        directory + "/" + (keyRoot.split(separator: "/").last.map(String.init) ?? "root.key")
    }

    private func event(of copied: SalvageCopy.Outcome) -> LogSalvaged {
        var event = LogSalvaged()
        event.logIdBefore = RawBytes(copied.logID)
        event.logId = RawBytes(Crypto.publicRandomBytes(16))
        event.through = copied.through
        event.lostCount = copied.lostCount
        event.lost.values = copied.lost.prefix(LogSalvaged.runsMax).flatMap {
            [LogPosition($0.lowerBound), LogPosition($0.upperBound)]
        }
        // A damaged one says nothing; that is no reason to stop.
        let note = (try? Checkpoint.load(source)).flatMap { $0 }.flatMap { SignedNote($0) }
        if let checkpoint = note.flatMap({ Checkpoint(text: $0.text) }) {
            event.checkpointSize = checkpoint.size
            event.checkpointRoot = checkpoint.root
        }
        return event
    }

    /// Opens the new log once, which begins a new epoch of keys, and puts on record what it is.
    private func goOn(in part: String, _ keyRoot: String, _ event: LogSalvaged) async throws -> LogPosition {
        var configuration = log
        configuration.sealing = false
        configuration.scrubInterval = nil
        let ledger = try await Ledger.open(
            directory: part,
            root: try RootKeys.holder(keyRoot),
            configuration: configuration,
            version: WaybillVersion.current,
            isSandbox: false,
            salvaged: event
        )
        let position = ledger.head
        await ledger.close(reason: "salvage")
        return position
    }
}
