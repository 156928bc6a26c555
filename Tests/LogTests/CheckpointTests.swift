import Foundation
import Log
import TestSupport
import Testing

@Suite struct CheckpointTests {
    // MARK: Proofs

    /// The tree by the definition of RFC 6962, section 2.1, for entries 0, 1, 2 and so on.
    private static func root(_ entries: ArraySlice<Digest>) -> Digest {
        var frontier = MerkleFrontier()
        for entry in entries { frontier.append(entry: entry) }
        return frontier.root
    }

    private static let entries = (0..<70).compactMap { Digest(Crypto.sha256([UInt8($0)])) }

    private static func proof(_ ranges: [Range<UInt64>]) -> [Digest] {
        ranges.map { root(entries[Int($0.lowerBound)..<Int($0.upperBound)]) }
    }

    @Test func everyEntryOfEveryTreeIsProven() {
        for size in UInt64(1)...70 {
            let root = Self.root(Self.entries.prefix(Int(size)))
            for index in 0..<size {
                let proof = Self.proof(MerkleProof.inclusionRanges(index: index, size: size))
                let entry = Self.entries[Int(index)]
                #expect(MerkleProof.verifyInclusion(entry: entry, index: index, size: size, proof: proof, root: root))
            }
        }
    }

    @Test func noProofFitsAnythingElse() {
        let size: UInt64 = 13
        let root = Self.root(Self.entries.prefix(13))
        for index in 0..<size {
            let proof = Self.proof(MerkleProof.inclusionRanges(index: index, size: size))
            let entry = Self.entries[Int(index)]
            for other in UInt64(0)..<20 where other != index {
                #expect(!MerkleProof.verifyInclusion(entry: entry, index: other, size: size, proof: proof, root: root))
            }
            #expect(!MerkleProof.verifyInclusion(entry: root, index: index, size: size, proof: proof, root: root))
            for number in proof.indices {
                var changed = proof
                changed[number] = root
                let accepted = MerkleProof.verifyInclusion(
                    entry: entry,
                    index: index,
                    size: size,
                    proof: changed,
                    root: root
                )
                #expect(!accepted)
            }
            for wrong in [Array(proof.dropLast()), proof + [root]] {
                #expect(!MerkleProof.verifyInclusion(entry: entry, index: index, size: size, proof: wrong, root: root))
            }
        }
    }

    /// The tree of seven leaves of RFC 6962, section 2.1.3, drawn there with its paths and proofs.
    @Test func theExamplesOfTheStandard() {
        #expect(MerkleProof.inclusionRanges(index: 0, size: 7) == [1..<2, 2..<4, 4..<7])
        #expect(MerkleProof.inclusionRanges(index: 3, size: 7) == [2..<3, 0..<2, 4..<7])
        #expect(MerkleProof.inclusionRanges(index: 4, size: 7) == [5..<6, 6..<7, 0..<4])
        #expect(MerkleProof.inclusionRanges(index: 6, size: 7) == [4..<6, 0..<4])
    }

    // MARK: Signed notes

    /// The first example of RFC 8032, section 7.1.
    @Test func signaturesAreThoseOfTheStandard() throws {
        let seed = try #require(Hex.decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
        let key = Ed25519.publicKey(seed: seed)
        #expect(Hex.encode(key) == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
        let signature = Ed25519.sign([], seed: seed)
        #expect(Hex.encode(signature).hasPrefix("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"))
        #expect(Ed25519.verify([], signature, publicKey: key))
        #expect(!Ed25519.verify([1], signature, publicKey: key))
        #expect(!Ed25519.verify([], Array(signature.dropLast()), publicKey: key))
    }

    private func signer(_ name: String = "example.com/log", _ byte: UInt8 = 7) throws -> NoteSigner {
        try #require(NoteSigner(name: name, seed: [UInt8](repeating: byte, count: 32)))
    }

    @Test func aSignedNoteIsReadBack() throws {
        let signer = try signer()
        let note = signer.sign("example.com/log\n5\nroot\n\nan empty line and then more\n")
        let read = try #require(SignedNote(note.encoded))
        #expect(read.text == note.text)
        #expect(read.encoded == note.encoded)
        #expect(read.isSigned(by: signer.verifierKey))
        #expect(!read.isSigned(by: try self.signer("example.com/log", 8).verifierKey))
        #expect(!read.isSigned(by: try self.signer("example.com/other", 7).verifierKey))
        let changed = try #require(SignedNote(note.encoded.replacing("\n5\n", with: "\n6\n")))
        #expect(!changed.isSigned(by: signer.verifierKey))
    }

    /// The key and note of the examples in the documentation of Go's golang.org/x/mod/sumdb/note.
    @Test func notesAreThoseOfTheReference() throws {
        let seed = try #require(Hex.decode("810a1402d5146c8d84f2443330f54080ebf98ee17d9c74f6252fc5d5c7283173"))
        let signer = try #require(NoteSigner(name: "PeterNeumann", seed: seed))
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        #expect(signer.verifierKey.description == key)
        #expect(VerifierKey(key) == signer.verifierKey)
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
        let signature =
            "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        #expect(signer.sign(text).encoded == text + "\n" + signature)
        #expect(VerifierKey("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8") != nil)
    }

