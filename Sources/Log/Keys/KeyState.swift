/// The durable side of the keys: pages, root page, and the generations of the root key. One thread at a time changes it.
///
/// A change is made in this order, and each step is durable before the next:
///
/// 1. a new root key, when something is to be destroyed;
/// 2. the pages that changed, each under a new key, and the index pages above them;
/// 3. the root page, under the new root key, in the slot after the one that holds;
/// 4. the old root key is destroyed. From here on nobody can open the old pages.
///
/// A crash before 3 leaves the old state, and one behind it the new one: of the slots whose root key exists the one with the
/// highest sequence holds. Opening removes what the crash left over: the other root keys and files. After 4 the root page is
/// copied to the other slots; where there is a copy, the original is durable for certain.
struct KeyState {
    let root: any RootKeyHolder
    private(set) var pages: KeyPages
    /// The generation of the root key that the state is sealed under.
    private(set) var generation: UInt64
    private var sequence: UInt64
    private(set) var directory: EpochDirectory
    /// Set by a failed step: nobody knows then what is on disk.
    private(set) var failure: LogError?
    /// Why root keys and files that do not belong to the state that holds are still there. What is on disk is known, and the next
    /// change removes them first; until then what was destroyed could be opened again by whoever has the disk.
    private(set) var unfinished: LogError?
    /// The slot that holds. Durable for certain once leftovers are removed.
    private var holder: Int
    /// The slot to write once more what holds to, when it may have been read from a cache only.
    private let refuge: Int?

    private init(
        root: any RootKeyHolder,
        pages: KeyPages,
        generation: UInt64,
        sequence: UInt64,
        directory: EpochDirectory,
        holder: Int,
        refuge: Int?
    ) {
        self.root = root
        self.pages = pages
        self.generation = generation
        self.sequence = sequence
        self.directory = directory
        self.holder = holder
        self.refuge = refuge
    }

    /// One epoch as it is to be.
    struct Change: Sendable {
        let number: UInt32
        let content: Content

        enum Content: Sendable {
            case seed(Digest)
            case tree(PuncturedTree)
        }
    }

    // MARK: Open

    /// A state without epochs, in a fresh directory.
    static func create(
        _ storage: any Storage,
        _ directory: String,
        root: any RootKeyHolder
    ) throws(LogError) -> KeyState {
        let generations = try root.generations()
        // The file of pages comes first, so that a root key without one is another log's, whose purges would destroy it.
        let isOurs = try !KeyPages.numbers(storage, directory).isEmpty
        guard generations.isEmpty || isOurs else {
            throw LogError(
                .keyUnavailable,
                "the root key belongs to another log; point --key-root elsewhere, or remove it if that log is gone"
            )
        }
        try refuseUsed(storage, directory)
        let pages = try KeyPages.create(storage, directory, number: 1)
        if generations.isEmpty { try root.create(1) }
        return empty(root, pages, generation: generations.last ?? 1)
    }

    private static func empty(_ root: any RootKeyHolder, _ pages: KeyPages, generation: UInt64) -> KeyState {
        KeyState(
            root: root,
            pages: pages,
            generation: generation,
            sequence: 0,
            directory: EpochDirectory(),
            holder: 0,
            refuge: nil
        )
    }

    /// Makes a state of what a backup held, beside whatever files of pages are there, which a start then removes.
    static func restore(
        _ storage: any Storage,
        _ directory: String,
        root: any RootKeyHolder,
        generation: UInt64,
        _ epochs: [Change]
    ) throws(LogError) {
        let numbers = try KeyPages.numbers(storage, directory)
        // A slot of an old file must never be one of a generation that exists again.
        var highest = generation
        for number in numbers {
            let slots = try KeyPages.open(storage, directory, number: number, .read).slots().values
            highest = slots.reduce(highest) { max($0, $1.generation + 1) }
        }
        let pages = try KeyPages.create(storage, directory, number: (numbers.last ?? 0) + 1)
        try root.create(highest)
        var state = empty(root, pages, generation: highest)
        try state.commit(epochs, underNewRoot: false)
    }

    /// What a crash leaves before the first record has at most one state, and no purge. Anything else belongs to a log that is
    /// not here, perhaps not yet, and whose bodies are lost with it.
    private static func refuseUsed(_ storage: any Storage, _ directory: String) throws(LogError) {
        for number in try KeyPages.numbers(storage, directory) {
            let slots = try KeyPages.open(storage, directory, number: number, .read).slots().values
            guard slots.contains(where: { $0.sequence > 1 || $0.generation > 1 }) else { continue }
            throw LogError(
                .keyUnavailable,
                "\(directory) has a key state but no log; put the log back, or move the files keys-* away if it is gone"
            )
        }
    }

