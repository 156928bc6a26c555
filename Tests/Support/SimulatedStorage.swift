import Glibc
package import Log
import Synchronization

/// A disk in memory whose cache and medium are apart, for tests of what a crash or a failing disk leaves behind.
///
/// - `write` reaches the cache; `sync` brings that file's dirty sectors to the medium; creating, renaming and removing are
///   volatile until the directory is synced.
/// - `crash` gives a new storage that holds what was on the medium and any part of what was not synced.
/// - A `hook` sees every call before it happens and can make it fail. A failed sync marks the sectors clean although they
///   are not on the medium, and they stay readable, as on Linux. A failed write leaves half of its bytes.
/// - With `setRoom` the disk can be full: files cannot grow beyond it together.
///
/// Everything below `lock` is guarded by it. Hooks run without it, so that they may look at, crash or even block.
package final class SimulatedStorage: Storage {
    /// Returns the error number that the call is to fail with, or nil to let it happen.
    package typealias Hook = @Sendable (StorageCall, SimulatedStorage) -> Int32?

    private struct Disk {
        var root: SimulatedDirectory
        var room: Int?
        var calls = 0
        var hook: Hook?
    }

    private let lock: Mutex<Disk>

    package convenience init() { self.init(root: SimulatedDirectory(), room: nil) }

    /// A disk with an empty directory on it that no crash can take away.
    package convenience init(directory: String) {
        self.init()
        lock.withLock { disk in
            let (parent, name) = SimulatedStorage.split(directory)
            guard let parent = SimulatedStorage.find(parent, in: disk.root) else { return }
            parent.add(name, .directory(SimulatedDirectory()))
            parent.sync()
        }
    }

    private init(root: SimulatedDirectory, room: Int?) { lock = Mutex(Disk(root: root, room: room)) }

    // MARK: What tests do to it

    package func setHook(_ hook: Hook?) { lock.withLock { $0.hook = hook } }

    /// Limits the bytes that all files may have together; nil for no limit.
    package func setRoom(_ bytes: Int?) { lock.withLock { $0.room = bytes } }

    /// What a machine that stops now finds on its disk afterwards. This storage goes on as if nothing had happened.
    package func crash(
        using generator: inout SeededGenerator,
        _ options: CrashOptions = CrashOptions()
    )
        -> SimulatedStorage
    {
        let room: Int?
        let image: SimulatedDirectory
        (image, room, generator) = lock.withLock { [generator] disk in
            var generator = generator
            let image = disk.root.crashed(seed: generator.next(), options)
            if options.misdirectsWrite { disk.root.misdirect(in: image, using: &generator) }
            return (image, disk.room, generator)
        }
        let crashed = SimulatedStorage(root: image, room: room)
        for _ in 0..<options.bitFlips { crashed.flipRandomBit(using: &generator) }
        return crashed
    }

    /// Whether every file is as the medium has it.
    package var isSynced: Bool { lock.withLock { !$0.root.files().values.contains { $0.hasUnsynced } } }

    /// Names and bytes of every file, as the running system sees them.
    package var contents: [String: [UInt8]] {
        lock.withLock { $0.root.files().mapValues { [UInt8]($0.bytes) } }
    }

    /// The paths of every file, in order.
    package var paths: [String] { lock.withLock { $0.root.files().keys.sorted() } }

    /// Changes bytes of a file on cache and medium at once, as a failing disk does. False when there is no such byte.
    @discardableResult
    package func damage(_ path: String, at offset: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void) -> Bool {
        lock.withLock { disk in
            guard let content = disk.root.files()[path], offset < content.size else { return false }
            content.damage(at: offset, body)
            return true
        }
    }

    private func flipRandomBit(using generator: inout SeededGenerator) {
        let sizes = lock.withLock { disk in disk.root.files().mapValues(\.size).sorted { $0.key < $1.key } }
        guard let (path, size) = sizes.filter({ $0.value > 0 }).randomElement(using: &generator) else { return }
        let offset = Int.random(in: 0..<size, using: &generator)
        let bit = UInt8(1) << UInt8.random(in: 0..<8, using: &generator)
        damage(path, at: offset) { $0[0] ^= bit }
    }

    // MARK: Storage

    package func makeDirectory(_ path: String) throws(LogError) {
        try begin(.makeDirectory, path)
        try locked(path) { disk in
            let (parent, name) = SimulatedStorage.split(path)
            if SimulatedStorage.find(path, in: disk.root) != nil { return nil }
            guard let directory = SimulatedStorage.find(parent, in: disk.root) else { return ENOENT }
            directory.add(name, .directory(SimulatedDirectory()))
            return nil
        }
    }

    package func list(_ directory: String) throws(LogError) -> [String] {
        try begin(.list, directory)
        let names = lock.withLock { SimulatedStorage.find(directory, in: $0.root).map { Array($0.entries.keys) } }
        guard let names else { throw SimulatedStorage.error(ENOENT, "list", directory) }
        return names
    }

    package func open(_ path: String, _ mode: StorageMode) throws(LogError) -> any StorageFile {
        let creates = mode == .create || mode == .createUncached
        try begin(creates ? .create : .open, path)
        let (parent, name) = SimulatedStorage.split(path)
        let content = lock.withLock { disk -> SimulatedContent? in
            guard let directory = SimulatedStorage.find(parent, in: disk.root) else { return nil }
            let existing = directory.entries[name]
            guard creates else {
                if case .file(let content) = existing { return content } else { return nil }
            }
            guard existing == nil else { return nil }
            let content = SimulatedContent(path: path)
            directory.add(name, .file(content))
            return content
        }
        guard let content else { throw SimulatedStorage.error(creates ? EEXIST : ENOENT, "open", path) }
        return SimulatedFile(
            content: content,
            storage: self,
            isWritable: mode == .readWrite || creates,
            isUncached: mode == .createUncached
        )
    }

    package func renameNew(_ source: String, to target: String) throws(LogError) {
        let (parent, name) = SimulatedStorage.split(target)
        let exists = lock.withLock { SimulatedStorage.find(parent, in: $0.root)?.entries[name] != nil }
        if exists { throw SimulatedStorage.error(EEXIST, "give its name to", source) }
        try rename(source, to: target)
    }

    package func rename(_ source: String, to target: String) throws(LogError) {
        try begin(.rename, source)
        try locked(source) { disk in
            let (parent, name) = SimulatedStorage.split(source)
            let (targetParent, targetName) = SimulatedStorage.split(target)
            guard parent == targetParent else { return EXDEV }
            guard let directory = SimulatedStorage.find(parent, in: disk.root), let node = directory.entries[name]
            else { return ENOENT }
            directory.rename(name, to: targetName)
            if case .file(let content) = node { content.path = target }
            return nil
        }
    }

    package func remove(_ path: String) throws(LogError) {
        try begin(.remove, path)
        try locked(path) { disk in
            let (parent, name) = SimulatedStorage.split(path)
            guard let directory = SimulatedStorage.find(parent, in: disk.root), let node = directory.entries[name]
            else { return ENOENT }
            if case .directory(let found) = node, !found.entries.isEmpty { return ENOTEMPTY }
            directory.remove(name)
            return nil
        }
    }

    package func syncDirectory(_ directory: String) throws(LogError) { try openDirectory(directory).sync() }

    package func openDirectory(_ directory: String) throws(LogError) -> any StorageDirectory {
        try begin(.open, directory)
        guard lock.withLock({ SimulatedStorage.find(directory, in: $0.root) != nil }) else {
            throw SimulatedStorage.error(ENOENT, "open", directory)
        }
        return OpenDirectory(storage: self, path: directory)
    }

    // MARK: What files need

    fileprivate func syncOpenDirectory(_ directory: String) throws(LogError) {
        try begin(.syncDirectory, directory)
        try locked(directory) { disk in
            guard let found = SimulatedStorage.find(directory, in: disk.root) else { return ENOENT }
            found.sync()
            return nil
        }
    }

    /// Counts the call, shows it to the hook, and throws what the hook answers.
    fileprivate func begin(
        _ kind: StorageCall.Kind,
        _ path: String,
        at offset: Int = 0,
        count: Int = 0
    ) throws(LogError) {
        guard let number = announce(kind, path, at: offset, count: count) else { return }
        guard kind.changesAllOrNothing else { throw SimulatedStorage.error(number, "\(kind)", path) }
        throw LogError(before: "\(kind)", "\(path): \(String(cString: strerror(number))) (simulated)", errno: number)
    }

    fileprivate func announce(_ kind: StorageCall.Kind, _ path: String, at offset: Int = 0, count: Int = 0) -> Int32? {
        let (hook, number) = lock.withLock { disk in
            disk.calls += 1
            return (disk.hook, disk.calls)
        }
        return hook?(StorageCall(number: number, kind: kind, path: path, offset: offset, count: count), self)
    }

    /// Runs `body` with the lock held; it returns an error number to fail with.
    private func locked(_ path: String, _ body: (inout Disk) -> Int32?) throws(LogError) {
        if let number = lock.withLock({ body(&$0) }) { throw SimulatedStorage.error(number, "change", path) }
    }

    fileprivate func holds(_ content: SimulatedContent) -> Bool {
        lock.withLock { disk in disk.root.files().values.contains { $0 === content } }
    }

    fileprivate func access<T: Sendable>(_ body: () -> T) -> T { lock.withLock { _ in body() } }

    /// How many of `count` bytes at `offset` the disk has room for.
    fileprivate func grow(_ content: SimulatedContent, offset: Int, count: Int) -> Int {
        lock.withLock { disk in
            guard let room = disk.room, offset + count > content.size else { return count }
            let used = disk.root.files().values.reduce(0) { $0 + $1.size }
            return min(count, max(0, room - used + content.size - offset))
        }
    }

    fileprivate static func error(_ number: Int32, _ operation: String, _ path: String) -> LogError {
        let code: LogError.Code = number == ENOSPC || number == EDQUOT ? .diskFull : .inputOutput
        let reason = String(cString: strerror(number))
        return LogError(code, "could not \(operation) \(path): \(reason) (simulated)", errno: number)
    }

    // MARK: Paths

    private static func split(_ path: String) -> (parent: String, name: String) {
        let parts = path.split(separator: "/")
        return (parts.dropLast().joined(separator: "/"), String(parts.last ?? ""))
    }

    private static func find(_ path: String, in root: SimulatedDirectory) -> SimulatedDirectory? {
        var directory = root
        for part in path.split(separator: "/") {
            guard case .directory(let next) = directory.entries[String(part)] else { return nil }
            directory = next
        }
        return directory
    }
}

