import Foundation
import Log
import TestSupport
import Testing

/// What is said of the history before many purges holds after them, and what is not purged stays as it was.
/// `WAYBILL_LONG` makes it a million.
@Suite(.timeLimit(.minutes(30))) struct PurgeProofTests {
    private static let batch = 1000
    private static let count = ProcessInfo.processInfo.environment["WAYBILL_LONG"] == nil ? 20_000 : 1_066_000
    /// Of each so many messages all but one are purged.
    private static let group = 16

    private let directory = LogDirectory()

    private func body(_ position: UInt64) -> [UInt8] { [UInt8]("the body of message \(position)".utf8) }

    private func open(_ view: RecordView, _ keys: KeyStore) throws -> [UInt8]? {
        guard let section = SealedSection(view.sealed), let key = try keys.find(section.reference) else { return nil }
        return section.open(.content, leaf: key, position: view.position)
    }

    @Test func proofsAndTheRestOutliveThePurges() async throws {
        let log = try directory.open(LogConfiguration())
        let root = RootKeyFile(path: directory.path + "/root.key")
        let keys = try KeyStore.open(directory: directory.path, root: root, logIsEmpty: true, storage: PosixStorage())
        var proofs: [InclusionProof] = []
        let signer = try #require(NoteSigner(name: "example.com/log", seed: [UInt8](repeating: 5, count: 32)))
        for number in 0..<(PurgeProofTests.count / PurgeProofTests.batch) {
            try await append(to: log, keys)
            guard number % 4 == 3, proofs.count < 40 else { continue }
            let checkpoint = Checkpoint(origin: "example.com/log", size: log.frontier.size, root: log.frontier.root)
            let tiles = TileStore(log.reader, file: nil)
            let position = LogPosition(UInt64(number * PurgeProofTests.batch / 2 + 1))
            proofs.append(
                try InclusionProof.make(
                    position: position,
                    checkpoint: signer.sign(checkpoint.text).encoded,
                    log.reader,
                    tiles
                )
            )
        }
        let root0 = log.frontier.root
        try purge(log, keys)
        #expect(log.frontier.root == root0)
        let report = try LogVerifier(directory: directory.path, checkpoints: proofs.compactMap(checkpoint)).run()
        #expect(report.findings == [])
        #expect(report.root == root0)
        #expect(proofs.count >= 5)
        for proof in proofs {
            let signed = try #require(checkpoint(proof))
            let entry = try log.reader.record(at: LogPosition(proof.index + 1)).withView { $0.computedDigest }
            #expect(
                MerkleProof.verifyInclusion(
                    entry: entry,
                    index: proof.index,
                    size: signed.size,
                    proof: proof.hashes,
                    root: signed.root
                )
            )
        }
        try expectTheRest(log, keys)
        log.close()
    }

    private func checkpoint(_ proof: InclusionProof) -> Checkpoint? {
        SignedNote(proof.checkpoint).flatMap { Checkpoint(text: $0.text) }
    }

    private func append(to log: EventLog, _ keys: KeyStore) async throws {
        let first = log.next
        var drafts: [RecordDraft] = []
        for index in 0..<UInt64(PurgeProofTests.batch) {
            let position = LogPosition(first.rawValue + index)
            let (reference, leaf) = try keys.issue(client: LogPosition(1), .message)
            let body = SealedPart(.content, body(position.rawValue))
            drafts.append(
                RecordDraft(
                    type: 1,
                    client: LogPosition(1),
                    payload: [1, 2, 3],
                    section: .unsealed(UnsealedSection([body], reference: reference, leaf: leaf))
                )
            )
        }
        try await log.appendDurably(drafts)
    }

    private func purge(_ log: EventLog, _ keys: KeyStore) throws {
        var targets: [KeyStore.Target] = []
        var purged = 0
        try log.reader.scan(from: LogPosition(1)) { view in
            guard view.position.rawValue % UInt64(PurgeProofTests.group) != 0 else { return }
            targets.append(.leaf(try #require(KeyReference(view.sealed))))
            purged += 1
            guard targets.count == 4096 else { return }
            _ = try keys.destroy(targets)
            targets.removeAll(keepingCapacity: true)
        }
        _ = try keys.destroy(targets)
        #expect(purged >= PurgeProofTests.count * 15 / 16)
    }

    private func expectTheRest(_ log: EventLog, _ keys: KeyStore) throws {
        var wrong: [UInt64] = []
        try log.reader.scan(from: LogPosition(1)) { view in
            let position = view.position.rawValue
            let isKept = position % UInt64(PurgeProofTests.group) == 0
            if try open(view, keys) != (isKept ? body(position) : nil) { wrong.append(position) }
        }
        #expect(wrong.isEmpty, "wrong at \(wrong.prefix(5))")
    }
}
