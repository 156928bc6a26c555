import COpenSSL

/// The file of pages, `keys-<number>`: three slots for the root page, then pages that are only ever added.
///
/// A tree of pages, each sealed under a key that lies in the page above it (after Reardon, Basin and Capkun, "On secure data
/// deletion", 2014, and their B-tree of 2013): root page, index pages, what is left of each epoch. Whoever changes
/// one page writes it anew under a new key, and with it the path up to the root; the old ones stay in the file until it is
/// written anew, but nobody can open them once the old root key is gone.
///
/// Every batch begins on a block of 4096 bytes of its own, so that no write touches what is in use.
struct KeyPages {
    static let firstPage = RootSlot.size * RootSlot.count
    /// How much may be out of use before the file is written anew: this much and four times what is in use.
    private static let wasteMax = 1 << 20
    private static let magic = [UInt8]("waybill key page v1".utf8)

    let storage: any Storage
    let directory: String
    let number: UInt64
    let file: any StorageFile
    /// Where the next page goes.
    private(set) var end: Int

    private static let prefix = "keys-"

    private static func path(_ directory: String, _ number: UInt64) -> String {
        directory + "/" + prefix + String(number)
    }

    /// The numbers of the files in `directory`, ascending. There are two only while the file is written anew.
    static func numbers(_ storage: any Storage, _ directory: String) throws(LogError) -> [UInt64] {
        try storage.list(directory).compactMap { number(of: $0) }.sorted()
    }

    /// The number in the name of such a file; nil for any other name.
    static func number(of name: String) -> UInt64? {
        name.hasPrefix(prefix) ? UInt64(name.dropFirst(prefix.count)) : nil
    }

    static func open(
        _ storage: any Storage,
        _ directory: String,
        number: UInt64,
        _ mode: StorageMode
    ) throws(LogError) -> KeyPages {
        let file = try storage.open(path(directory, number), mode)
        return KeyPages(
            storage: storage,
            directory: directory,
            number: number,
            file: file,
            end: max(Block.roundUp(try file.size), firstPage)
        )
    }

    /// Removes a file that does not hold the state.
    static func remove(_ storage: any Storage, _ directory: String, number: UInt64) throws(LogError) {
        try storage.remove(path(directory, number))
    }

    /// Makes an empty file, in place of one that was never finished; its name is durable when this returns.
    static func create(
        _ storage: any Storage,
        _ directory: String,
        number: UInt64
    ) throws(LogError) -> KeyPages {
        if try numbers(storage, directory).contains(number) { try remove(storage, directory, number: number) }
        let file = try storage.open(path(directory, number), .create)
        // Zeros and not a hole: a full disk must be met here, and not when a root page is written.
        try file.writeAll([UInt8](repeating: 0, count: firstPage), at: 0)
        try file.sync()
        try storage.syncDirectory(directory)
        return KeyPages(
            storage: storage,
            directory: directory,
            number: number,
            file: file,
            end: firstPage
        )
    }

    // MARK: Pages

    static func seal(_ plaintext: inout [UInt8], key: Digest) -> [UInt8] {
        defer { Crypto.erase(&plaintext) }
        var keyBytes = key.bytes
        defer { Crypto.erase(&keyBytes) }
        return AEAD.seal(plaintext, key: keyBytes, authenticated: magic)
    }

    /// The plaintext of a page. Whoever takes it erases it.
    static func open(_ file: any StorageFile, _ place: PagePlace, key: Digest) throws(LogError) -> [UInt8] {
        var keyBytes = key.bytes
        defer { Crypto.erase(&keyBytes) }
        guard let plaintext = AEAD.open(try read(file, place), key: keyBytes, authenticated: magic) else {
            throw KeyPages.damaged
        }
        return plaintext
    }

    static func read(_ file: any StorageFile, _ place: PagePlace) throws(LogError) -> [UInt8] {
        guard place.offset >= firstPage, place.length <= 1 << 30, try place.offset <= file.size - place.length else {
            throw KeyPages.damaged
        }
        return try read(file, at: place.offset, count: place.length)
    }

    private static func read(_ file: any StorageFile, at offset: Int, count: Int) throws(LogError) -> [UInt8] {
        let buffer = ReusedBuffer()
        defer { withExtendedLifetime(buffer) {} }
        let memory = buffer.reserve(count)
        let read = try file.read(into: memory, at: offset)
        return [UInt8](UnsafeRawBufferPointer(rebasing: memory[..<read]))
    }

    static var damaged: LogError {
        LogError(
            .keyUnavailable,
            "the key state does not open under this root key, or is damaged; check --key-root or restore a backup"
        )
    }

    // MARK: Slots

    /// The slots that are whole, by their place.
    func slots() throws(LogError) -> [Int: RootSlot] {
        var slots: [Int: RootSlot] = [:]
        for index in 0..<RootSlot.count {
            let bytes = try KeyPages.read(file, at: index * RootSlot.size, count: RootSlot.size)
            if let slot = RootSlot(bytes) { slots[index] = slot }
        }
        return slots
    }

    /// Writes the root page to a slot; not durable before `file.sync`.
    func write(_ slot: RootSlot, at index: Int) throws(LogError) {
        guard let bytes = slot.encoded else {
            throw LogError(.keyUnavailable, "the key state has more epochs than its root page has room for")
        }
        try file.writeAll(bytes, at: index * RootSlot.size)
    }

    /// Adds a sealed page; not durable before `endBatch`.
    mutating func append(_ box: [UInt8]) throws(LogError) -> PagePlace {
        try file.writeAll(box, at: end)
        defer { end += box.count }
        return PagePlace(offset: end, length: box.count)
    }

    /// Makes what was added durable. What comes next begins on a block of its own.
    mutating func endBatch() throws(LogError) {
        end = Block.roundUp(end)
        try file.sync()
    }

    /// Whether the file should be written anew.
    func isWasteful(_ used: Int) -> Bool { end > KeyPages.firstPage + KeyPages.wasteMax + 4 * used }
}
