/// What was left of the keys at one moment, sealed under a key of its own: a backup's part of the key state.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | magic "WAYBKBK1" |
/// | 8 | 16 | salt |
/// | 24 | … | chunks: length of the box (4), box |
///
/// A chunk is one epoch: number (4), kind (1), zeros (3), then the seed, or the tree as on an epoch page; the last one is empty.
/// Boxes are authenticated with their place and with whether they are the last, so none can be moved, left out or cut off
/// (STREAM: Hoang, Reyhanitabar, Rogaway and Vizár, CRYPTO 2015).
package struct KeyArchive: Sendable {
    static let magic = [UInt8]("WAYBKBK1".utf8)
    static let saltSize = 16
    static let headSize = magic.count + saltSize

    /// Ascending by number.
    let epochs: [KeyState.Change]

    /// The newest epoch, or 0 when there is none.
    package var newest: UInt32 { epochs.last?.number ?? 0 }

    /// Whether keys of an epoch can be in here.
    package func knows(_ epoch: UInt32) -> Bool {
        let index = epochs.partitionPoint { $0.number < epoch }
        return index < epochs.count && epochs[index].number == epoch
    }

    /// Opens a file that `KeySnapshot.write` made.
    ///
    /// - Throws: `keyUnavailable` when the key is another one, or a bit of the file has changed.
    package static func read(
        _ path: String,
        key: [UInt8],
        storage: any Storage = PosixStorage()
    ) throws(LogError) -> KeyArchive {
        let bytes = try storage.readAll(path, limit: 1 << 40)
        guard bytes.starts(with: magic), bytes.count >= headSize else { throw damaged }
        var boxes = ArchiveBoxes(key: key, salt: [UInt8](bytes[magic.count..<headSize]))
        defer { boxes.erase() }
        var epochs: [KeyState.Change] = []
        var offset = headSize
        while true {
            guard bytes.count - offset >= 4 else { throw damaged }
            let length = bytes[offset..<(offset + 4)].reversed().reduce(0) { $0 << 8 | Int($1) }
            offset += 4
            guard length <= bytes.count - offset else { throw damaged }
            let isLast = offset + length == bytes.count
            var plaintext = try boxes.open([UInt8](bytes[offset..<(offset + length)]), isLast: isLast)
            defer { Crypto.erase(&plaintext) }
            offset += length
            if isLast {
                guard plaintext.isEmpty else { throw damaged }
                return KeyArchive(epochs: epochs)
            }
            guard let epoch = epoch(plaintext), epoch.number > epochs.last?.number ?? 0 else { throw damaged }
            epochs.append(epoch)
        }
    }

    static var damaged: LogError {
        LogError(
            .keyUnavailable,
            "the keys of the backup do not open under this backup key, or are damaged; give the right --backup-key"
        )
    }

    // MARK: Epochs

    private static let epochHeadSize = 8

    static func encode(_ number: UInt32, _ content: KeyState.Change.Content) -> [UInt8] {
        var body: [UInt8]
        let kind: EpochDirectory.Kind
        switch content {
        case .seed(let seed): (kind, body) = (.seed, seed.bytes)
        case .tree(let tree): (kind, body) = (.page, tree.encoded)
        }
        defer { Crypto.erase(&body) }
        var head = [UInt8](repeating: 0, count: epochHeadSize)
        head.withUnsafeMutableBytes { bytes in
            var writer = LittleEndianWriter(bytes)
            writer.write(number, at: 0)
            writer.write(kind.rawValue, at: 4)
        }
        return head + body
    }

    private static func epoch(_ bytes: [UInt8]) -> KeyState.Change? {
        guard bytes.count >= epochHeadSize, let kind = EpochDirectory.Kind(rawValue: bytes[4]),
            bytes[5..<8].allSatisfy({ $0 == 0 })
        else { return nil }
        let number = bytes.withUnsafeBytes { $0.integer(0, as: UInt32.self) }
        var body = [UInt8](bytes[epochHeadSize...])
        defer { Crypto.erase(&body) }
        switch kind {
        case .seed: return Digest(body).map { KeyState.Change(number: number, content: .seed($0)) }
        case .page: return PuncturedTree(body).map { KeyState.Change(number: number, content: .tree($0)) }
        }
    }

    // MARK: Restore

    /// Whether a file of this name in a data directory holds a key state.
    package static func isKeyState(_ name: String) -> Bool { KeyPages.number(of: name) != nil }

    /// Makes a key state of what is in here but `targets`, under a new root key. None of the destroyed keys is ever written.
    ///
    /// - Parameter age: what the history says; the new state begins behind it, so that no epoch comes twice.
    /// - Throws: `keyUnavailable` when `root` holds a key already, which might be another log's.
    package func install(
        in directory: String,
        root: any RootKeyHolder,
        without targets: [KeyStore.Target],
        age: KeyStore.Age,
        storage: any Storage = PosixStorage()
    ) throws(LogError) {
        defer { Crypto.eraseStack(128 << 10) }
        guard try root.generations().isEmpty else {
            throw LogError(
                .keyUnavailable,
                "there is a root key already where the new one is to be made; move it away or point --key-root elsewhere"
            )
        }
        let destroyed = KeyStore.Prefixes(targets)
        var epochs = self.epochs.map { epoch in
            let tree =
                switch epoch.content {
                case .seed(let seed): PuncturedTree(seed: seed)
                case .tree(let tree): tree
                }
            guard let left = tree.puncturing(destroyed.of(epoch.number)) else { return epoch }
            return KeyState.Change(number: epoch.number, content: .tree(left))
        }
        if age.epoch > newest, let nothing = PuncturedTree(seed: .random()).puncturing([.root]) {
            epochs.append(KeyState.Change(number: age.epoch, content: .tree(nothing)))
        }
        try KeyState.restore(storage, directory, root: root, generation: age.generation + 1, epochs)
    }
}