/// One call into a `SimulatedStorage`, as hooks see it.
package struct StorageCall: Sendable, CustomStringConvertible {
    package enum Kind: Sendable, CaseIterable {
        case makeDirectory
        case list
        case open
        case create
        case rename
        case remove
        case syncDirectory
        case inspect
        case read
        case write
        case sync
        case truncate
        case map
    }

    /// Counts all calls of one storage, from 1.
    package let number: Int
    package let kind: Kind
    /// The path as the file is called now.
    package let path: String
    package let offset: Int
    package let count: Int

    package var description: String { "\(kind) \(path) at \(offset), \(count) bytes" }

    /// Whether the call changes the cache or the medium.
    package var changesSomething: Bool {
        switch kind {
        case .list, .open, .inspect, .read, .map: false
        case .makeDirectory, .create, .rename, .remove, .syncDirectory, .write, .sync, .truncate: true
        }
    }
}

/// What a crash does beyond losing unsynced sectors and directory changes.
package struct CrashOptions: Sendable {
    /// What a sector that was being written when the machine stopped holds afterwards.
    package enum LostSector: Sendable {
        /// What it held before.
        case old
        /// What it held before, or random bytes.
        case garbage
        /// What it held before, or the bytes at the same place in another file.
        case stale
    }

    package var lostSectors = LostSector.old
    /// Bits flipped anywhere, also in what was synced.
    package var bitFlips = 0
    /// One unsynced sector lands over another sector of its file.
    package var misdirectsWrite = false

    package init(lostSectors: LostSector = .old, bitFlips: Int = 0, misdirectsWrite: Bool = false) {
        self.lostSectors = lostSectors
        self.bitFlips = bitFlips
        self.misdirectsWrite = misdirectsWrite
    }
}

