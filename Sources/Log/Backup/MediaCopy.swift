import Glibc

/// The media files of a data directory or a backup as a whole.
extension MediaFiles {
    /// One file, by the message that it belongs to.
    package struct File: Sendable, Equatable {
        package let message: LogPosition
        package let index: UInt32

        package init(message: LogPosition, index: UInt32) {
            self.message = message
            self.index = index
        }
    }

    /// How many files there are, and how many bytes in them.
    package struct Tally: Sendable, Equatable {
        package var files: UInt64 = 0
        package var bytes: UInt64 = 0

        package init(files: UInt64 = 0, bytes: UInt64 = 0) {
            self.files = files
            self.bytes = bytes
        }

        mutating func add(_ size: UInt64) {
            files += 1
            bytes += size
        }
    }

    /// Every whole file, in the order of the messages. Files come and go meanwhile: what is there before and after is in it.
    package func files(_ storage: any Storage = PosixStorage()) throws(LogError) -> [File] {
        var found: [File] = []
        for directory in try directories(storage) {
            for name in try MediaFiles.names(in: directory, storage) {
                guard let (message, index) = MediaFiles.parse(name), self.directory(of: message) == directory else {
                    continue
                }
                found.append(File(message: message, index: index))
            }
        }
        return found.sorted { ($0.message, $0.index) < ($1.message, $1.index) }
    }

    /// Those of the directories in which files of messages can lie that are there.
    private func directories(_ storage: any Storage) throws(LogError) -> [String] {
        var found: [String] = []
        for name in try MediaFiles.names(in: root, storage) {
            if let number = UInt64(name), String(number) == name { found.append(root + "/" + name) }
        }
        return found
    }

    /// The names in a directory; none where there is no such directory, or not any more.
    private static func names(in directory: String, _ storage: any Storage) throws(LogError) -> [String] {
        do {
            return try storage.list(directory)
        } catch {
            if error.errno == ENOENT || error.errno == ENOTDIR { return [] }
            throw error
        }
    }

    /// Counts files and bytes.
    package func tally(_ storage: any Storage = PosixStorage()) throws(LogError) -> Tally {
        var tally = Tally()
        for file in try files(storage) {
            tally.add(UInt64(try storage.open(path(message: file.message, index: file.index), .read).size))
        }
        return tally
    }

    /// Copies whole files to where there are none yet, each durable with its name when this returns.
    ///
    /// One that disappears meanwhile belongs to a message that is purged, and is left out.
    ///
    /// - Parameters:
    ///   - isWanted: whether files of a message are to be copied.
    ///   - done: told of each file.
    /// - Returns: what was copied.
    package func copy(
        to target: MediaFiles,
        storage: any Storage = PosixStorage(),
        where isWanted: (LogPosition) -> Bool,
        done: (File) throws(LogError) -> Void
    ) throws(LogError) -> Tally {
        var tally = Tally()
        var written: String?
        for file in try files(storage) where isWanted(file.message) {
            let path = path(message: file.message, index: file.index)
            guard let input = try MediaFiles.open(path, storage) else { continue }
            let directory = target.directory(of: file.message)
            if directory != written {
                // Files are in order, so nothing comes into a directory that was left behind.
                if let written { try storage.syncDirectory(written) }
                try storage.makeDurableDirectory(target.root)
                try storage.makeDurableDirectory(directory)
                written = directory
            }
            let copied = try LogCopy.copy(
                input,
                path,
                to: target.path(message: file.message, index: file.index),
                storage
            )
            tally.add(copied.size)
            try done(file)
        }
        if let written { try storage.syncDirectory(written) }
        return tally
    }

    /// Nil when the file is not there any more.
    private static func open(_ path: String, _ storage: any Storage) throws(LogError) -> (any StorageFile)? {
        do {
            return try storage.open(path, .read)
        } catch {
            if error.errno == ENOENT { return nil }
            throw error
        }
    }

    /// Removes files of messages, and the directories that are empty then. Whatever else lies there stays.
    ///
    /// - Parameter isUnwanted: is asked for each file, also for those that are being written.
    package func remove(
        _ storage: any Storage = PosixStorage(),
        where isUnwanted: (_ file: File, _ isPart: Bool) -> Bool
    ) throws(LogError) {
        for directory in try directories(storage) {
            var isChanged = false
            for name in try MediaFiles.names(in: directory, storage) {
                let isPart = name.hasSuffix(MediaFiles.partSuffix)
                let whole = isPart ? String(name.dropLast(MediaFiles.partSuffix.count)) : name
                guard let (message, index) = MediaFiles.parse(whole),
                    isUnwanted(File(message: message, index: index), isPart)
                else { continue }
                try MediaFiles.ignoringMissing { () throws(LogError) in try storage.remove(directory + "/" + name) }
                isChanged = true
            }
            guard isChanged else { continue }
            try MediaFiles.ignoringMissing { () throws(LogError) in
                try storage.syncDirectory(directory)
                if try MediaFiles.names(in: directory, storage).isEmpty { try storage.remove(directory) }
            }
        }
    }

    /// What somebody else has removed meanwhile need not be removed.
    package static func ignoringMissing(_ body: () throws(LogError) -> Void) throws(LogError) {
        do {
            try body()
        } catch {
            guard error.errno == ENOENT else { throw error }
        }
    }
}