    @Test func linesOfOtherSignersAreKept() throws {
        let (log, witness) = (try signer(), try signer("witness.example", 9))
        let both = SignedNote(text: "t\n", signatures: log.sign("t\n").signatures + witness.sign("t\n").signatures)
        let read = try #require(SignedNote(both.encoded))
        #expect(read.isSigned(by: log.verifierKey))
        #expect(read.isSigned(by: witness.verifierKey))
        #expect(read.encoded == both.encoded)
    }

    @Test(arguments: [
        "", "\n", "text\n", "text\n\n", "text\n\n— name AAAAAAAA", "text\n\n— name\n", "text\n\n- name AAAAAAAA\n",
        "text\n\n— na+me AAAAAAAA\n", "text\n\n— name AAAA\n", "text\n\n— name !!!!!!!!\n",
        "te\u{1}xt\n\n— name AAAAAAAA\n",
        "text\n\n— name AAAAAAAA \n", "text\n\n— name AAAAAAAA\nmore\n",
    ])
    func whatIsNoSignedNoteIsRefused(_ text: String) { #expect(SignedNote(text) == nil) }

    @Test func verifierKeysAreReadBack() throws {
        let key = try signer().verifierKey
        #expect(VerifierKey(key.description) == key)
        let text = key.description
        #expect(VerifierKey(text.replacing("example", with: "exampla")) == nil, "the key id covers the name")
        for wrong in ["", "+", "a+b+c", "name+00000000+AQ==", String(text.dropLast()), " " + text] {
            #expect(VerifierKey(wrong) == nil)
        }
    }

    @Test func checkpointsAreReadBack() {
        let checkpoint = Checkpoint(origin: "example.com/log", size: 20, root: Self.entries[0])
        #expect(Checkpoint(text: checkpoint.text) == checkpoint)
        #expect(Checkpoint(text: checkpoint.text + "an extension\n") == checkpoint)
        let root = Base64.encode(Self.entries[0].bytes)
        for wrong in [
            "", "o\n1\n", "\n1\n\(root)\n", "o\n01\n\(root)\n", "o\n-1\n\(root)\n", "o\n1\nAAAA\n", "o\n1\n\(root)",
        ] {
            #expect(Checkpoint(text: wrong) == nil)
        }
    }

    // MARK: A log against its past

    /// A closed log of `count` records in several segments, and its checkpoint at each size.
    private func makeLog(_ directory: LogDirectory, count: Int) async throws -> [Checkpoint] {
        var checkpoints = [Checkpoint(origin: "test", size: 0, root: MerkleFrontier().root)]
        let log = try directory.open()
        for number in 0..<count {
            try await log.appendDurably([.plain(number, count: 60_000)])
            checkpoints.append(Checkpoint(origin: "test", size: log.frontier.size, root: log.frontier.root))
        }
        log.close()
        return checkpoints
    }

    @Test func everyPastOfALogHolds() async throws {
        let directory = LogDirectory()
        let checkpoints = try await makeLog(directory, count: 40)
        let report = try LogVerifier(directory: directory.path, checkpoints: checkpoints.shuffled()).run()
        #expect(report.findings.isEmpty)
        #expect(report.segments > 2)
    }

    @Test func anotherPastIsFound() async throws {
        let (directory, other) = (LogDirectory(), LogDirectory())
        let checkpoints = try await makeLog(directory, count: 20)
        // The same records in a log of its own: all checksums and digests are right, only the times differ.
        _ = try await makeLog(other, count: 20)
        for checkpoint in [checkpoints[1], checkpoints[7], checkpoints[20]] {
            let report = try LogVerifier(directory: other.path, checkpoints: [checkpoint]).run()
            #expect(report.findings.map(\.positions) == [1...checkpoint.size])
            #expect(report.findings.first?.problem.contains("rewritten") == true)
        }
        let ahead = Checkpoint(origin: "test", size: 23, root: checkpoints[20].root)
        let report = try LogVerifier(directory: directory.path, checkpoints: [ahead]).run()
        #expect(report.findings.map(\.positions) == [21...23])
    }

    @Test func recordsAreProven() async throws {
        let directory = LogDirectory()
        let checkpoints = try await makeLog(directory, count: 21)
        let signer = try signer("test")
        let log = try ReadOnlyLog(directory: directory.path)
        let digests = try log.reader.digests()
        let tiles = TileStore(log.reader, file: nil)
        for size in [1, 2, 13, 21] {
            let note = signer.sign(checkpoints[size].text).encoded
            for position in 1...UInt64(size) {
                let proof = try InclusionProof.make(
                    position: LogPosition(position),
                    checkpoint: note,
                    log.reader,
                    tiles
                )
                #expect(proof.index == position - 1)
                let holds = MerkleProof.verifyInclusion(
                    entry: digests[Int(position) - 1],
                    index: proof.index,
                    size: UInt64(size),
                    proof: proof.hashes,
                    root: checkpoints[size].root
                )
                #expect(holds)
            }
            #expect(throws: LogError(.notFound, "")) {
                try InclusionProof.make(position: LogPosition(UInt64(size) + 1), checkpoint: note, log.reader, tiles)
            }
        }
        let foreign = signer.sign(Checkpoint(origin: "test", size: 5, root: checkpoints[4].root).text).encoded
        #expect(throws: LogError(.corrupt, "")) {
            try InclusionProof.make(position: LogPosition(1), checkpoint: foreign, log.reader, tiles)
        }
    }
}
