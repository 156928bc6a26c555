import Glibc
import Log

/// Where producers put batches; returns when the batch is durable.
protocol Sink: Sendable {
    func store(_ count: Int) async throws
}

/// The log with everything on: each record has a key of its own, a sealed body, CRC and its place in the tree, and is 512
/// bytes long.
final class LogSink: Sink {
    private let log: EventLog
    private let keys: KeyStore
    private let payload = [UInt8](repeating: 7, count: 64)
    /// 96 + 64 + head 56 + box 8 + nonce and tag 28 + this = 512.
    private let body = [UInt8](repeating: 65, count: 260)

    /// What stands in place of a sealed body, for comparison; nil to seal each.
    private let ready: [UInt8]?

    init(_ directory: String, ready: [UInt8]? = nil) throws {
        self.ready = ready
        mkdir(directory, 0o700)
        log = try EventLog.open(directory: directory + "/log")
        keys = try KeyStore.open(
            directory: directory + "/log",
            root: RootKeyFile(path: directory + "/root.key"),
            logIsEmpty: true,
            storage: PosixStorage()
        )
    }

    func store(_ count: Int) async throws {
        while true {
            do throws(LogError) {
                return try await log.waitUntilDurable(try append(count))
            } catch {
                guard error.code == .overloaded else { throw error }
            }
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    private func append(_ count: Int) throws(LogError) -> LogPosition {
        var drafts: [RecordDraft] = []
        drafts.reserveCapacity(count)
        if let ready {
            let draft = RecordDraft(type: 1, client: LogPosition(1), payload: payload, section: .sealed(ready))
            return try log.append(Array(repeating: draft, count: count), expecting: nil, flush: .byWaiter)
        }
        for _ in 0..<count {
            let (reference, leaf) = try keys.issue(client: LogPosition(1), .message)
            let section = UnsealedSection([SealedPart(.content, body)], reference: reference, leaf: leaf)
            drafts.append(
                RecordDraft(type: 1, client: LogPosition(1), payload: payload, section: .unsealed(section))
            )
        }
        return try log.append(drafts, expecting: nil, flush: .byWaiter)
    }

    func close() { log.close() }
}