    /// The state that holds, as it is on disk.
    static func load(
        _ storage: any Storage,
        _ directory: String,
        root: any RootKeyHolder,
        _ mode: StorageMode
    ) throws(LogError) -> KeyState {
        let generations = try root.generations()
        var found: [Found] = []
        for number in try KeyPages.numbers(storage, directory) {
            let pages = try KeyPages.open(storage, directory, number: number, mode)
            for (place, slot) in try pages.slots() where generations.contains(slot.generation) {
                found.append(Found(pages: pages, place: place, slot: slot))
            }
        }
        for newest in found.sorted(by: { $0.slot.sequence > $1.slot.sequence }) {
            let slot = newest.slot
            let authenticated = RootSlot.authenticated(
                generation: slot.generation,
                sequence: slot.sequence,
                file: newest.pages.number
            )
            guard
                var bytes = try root.open(slot.box, generation: slot.generation, authenticated: authenticated)
            else { continue }
            defer { Crypto.erase(&bytes) }
            guard let page = RootPage(bytes) else { continue }
            return KeyState(
                root: root,
                pages: newest.pages,
                generation: slot.generation,
                sequence: slot.sequence,
                directory: try read(page, newest.pages),
                holder: newest.place,
                refuge: refuge(newest, found)
            )
        }
        throw KeyPages.damaged
    }

    /// A whole slot whose root key exists.
    private struct Found {
        let pages: KeyPages
        let place: Int
        let slot: RootSlot
    }

    /// A process that ended between writing and syncing a slot, or whose sync failed, leaves one that can be read and that a
    /// crash can still take away. What holds is then written once more, to neither this slot nor that of the state before.
    /// Not needed when there is a copy, which is written only after the sync, or when there is no other state.
    private static func refuge(_ newest: Found, _ found: [Found]) -> Int? {
        if found.count == 1 { return nil }
        let here = found.filter { $0.pages.number == newest.pages.number && $0.place != newest.place }
        if here.contains(where: { $0.slot.sequence == newest.slot.sequence }) { return nil }
        let places = (0..<RootSlot.count).filter { $0 != newest.place }
        return places.min { a, b in sequence(at: a) < sequence(at: b) }
        func sequence(at place: Int) -> UInt64 { here.first { $0.place == place }?.slot.sequence ?? 0 }
    }

    private static func read(_ root: RootPage, _ pages: KeyPages) throws(LogError) -> EpochDirectory {
        var directory = EpochDirectory()
        for (place, key) in root.pages {
            var bytes = try KeyPages.open(pages.file, place, key: key)
            defer { Crypto.erase(&bytes) }
            guard directory.read(page: bytes, at: place, key: key) else { throw KeyPages.damaged }
        }
        return directory
    }

    /// Completes what a crash interrupted: root keys and files that do not belong to the state that holds.
    mutating func removeLeftovers() throws(LogError) {
        if let refuge { try writeRoot(try rootSlot(generation, sequence), at: refuge) }
        try removeOthers()
    }

    private func removeOthers() throws(LogError) {
        for number in try KeyPages.numbers(pages.storage, pages.directory) where number != pages.number {
            try KeyPages.remove(pages.storage, pages.directory, number: number)
        }
        for other in try root.generations() where other != generation { try root.destroy(other) }
    }

    // MARK: Change

    /// Makes changes durable.
    ///
    /// - Parameter underNewRoot: true to destroy what the changes leave out, by destroying the root key.
    /// - Throws: after a failed step every later change fails too; a restart finds out what is on disk. A full disk, or a
    ///   call that failed before it changed anything, leaves all as it was. Where only the removal of what is old could not be done
    ///   now, nothing is thrown, and `unfinished` says so.
    mutating func commit(_ changes: [Change], underNewRoot: Bool) throws(LogError) {
        if let failure { throw failure }
        if unfinished != nil { try finish() }
        let before = self
        let next = underNewRoot ? generation + 1 : generation
        let slot: RootSlot
        do throws(LogError) {
            if underNewRoot { try root.create(next) }
            try writePages(changes)
            slot = try rootSlot(next, sequence + 1)
        } catch {
            guard error.code == .diskFull || error.isTransient else { throw fail(error) }
            // The root page says nothing of what was added, and everything is as it was.
            self = before
            if underNewRoot { later { [root] () throws(LogError) in try root.destroy(next) } }
            throw error
        }
        do throws(LogError) {
            try writeRoot(slot, at: (holder + 1) % RootSlot.count)
            generation = next
            sequence += 1
            if next != before.generation {
                try passing { [root] () throws(LogError) in try root.destroy(before.generation) }
            }
            if unfinished == nil { copy(slot) }
            if pages.number != before.pages.number {
                try passing { [pages] () throws(LogError) in
                    try KeyPages.remove(pages.storage, pages.directory, number: before.pages.number)
                }
            }
        } catch { throw fail(error) }
    }

