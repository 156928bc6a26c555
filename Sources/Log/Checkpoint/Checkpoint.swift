/// What a log was at some size: origin, number of entries, root of their Merkle tree (C2SP tlog-checkpoint).
package struct Checkpoint: Sendable, Equatable {
    package let origin: String
    package let size: UInt64
    package let root: Digest

    package init(origin: String, size: UInt64, root: Digest) {
        self.origin = origin
        self.size = size
        self.root = root
    }

    /// Reads a note's text: origin, size, root, each a line; further lines are extensions and are ignored.
    package init?(text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 4, !lines[0].isEmpty, let size = UInt64(lines[1]), String(size) == lines[1],
            let bytes = Base64.decode(String(lines[2])), let root = Digest(bytes)
        else { return nil }
        self.init(origin: String(lines[0]), size: size, root: root)
    }

    package var text: String { "\(origin)\n\(size)\n\(Base64.encode(root.bytes))\n" }

    /// The name of the file in a data directory that holds the latest signed checkpoint.
    package static let fileName = "checkpoint"

    /// Replaces the latest checkpoint of a data directory.
    package static func store(_ note: SignedNote, in directory: String, storage: any Storage) throws(LogError) {
        try storage.replaceFile(directory + "/" + fileName, with: [UInt8](note.encoded.utf8))
    }

    /// The latest checkpoint of a data directory, or nil when none was made.
    package static func load(_ directory: String, storage: any Storage = PosixStorage()) throws(LogError) -> String? {
        guard try storage.list(directory).contains(fileName) else { return nil }
        return String(decoding: try storage.readAll(directory + "/" + fileName, limit: 1 << 20), as: UTF8.self)
    }
}

/// A proof that an entry is in a log, with the checkpoint it is in (C2SP tlog-proof).
package struct InclusionProof: Sendable {
    private static let firstLine = "c2sp.org/tlog-proof@v1"
    package let index: UInt64
    package let hashes: [Digest]
    /// The signed note, as it was found.
    package let checkpoint: String

    package init(index: UInt64, hashes: [Digest], checkpoint: String) {
        self.index = index
        self.hashes = hashes
        self.checkpoint = checkpoint
    }

    package var encoded: String {
        let lines = [InclusionProof.firstLine, "index \(index)"] + hashes.map { Base64.encode($0.bytes) }
        return lines.map { $0 + "\n" }.joined() + "\n" + checkpoint
    }

    /// Makes the proof for the record at `position` under a signed checkpoint.
    ///
    /// - Throws: `notFound` when the checkpoint does not cover the position, `corrupt` when the log does not have the
    ///   root that was signed.
    package static func make(
        position: LogPosition,
        checkpoint note: String,
        _ reader: LogReader,
        _ tiles: TileStore
    ) throws -> InclusionProof {
        guard let checkpoint = SignedNote(note).flatMap({ Checkpoint(text: $0.text) }) else {
            throw LogError(.unknownFormat, "the checkpoint is not a signed checkpoint")
        }
        guard position >= LogPosition(1), position.rawValue <= checkpoint.size else {
            // One that is in the log will be covered; one that is not is a slip.
            let isComing = position >= LogPosition(1) && position <= reader.end
            let advice = isComing ? "; wait for the next checkpoint, stored every ten seconds by waybill serve" : ""
            throw LogError(
                .notFound,
                "the checkpoint covers positions 1 to \(checkpoint.size), not \(position)\(advice)"
            )
        }
        guard checkpoint.size <= reader.end.rawValue else {
            throw LogError(.corrupt, "the log ends at \(reader.end), before the checkpoint at \(checkpoint.size)")
        }
        // A cache that turns out wrong is made anew by the second call.
        while try !tiles.advance(to: checkpoint.size) {}
        let index = position.rawValue - 1
        let entry = try reader.record(at: position).withView { $0.computedDigest }
        let hashes = try MerkleProof.inclusionRanges(index: index, size: checkpoint.size).map(tiles.root)
        guard
            MerkleProof.verifyInclusion(
                entry: entry,
                index: index,
                size: checkpoint.size,
                proof: hashes,
                root: checkpoint.root
            )
        else {
            throw LogError(
                .corrupt,
                "the log does not have the root that was signed for \(checkpoint.size) records; run waybill verify"
            )
        }
        return InclusionProof(index: index, hashes: hashes, checkpoint: note)
    }
}
