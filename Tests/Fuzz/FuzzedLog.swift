import Glibc
import Log
import TestSupport

/// A log on a simulated disk, made once, of which the fuzzer damages copies.
struct FuzzedLog {
    static let directory = "/log"
    static let sample = try? make()

    let storage: SimulatedStorage
    let digests: [Digest]

    var id: LogID? { try? ReadOnlyLog(directory: FuzzedLog.directory, storage: storage).id }

    /// Puts a file of the directory in the place of one of the same name.
    func replace(_ name: String, with bytes: [UInt8]) {
        let path = FuzzedLog.directory + "/" + name
        try? storage.remove(path)
        try? storage.open(path, .create).writeAll(bytes, at: 0)
    }

    private static func make() throws -> FuzzedLog {
        let storage = SimulatedStorage(directory: directory)
        var configuration = LogConfiguration()
        configuration.segmentBytes = 1 << 20
        configuration.scrubInterval = nil
        var digests: [Digest] = []
        for session in 0..<2 {
            let log = try EventLog.open(
                directory: directory,
                configuration: configuration,
                storage: storage,
                now: { 1_000_000_000 }
            )
            for number in 0..<30 {
                let draft = RecordDraft(type: 1, payload: [UInt8](repeating: UInt8(number), count: 50 + session * 900))
                let last = try log.append([draft], expecting: log.next)
                while log.durable < last { usleep(50) }
            }
            while session == 1, try storage.list(directory).filter({ $0.hasSuffix(".wal") }).count > 1 { usleep(500) }
            digests = []
            try log.reader.scan(from: LogPosition(1)) { digests.append($0.computedDigest) }
            log.close()
        }
        return FuzzedLog(storage: storage, digests: digests)
    }

    /// A copy with changed bytes, and with the checksums of the sealed file made right behind them.
    func patched(_ patches: UnsafeRawBufferPointer) -> FuzzedLog {
        var generator = SeededGenerator(seed: 0)
        let copy = FuzzedLog(storage: storage.crash(using: &generator), digests: digests)
        let paths = copy.storage.paths.filter { $0.hasSuffix(".sealed") || $0.hasSuffix(".wal") }
        var rest = patches[...]
        while rest.count >= 5, !paths.isEmpty {
            let head = Array(rest.prefix(5))
            rest = rest.dropFirst(5)
            let path = paths[Int(head[0]) % paths.count]
            let offset = (Int(head[1]) | Int(head[2]) << 8 | Int(head[3]) << 16) % (64 << 10)
            let bytes = Array(rest.prefix(Int(head[4] % 32) + 1))
            rest = rest.dropFirst(bytes.count)
            copy.storage.damage(path, at: offset) { target in
                UnsafeMutableRawBufferPointer(rebasing: target[..<min(bytes.count, target.count)])
                    .copyBytes(from: bytes.prefix(target.count))
            }
        }
        for path in paths where path.hasSuffix(".sealed") { copy.repairChecksums(path) }
        return copy
    }

    private func repairChecksums(_ path: String) {
        guard var bytes = storage.contents[path], bytes.count >= 8192 else { return }
        setChecksum(&bytes, at: 8, over: 12..<4096)
        setChecksum(&bytes, at: 4096 + 4, over: (4096 + 8)..<(4096 + 64))
        let footer = bytes.count - 64
        var end = Array(bytes[footer...])
        setChecksum(&end, at: 8, over: 12..<64)
        bytes.replaceSubrange(footer..., with: end)
        storage.damage(path, at: 0) { $0.copyBytes(from: bytes.prefix($0.count)) }
    }
}