    /// Removes what an earlier change had to leave.
    private mutating func finish() throws(LogError) {
        do throws(LogError) {
            try removeOthers()
            unfinished = nil
        } catch {
            guard error.isTransient else { throw fail(error) }
            throw error
        }
    }

    /// A removal that the next change makes up for when it cannot be done now.
    private mutating func passing(_ removal: () throws(LogError) -> Void) throws(LogError) {
        do throws(LogError) {
            try removal()
        } catch {
            guard error.isTransient else { throw error }
            unfinished = error
        }
    }

    /// As `passing`, whatever the reason: what failed before it is what the caller is to hear of.
    private mutating func later(_ removal: () throws(LogError) -> Void) {
        do throws(LogError) {
            try removal()
        } catch { unfinished = error }
    }

    /// Copies, in case a sector goes bad, and over what was sealed under the old root key. They are durable with whatever is
    /// written next, which is soon enough.
    private func copy(_ slot: RootSlot) {
        for place in 0..<RootSlot.count where place != holder { try? pages.write(slot, at: place) }
    }

    /// Nobody knows what a failed step left on disk.
    private mutating func fail(_ error: LogError) -> LogError {
        let failure = LogError(
            .keyUnavailable,
            "writing the key state failed; restart to go on. \(error.message)",
            errno: error.errno
        )
        self.failure = failure
        return failure
    }

    /// Writes what changed and the index pages above it, to a new file when the present one is full of what nobody needs.
    private mutating func writePages(_ changes: [Change]) throws(LogError) {
        let old = pages
        let isAnew = old.isWasteful(directory.pageBytes)
        if isAnew { pages = try KeyPages.create(old.storage, old.directory, number: old.number + 1) }
        var entries: [EpochDirectory.Change] = []
        var added = directory.entries.count
        for change in changes {
            let index = directory.index(of: change.number) ?? added
            if index == added { added += 1 }
            entries.append(try write(change, at: index))
        }
        if isAnew { entries += try move(from: old, except: Set(entries.map(\.index))) }
        let isTouched = Set(entries.map { $0.index / EpochDirectory.perPage })
        directory.apply(entries)
        for page in 0..<directory.indexPageCount where isAnew || isTouched.contains(page) {
            let key = Digest.random()
            var plaintext = directory.encoded(page: page)
            directory.place(page, try pages.append(KeyPages.seal(&plaintext, key: key)), key: key)
        }
        try pages.endBatch()
    }

    private mutating func write(_ change: Change, at index: Int) throws(LogError) -> EpochDirectory.Change {
        var entry = EpochDirectory.Entry(number: change.number, kind: .seed)
        switch change.content {
        case .seed(let seed): return EpochDirectory.Change(index: index, entry: entry, secret: seed)
        case .tree(let tree):
            let key = Digest.random()
            var plaintext = tree.encoded
            entry.kind = .page
            entry.page = try pages.append(KeyPages.seal(&plaintext, key: key))
            return EpochDirectory.Change(index: index, entry: entry, secret: key)
        }
    }

    /// Copies the sealed pages that stay as they are into a new file.
    private mutating func move(
        from old: KeyPages,
        except changed: Set<Int>
    ) throws(LogError) -> [EpochDirectory.Change] {
        var moved: [EpochDirectory.Change] = []
        for (index, entry) in directory.entries.enumerated() where entry.kind == .page && !changed.contains(index) {
            var entry = entry
            entry.page = try pages.append(try KeyPages.read(old.file, entry.page))
            moved.append(EpochDirectory.Change(index: index, entry: entry, secret: directory.secret(index)))
        }
        return moved
    }

    /// The root page, sealed for its place in the order of states.
    private func rootSlot(_ generation: UInt64, _ sequence: UInt64) throws(LogError) -> RootSlot {
        var plaintext = directory.rootPage.encoded
        defer { Crypto.erase(&plaintext) }
        let authenticated = RootSlot.authenticated(generation: generation, sequence: sequence, file: pages.number)
        let box = try root.seal(plaintext, generation: generation, authenticated: authenticated)
        return RootSlot(generation: generation, sequence: sequence, box: box)
    }

    private mutating func writeRoot(_ slot: RootSlot, at place: Int) throws(LogError) {
        try pages.write(slot, at: place)
        try pages.file.sync()
        holder = place
    }
}
