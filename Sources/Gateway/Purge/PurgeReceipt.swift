package import Log
package import Projections

/// What remains of a purged message, for who wants to see that it was purged: which key was destroyed, by which records,
/// and proofs that those are in the signed history. `docs/keys.md` says how to check one.
package struct PurgeReceipt: Sendable {
    static let format = "waybill-purge-receipt/1"

    /// What a receipt does not show; part of every one.
    static let limits = [
        "It shows that this key was replaced in the key state and that the root key was replaced after it. Nobody who reads "
            + "it can see that the old root key exists nowhere any more.",
        "Copies that others made are not reached: the client's backend, the provider, the customer's device.",
        "Backups of the key state made before the purge can open the body until their horizon.",
        "An old copy of the data directory opens only together with the root key of that time. A medium that keeps what was "
            + "overwritten (flash, copy-on-write and journaling file systems) may keep that key; hold the root in a token.",
    ]

    private let message: LogPosition
    private let entry: PurgeBook.Entry
    private let backupsUntil: Timestamp?
    private let records: [(name: StaticString, position: LogPosition)]

    /// Where the evidence comes from: a running writer or a data directory.
    package struct Source: Sendable {
        let reader: LogReader
        let tiles: TileStore
        let ids: OpaqueID
        /// The signed checkpoint that the proofs end in.
        let checkpoint: String
        let verifierKey: String

        package init(reader: LogReader, tiles: TileStore, ids: OpaqueID, checkpoint: String, verifierKey: String) {
            self.reader = reader
            self.tiles = tiles
            self.ids = ids
            self.checkpoint = checkpoint
            self.verifierKey = verifierKey
        }
    }

    /// - Throws: `notFound` when the message does not exist or its purge is not completed.
    package init(of message: LogPosition, _ state: borrowing LogState) throws {
        guard let row = state.inbox.messages[message] else {
            throw GatewayError(.notFound, "there is no such message")
        }
        // The record names the conversation that it came in, whatever that was joined into since.
        let conversation = state.inbox.origin(of: message, in: row.conversation)
        guard let entry = state.purges.entry(client: row.client, conversation: conversation, message: message) else {
            throw GatewayError(.notFound, "the message is not purged; a receipt exists once its key is destroyed")
        }
        guard entry.completed != .zero else {
            throw GatewayError(.notFound, "the purge is requested and not carried out yet; ask again in a moment")
        }
        self.message = message
        self.entry = entry
        backupsUntil = state.backups.horizon(before: entry.completed)
        records = [("original", message), ("requested", entry.requested), ("completed", entry.completed)]
    }

    /// - Throws: `notFound` when the checkpoint does not cover the purge yet.
    package func json(_ source: Source) throws -> [UInt8] {
        let original = try source.reader.record(at: message)
        let section = original.withView { SealedSection($0.sealed) }
        let completed = try source.reader.record(at: entry.completed).withView { try EventRecord($0) }
        guard case .purgeCompleted(let event) = completed.event else {
            throw GatewayError(.internalError, "position \(entry.completed) is not the end of a purge")
        }
        let shown = try records.map { try ($0.name, evidence(at: $0.position, source)) }
        return JSONWriter.object { json in
            json.string("format", PurgeReceipt.format)
            json.string("message_id", source.ids.encode(.message, message))
            if let section { write(section, &json) }
            json.object("root_key_generation") { json in
                json.number("before", event.rootGenerationBefore)
                json.number("after", event.rootGenerationAfter)
            }
            json.object("records") { json in
                for (name, evidence) in shown {
                    json.key(name)
                    json.raw(evidence)
                }
            }
            json.string("checkpoint", source.checkpoint)
            json.string("verifier_key", source.verifierKey)
            json.array("surviving_hashes") { writeHashes(&$0, original) }
            json.time("backups_until", backupsUntil)
            json.array("limits") { json in for limit in PurgeReceipt.limits { json.element { $0.string(limit) } } }
        }
    }

    private func write(_ section: SealedSection, _ json: inout JSONWriter) {
        json.object("key") { json in
            json.number("epoch", section.reference.epoch)
            json.number("client", section.reference.client)
            json.number("class", section.reference.keyClass.rawValue)
            json.number("leaf", section.reference.leaf)
        }
        json.string("key_commitment", Hex.encode(section.commitment.bytes))
    }

    /// One record with all that its entry digest is made of, and its way up to the checkpoint's root.
    private func evidence(at position: LogPosition, _ source: Source) throws -> [UInt8] {
        let record = try source.reader.record(at: position)
        let proof = try InclusionProof.make(
            position: position,
            checkpoint: source.checkpoint,
            source.reader,
            source.tiles
        )
        return record.withView { view in
            let evidence = RecordEvidence(view)
            return JSONWriter.object { json in
                json.number("position", position.rawValue)
                json.string("type", EventType(rawValue: view.type)?.name)
                json.time("time", Timestamp(view.time))
                json.string("digested", Base64.encode(evidence.digested))
                json.string("boxes_sha256", evidence.boxes.map { Hex.encode($0.bytes) })
                json.string("entry", Hex.encode(view.computedDigest.bytes))
                json.string("leaf", Hex.encode(MerkleFrontier.leaf(view.computedDigest).bytes))
                json.array("proof") { json in
                    for hash in proof.hashes { json.element { $0.string(Hex.encode(hash.bytes)) } }
                }
            }
        }
    }

    /// Keyed hashes in the original's envelope: they outlive the body, so that repeats are known and nothing comes back.
    private func writeHashes(_ json: inout JSONWriter, _ original: StoredRecord) {
        let hashes: [(StaticString, LookupHash)] =
            switch original.withView({ try? EventRecord($0).event }) {
            case .messageReceived(let event): [("duplicate_key", event.duplicateKey)]
            case .messageEchoed(let event): [("duplicate_key", event.duplicateKey)]
            case .sendAccepted(let event): [("key", event.key), ("fingerprint", event.fingerprint)]
            default: []
            }
        for (name, hash) in hashes where !hash.isAbsent {
            json.element { json in
                json.object { json in
                    json.string("field", "\(name)")
                    json.string("hash", Hex.encode(hash.bytes))
                }
            }
        }
    }
}
