/// A log that is locked and read, and not yet changed: what recovery will do is decided, so that whoever cannot go on
/// without the whole history may read it before anything is written. A start that is refused then leaves all as it was, however
/// often it is tried; only `lock` and `status`, which say nothing without a writer, are a new process's.
package struct LogOpening: ~Copyable {
    /// The names of those two.
    package static let traces: Set<String> = [LogPath.lock, LogPath.status]

    private let recovery: Recovery
    private let found: Recovery.Found
    private let now: @Sendable () -> UInt64
    private let alarm: @Sendable (LogError) -> Void
    private let lock: DirectoryLock?
    /// Reads what the log will hold once it is open.
    package let reader: LogReader

    /// Takes the writer's lock and reads what a crash may have left. Parameters as for `EventLog.open`.
    ///
    /// - Parameter lock: the lock of this directory, when the caller has it already and goes on having it.
    /// - Throws: `locked`, `corrupt`, `unknownFormat` or `inputOutput`.
    package init(
        directory: String,
        configuration: LogConfiguration = LogConfiguration(),
        storage: any Storage = PosixStorage(),
        now: @escaping @Sendable () -> UInt64 = GuardedClock().reader,
        lock held: DirectoryLock? = nil,
        alarm: @escaping @Sendable (LogError) -> Void = { _ in }
    ) throws(LogError) {
        let configuration = try configuration.validated()
        let isReal = storage is PosixStorage
        try storage.makeDurableDirectory(directory)
        var lock = held
        if isReal, lock == nil { lock = try DirectoryLock(directory: directory) }
        if isReal { StatusPage.forget(directory + "/" + LogPath.status) }
        let recovery = Recovery(storage: storage, directory: directory, configuration: configuration)
        found = try recovery.examine()
        reader = recovery.reader(of: found, alarm: alarm)
        self.recovery = recovery
        self.lock = lock
        self.now = now
        self.alarm = alarm
    }

    /// Recovers the log and begins to write.
    ///
    /// - Throws: `diskFull` or `inputOutput`.
    package consuming func finish() throws(LogError) -> EventLog {
        let recovered = try recovery.perform(found)
        let path = recovery.directory + "/" + LogPath.status
        let status = lock == nil ? nil : try StatusPage.create(path, durable: recovered.durable)
        let log = EventLog(recovered, recovery, now, alarm, lock, status)
        log.start()
        return log
    }
}
