package import Log
import Logging
import Projections
import ServiceLifecycle
import Synchronization

/// Signs what the log is: its number of records and the root of their Merkle tree (C2SP tlog-checkpoint).
///
/// Whoever keeps a checkpoint can tell later whether the history before it was changed.
package final class Checkpointer: Sendable {
    /// The key in force, and how often one was about to be replaced: a checkpoint is signed with the key of its size, so that
    /// none is signed while the record of a new key is on its way.
    private struct Signing: Sendable {
        var signer: NoteSigner
        var rotations = 0
        var isRotating = false
    }

    private let log: EventLog
    private let signing: Mutex<Signing>
    private let file: KeyFile
    private let directory: String
    /// The parts of the tree, for auditors.
    let tiles: TileStore
    /// The size of the stored checkpoint.
    private let stored = Mutex<UInt64>(0)
    private static let rotationPause = Duration.milliseconds(2)

    /// Opens the signing key, or makes it for a log that never had one, and puts a key that is new on record.
    package static func open(_ ledger: Ledger, _ configuration: GatewayConfiguration) async throws -> Checkpointer {
        let file = KeyFile.log(path: configuration.logKey)
        let origin = origin(ledger.log.id.description, ledger.plan { $0.identity }, configuration.logOrigin)
        let signer = try make(origin, seed: try file.load() ?? file.create())
        try await record(signer, ledger)
        return Checkpointer(ledger.log, signer, file, configuration.data)
    }

    /// The name of the log. One that went on from a backup must not sign as the one it was made from.
    private static func origin(_ id: String, _ identity: [UInt8], _ configured: String) -> String {
        if configured.isEmpty { return "waybill/" + (identity.isEmpty ? id : Hex.encode(identity)) }
        return identity.isEmpty ? configured : configured + "/" + Hex.encode(identity)
    }

    private static func make(_ origin: String, seed: [UInt8]) throws -> NoteSigner {
        guard let signer = NoteSigner(name: origin, seed: seed) else {
            throw GatewayError(.internalError, "log.origin cannot name a key")
        }
        return signer
    }

    private static func record(_ signer: NoteSigner, _ ledger: Ledger) async throws {
        try await ledger.commitOutcome { state, _ in
            let key = signer.verifierKey.description
            if state.verifierKey == key { return [] }
            var event = LogKeyRotated()
            event.verifierKeyBefore = state.verifierKey
            event.verifierKeyAfter = key
            return [NewEvent(.logKeyRotated(event))]
        }
    }

    private init(_ log: EventLog, _ signer: NoteSigner, _ file: KeyFile, _ directory: String) {
        self.log = log
        signing = Mutex(Signing(signer: signer))
        self.file = file
        self.directory = directory
        tiles = TileStore(log.reader, file: TileFile(directory: directory, id: log.id, isReadOnly: false))
    }

    /// Signs with a new key from now on; the value is what verifies it. A crash between the new file and its record is made
    /// good by the next start.
    ///
    /// - Throws: `unavailable` while another rotation runs.
    func rotate(_ ledger: Ledger) async throws -> String {
        let name = try signing.withLock { signing in
            guard !signing.isRotating else {
                throw GatewayError(.unavailable, "the key is being replaced already; try again", retryAfter: 1)
            }
            signing.isRotating = true
            signing.rotations += 1
            return signing.signer.verifierKey.name
        }
        let new: NoteSigner
        do {
            defer { signing.withLock { $0.isRotating = false } }
            new = try Checkpointer.make(name, seed: try file.create())
            try await Checkpointer.record(new, ledger)
            signing.withLock { $0.signer = new }
        }
        // The stored checkpoint must be one that the newest key signed.
        stored.withLock { $0 = 0 }
        try await store()
        return new.verifierKey.description
    }

    /// A tile of the tree of every durable record; nil where that has none.
    func tile(_ path: TilePath) throws -> [UInt8]? { try tiles.tile(path, size: log.durable.rawValue) }

    package struct Signed: Sendable {
        package let checkpoint: Checkpoint
        package let note: SignedNote
        /// What verifies the note.
        package let verifierKey: String
    }

    /// A checkpoint of everything appended so far, and maybe more. Signed only once that is durable.
    package func sign() async throws -> Signed {
        try await log.waitUntilDurable(LogPosition(log.next.rawValue - 1))
        let (signer, frontier) = try await inForce()
        let checkpoint = Checkpoint(origin: signer.verifierKey.name, size: frontier.size, root: frontier.root)
        return Signed(
            checkpoint: checkpoint,
            note: signer.sign(checkpoint.text),
            verifierKey: signer.verifierKey.description
        )
    }

    /// What is durable, and the key that is in force there: no rotation began in between.
    private func inForce() async throws -> (signer: NoteSigner, frontier: MerkleFrontier) {
        while true {
            let before = signing.withLock { $0 }
            let frontier = log.frontier
            let after = signing.withLock { $0.rotations }
            if !before.isRotating, before.rotations == after { return (before.signer, frontier) }
            try await Task.sleep(for: Checkpointer.rotationPause)
        }
    }

    /// Puts a fresh checkpoint into the data directory, unless nothing happened since the last.
    package func store() async throws {
        try log.confirmPlace()
        let signed = try await sign()
        try stored.withLock { stored in
            // Signed with a key that was replaced meanwhile: whoever replaced it stores one of its own.
            guard signing.withLock({ $0.signer.verifierKey.description }) == signed.verifierKey else { return }
            guard signed.checkpoint.size > stored else { return }
            try Checkpoint.store(signed.note, in: directory, storage: PosixStorage())
            stored = signed.checkpoint.size
        }
    }

    /// Hashes what is durable by now, in steps, because after a first start there may be a long history.
    func hashTiles() async throws {
        let size = log.durable.rawValue
        while try !tiles.advance(to: size, steps: 64), !Task.isCancelled { await Task.yield() }
    }
}

/// Stores a checkpoint every ten seconds while something happens.
struct CheckpointService: Service {
    static let interval = Duration.seconds(10)
    let checkpointer: Checkpointer
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await checkpointer.store()
                } catch {
                    // The log's own failure ends the process elsewhere; a full disk may have room for the next.
                    logger.error("the checkpoint could not be stored", metadata: ["error": "\(error)"])
                }
                do {
                    try await checkpointer.hashTiles()
                } catch {
                    // Damage is reported by the log itself; tiles over it cannot be made.
                    logger.error("tiles could not be made", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: CheckpointService.interval)
            }
        }
    }
}