extension StorageCall.Kind {
    /// Whether a call that fails has done nothing.
    fileprivate var changesAllOrNothing: Bool {
        switch self {
        case .makeDirectory, .list, .open, .create, .rename, .remove, .map: true
        case .syncDirectory, .inspect, .read, .write, .sync, .truncate: false
        }
    }
}

private final class OpenDirectory: StorageDirectory {
    private let storage: SimulatedStorage
    private let path: String

    init(storage: SimulatedStorage, path: String) {
        self.storage = storage
        self.path = path
    }

    func sync() throws(LogError) { try storage.syncOpenDirectory(path) }
}

private final class SimulatedFile: StorageFile {
    private let content: SimulatedContent
    private let storage: SimulatedStorage
    private let isWritable: Bool
    private let isUncached: Bool

    init(content: SimulatedContent, storage: SimulatedStorage, isWritable: Bool, isUncached: Bool) {
        self.content = content
        self.storage = storage
        self.isWritable = isWritable
        self.isUncached = isUncached
    }

    private var path: String { storage.access { content.path } }

    var size: Int {
        get throws(LogError) {
            try storage.begin(.inspect, path)
            return storage.access { content.size }
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(LogError) -> Int {
        try storage.begin(.read, path, at: offset, count: buffer.count)
        return storage.access { content.read(into: buffer, at: offset) }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(LogError) {
        try checkWritable()
        // What O_DIRECT insists on.
        if isUncached, [offset, bytes.count, Int(bitPattern: bytes.baseAddress)].contains(where: { $0 % 4096 != 0 }) {
            throw SimulatedStorage.error(EINVAL, "write unaligned", path)
        }
        let failure = storage.announce(.write, path, at: offset, count: bytes.count)
        let room = storage.grow(content, offset: offset, count: bytes.count)
        let done = failure == nil ? room : min(room, bytes.count / 2)
        storage.access { content.write(UnsafeRawBufferPointer(rebasing: bytes[0..<done]), at: offset) }
        if let number = failure ?? (done < bytes.count ? ENOSPC : nil) {
            throw SimulatedStorage.error(number, "write", path)
        }
    }

    func sync() throws(LogError) {
        if let number = storage.announce(.sync, path) {
            storage.access { content.failSync() }
            throw SimulatedStorage.error(number, "sync", path)
        }
        storage.access { content.sync() }
    }

    func truncate(to size: Int) throws(LogError) {
        try checkWritable()
        try storage.begin(.truncate, path, count: size)
        storage.access { content.truncate(to: size) }
    }

    var isLinked: Bool { storage.holds(content) }

    /// The cache itself: later writes show in it, without a lock, as in a real shared map.
    func map(length: Int) throws(LogError) -> MappedRegion {
        try storage.begin(.map, path, count: length)
        return MappedRegion(content.memory, count: length) { [content] _, _ in _ = content }
    }

    private func checkWritable() throws(LogError) {
        guard isWritable else { throw SimulatedStorage.error(EBADF, "write", path) }
    }
}
