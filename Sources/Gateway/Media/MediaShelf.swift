package import Log
import Logging
import Projections

/// The sealed files of messages on disk: `DATA/media/…`.
package struct MediaShelf: Sendable {
    let ledger: Ledger
    let files: MediaFiles
    let storage: any Storage
    let uses = MediaUses()
    private let directory: String
    /// What files leave free for the log and the keys, which are worth more, in bytes.
    private let reserve: UInt64

    package init(
        ledger: Ledger,
        directory: String,
        reserve: UInt64 = 64 << 20,
        storage: any Storage = PosixStorage()
    ) {
        self.ledger = ledger
        self.storage = storage
        self.directory = directory
        self.reserve = reserve
        files = MediaFiles(directory: directory)
    }

    /// - Throws: `diskFull` while there is no room for files.
    func admit() throws(LogError) {
        try ledger.log.admitEdge()
        if let free = storage.freeBytes(directory), free < reserve {
            throw LogError(.diskFull, "\(free) bytes are free, and files leave \(reserve) to the log")
        }
    }

    /// A file that is being written. Its final name is given when all of it is there.
    ///
    /// - Throws: `bodyPurged`, `diskFull`, and what else the disk refuses.
    func writer(_ message: LogPosition, _ index: Int) throws -> SealedFileWriter {
        try admit()
        if ledger.plan({ $0.isPurged(message) }) { throw GatewayError.purged }
        let reference = try ledger.keyReference(at: message)
        guard let leaf = try ledger.keys.find(reference) else { throw GatewayError.purged }
        try storage.makeDurableDirectory(files.root)
        try storage.makeDurableDirectory(files.directory(of: message))
        return try SealedFileWriter(
            files.path(message: message, index: UInt32(index)) + MediaFiles.partSuffix,
            storage: storage,
            reference: reference,
            leaf: leaf,
            message: message,
            index: UInt32(index)
        )
    }

    /// - Throws: `bodyPurged`, or what is wrong with the file.
    func reader(_ message: LogPosition, _ index: Int) throws -> SealedFileReader {
        if ledger.plan({ $0.isPurged(message) }) { throw GatewayError.purged }
        do {
            return try SealedFileReader(
                files.path(message: message, index: UInt32(index)),
                storage: storage,
                message: message,
                index: UInt32(index),
                key: { try ledger.keys.find($0) }
            )
        } catch let error as LogError where error.code == .keyDestroyed {
            throw GatewayError.purged
        }
    }

    /// The whole of a short file.
    func read(_ message: LogPosition, _ index: Int) throws -> [UInt8] {
        let file = try open(message, index)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(try file.bytes()))
        for number in 0..<(try file.chunkCount()) { bytes += try file.chunk(number) }
        return bytes
    }

    /// What was provided of a file, or nil when the message has none of that number.
    func source(_ message: LogPosition, _ index: Int) throws -> MediaSource? {
        guard let platform = ledger.plan({ $0.inbox.messages[message]?.platform }),
            let content = try ledger.body(at: message, .content)
        else { return nil }
        return MediaSource(content, index: index, platform)
    }

    /// Unlinks all that there is of the files of these messages, finished or not.
    func remove(_ messages: [LogPosition: Int]) throws(LogError) {
        for (directory, members) in Dictionary(grouping: messages, by: { files.directory(of: $0.key) }) {
            for (message, count) in members {
                for index in 0..<count { try remove(message, index) }
            }
            try MediaFiles.ignoringMissing { () throws(LogError) in try storage.syncDirectory(directory) }
        }
    }

    private func remove(_ message: LogPosition, _ index: Int) throws(LogError) {
        let path = files.path(message: message, index: UInt32(index))
        for path in [path, path + MediaFiles.partSuffix] {
            try MediaFiles.ignoringMissing { () throws(LogError) in try storage.remove(path) }
        }
    }

    /// Removes what a crash left: parts, and files that no record of a living message names.
    func sweep(_ logger: Logger) {
        do {
            try files.remove(storage) { file, isPart in
                if !isPart, isNeeded(file) { return false }
                logger.notice("a file that belongs to no message is removed", metadata: ["message": "\(file.message)"])
                return true
            }
        } catch {
            // They are unreadable without their keys, and the next start tries again.
            logger.error("files that belong to no message could not be removed", metadata: ["error": "\(error)"])
        }
    }

    private func isNeeded(_ file: MediaFiles.File) -> Bool {
        ledger.plan { state in
            guard let row = state.media.rows[file.message], row.items.indices.contains(Int(file.index)) else {
                return false
            }
            return row.items[Int(file.index)].state == .fetched && !state.isPurged(file.message)
        }
    }
}
