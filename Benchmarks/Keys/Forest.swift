import Glibc
import Log

/// Many issued keys, and a log beside them that purges are recorded in.
final class Forest {
    struct Cost {
        let count: Int
        let batches: Int
        let time: Duration
        /// Written to the file of pages.
        let bytes: Int
    }

    let keys: KeyStore
    let count: Int
    /// How long it took to issue them.
    private(set) var issuing = Duration.zero
    private let log: EventLog
    private let directory: String
    /// The first leaf of each epoch, counted over all.
    private var starts: [(epoch: UInt32, first: Int)] = []

    init(_ directory: String, leaves: Int) async throws {
        self.directory = directory
        mkdir(directory, 0o700)
        log = try EventLog.open(directory: directory)
        keys = try KeyStore.open(
            directory: directory,
            root: RootKeyFile(path: directory + "/root.key"),
            logIsEmpty: true,
            storage: PosixStorage()
        )
        count = leaves
        issuing = try ContinuousClock().measure {
            for index in 0..<leaves {
                let reference = try keys.issue(client: LogPosition(1), .message).reference
                if starts.last?.epoch != reference.epoch { starts.append((reference.epoch, index)) }
            }
        }
    }

    func shuffled(_ wanted: Int) -> [Int] {
        var chosen: Set<Int> = []
        while chosen.count < wanted { chosen.insert(Int.random(in: 0..<count)) }
        return Array(chosen)
    }

    private func target(_ index: Int) -> KeyStore.Target {
        let start = starts[starts.partitionPoint { $0.first <= index } - 1]
        let leaf = UInt64(index - start.first)
        return .leaf(KeyReference(client: 1, leaf: leaf, epoch: start.epoch, keyClass: .message))
    }

    func destroy(_ leaves: [Int], batch: Int) async throws -> Cost {
        var bytes = 0
        var batches = 0
        let begun = ContinuousClock.now
        for start in stride(from: 0, to: leaves.count, by: batch) {
            let part = leaves[start..<min(start + batch, leaves.count)]
            try await record(part.count, type: 192)
            let before = fileBytes
            _ = try keys.destroy(part.map(target))
            bytes += max(fileBytes - before, 0)
            batches += 1
            try await record(1, type: 193)
        }
        return Cost(count: leaves.count, batches: batches, time: ContinuousClock.now - begun, bytes: bytes)
    }

    private func record(_ count: Int, type: UInt16) async throws {
        let drafts = (0..<count).map { _ in RecordDraft(type: type, client: LogPosition(1), payload: [1, 2, 3, 4]) }
        try await log.waitUntilDurable(try log.append(drafts, expecting: log.next))
    }

    private var fileBytes: Int {
        let names = (try? PosixStorage().list(directory)) ?? []
        var status = stat()
        return names.filter { $0.hasPrefix("keys-") }.reduce(0) { sum, name in
            stat(directory + "/" + name, &status) == 0 ? sum + Int(status.st_size) : sum
        }
    }
}
