/// Where each epoch's tree is: its seed, while nothing of it was destroyed, or else the page with what is left.
///
/// Epochs are counted from 1; entries are in the order of the numbers.
struct EpochDirectory: Sendable {
    /// What is known of one epoch. Its secret — the seed, or the key of its page — lies beside it in `secrets`.
    struct Entry: Sendable, Equatable {
        let number: UInt32
        var kind: Kind
        var page = PagePlace.none
    }

    enum Kind: UInt8, Sendable {
        case seed = 0
        case page = 1
    }

    /// How many entries an index page holds.
    static let perPage = 256
    /// Number (4), kind (1), zeros (3), page offset (8), page length (4), zeros (4), secret (32); little-endian.
    private static let entrySize = 56

    private(set) var entries: [Entry] = []
    private var secrets = LockedKeys()
    /// Where the index pages lie, each with its key.
    private(set) var indexPages: [PagePlace] = []
    private var indexKeys = LockedKeys()

    var newest: UInt32 { entries.last?.number ?? 0 }

    func index(of number: UInt32) -> Int? {
        let index = entries.partitionPoint { $0.number < number }
        return index < entries.count && entries[index].number == number ? index : nil
    }

    func secret(_ index: Int) -> Digest { secrets[index] }

    /// The bytes of all pages that are in use.
    var pageBytes: Int {
        indexPages.reduce(0) { $0 + $1.length } + entries.reduce(0) { $0 + $1.page.length }
    }

    /// One entry that is to be as given; at the end for a new one.
    struct Change {
        let index: Int
        let entry: Entry
        let secret: Digest
    }

    mutating func apply(_ changes: [Change]) {
        for change in changes {
            if change.index == entries.count {
                entries.append(change.entry)
                secrets.append(change.secret)
            } else {
                entries[change.index] = change.entry
                secrets[change.index] = change.secret
            }
        }
    }

    mutating func place(_ page: Int, _ place: PagePlace, key: Digest) {
        if page == indexPages.count {
            indexPages.append(place)
            indexKeys.append(key)
        } else {
            indexPages[page] = place
            indexKeys[page] = key
        }
    }

    // MARK: Bytes

    /// How many index pages the entries take.
    var indexPageCount: Int { (entries.count + EpochDirectory.perPage - 1) / EpochDirectory.perPage }

    /// The entries of one index page.
    func encoded(page: Int) -> [UInt8] {
        let indices = (page * EpochDirectory.perPage)..<min((page + 1) * EpochDirectory.perPage, entries.count)
        var output = [UInt8](repeating: 0, count: indices.count * EpochDirectory.entrySize)
        output.withUnsafeMutableBytes { bytes in
            var writer = LittleEndianWriter(bytes)
            for (row, index) in indices.enumerated() {
                let start = row * EpochDirectory.entrySize
                writer.write(entries[index].number, at: start)
                writer.write(entries[index].kind.rawValue, at: start + 4)
                writer.write(UInt64(entries[index].page.offset), at: start + 8)
                writer.write(UInt32(entries[index].page.length), at: start + 16)
                writer.write(secrets[index], at: start + 24)
            }
        }
        return output
    }

    var rootPage: RootPage {
        RootPage(pages: indexPages.indices.map { (indexPages[$0], indexKeys[$0]) })
    }

    /// Takes the entries of the next index page. False when the bytes are none.
    mutating func read(page bytes: [UInt8], at place: PagePlace, key: Digest) -> Bool {
        guard bytes.count % EpochDirectory.entrySize == 0 else { return false }
        let isRead = bytes.withUnsafeBytes { bytes in
            for start in stride(from: 0, to: bytes.count, by: EpochDirectory.entrySize) {
                let number = bytes.integer(start, as: UInt32.self)
                guard number > newest, let kind = Kind(rawValue: bytes[start + 4]) else { return false }
                let page = PagePlace(
                    offset: Int(clamping: bytes.integer(start + 8, as: UInt64.self)),
                    length: Int(bytes.integer(start + 16, as: UInt32.self))
                )
                entries.append(Entry(number: number, kind: kind, page: page))
                secrets.append(Digest(bytes, at: start + 24))
            }
            return true
        }
        self.place(indexPages.count, place, key: key)
        return isRead
    }
}

/// Where a page lies in the file of pages, in bytes.
struct PagePlace: Sendable, Equatable {
    static let none = PagePlace(offset: 0, length: 0)

    var offset: Int
    var length: Int
}