/// Seals and opens the boxes of an archive, one after the other.
struct ArchiveBoxes {
    private var key: [UInt8]
    private var next: UInt64 = 0

    init(key: [UInt8], salt: [UInt8]) {
        self.key = Crypto.sha256([UInt8]("waybill key archive v1".utf8) + key + salt)
    }

    mutating func seal(_ plaintext: inout [UInt8], isLast: Bool) -> [UInt8] {
        defer { Crypto.erase(&plaintext) }
        return AEAD.seal(plaintext, key: key, authenticated: place(isLast))
    }

    mutating func open(_ box: [UInt8], isLast: Bool) throws(LogError) -> [UInt8] {
        guard let plaintext = AEAD.open(box, key: key, authenticated: place(isLast)) else { throw KeyArchive.damaged }
        return plaintext
    }

    private mutating func place(_ isLast: Bool) -> [UInt8] {
        defer { next += 1 }
        return KeyArchive.magic + withUnsafeBytes(of: next.littleEndian) { [UInt8]($0) } + [isLast ? 1 : 0]
    }

    mutating func erase() { Crypto.erase(&key) }
}

/// Writes an archive, epoch by epoch.
struct KeyArchiveWriter {
    private let file: any StorageFile
    private var boxes: ArchiveBoxes
    private var end = KeyArchive.headSize

    /// - Parameter file: a new one, which is still empty.
    init(_ file: any StorageFile, key: [UInt8]) throws(LogError) {
        let salt = Crypto.randomBytes(KeyArchive.saltSize)
        self.file = file
        boxes = ArchiveBoxes(key: key, salt: salt)
        try file.writeAll(KeyArchive.magic + salt, at: 0)
    }

    mutating func add(_ number: UInt32, _ content: KeyState.Change.Content) throws(LogError) {
        var plaintext = KeyArchive.encode(number, content)
        try write(boxes.seal(&plaintext, isLast: false))
    }

    /// Writes the end, without which it cannot be read. The caller syncs.
    mutating func finish() throws(LogError) {
        var nothing: [UInt8] = []
        try write(boxes.seal(&nothing, isLast: true))
        boxes.erase()
    }

    private mutating func write(_ box: [UInt8]) throws(LogError) {
        try file.writeAll(withUnsafeBytes(of: UInt32(box.count).littleEndian) { [UInt8]($0) } + box, at: end)
        end += 4 + box.count
    }
}
