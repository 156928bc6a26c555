/// A signed note (C2SP signed-note): text, an empty line, and signature lines `— name base64(key id ‖ signature)`.
package struct SignedNote: Sendable {
    package struct Signature: Sendable, Equatable {
        package let name: String
        package let keyID: [UInt8]
        package let bytes: [UInt8]
    }

    /// Ends with a newline.
    package let text: String
    package let signatures: [Signature]

    /// Nil for anything but a well-formed note of at most a megabyte.
    package init?(_ note: String) {
        // The last empty line separates; the text may hold others.
        guard note.utf8.count <= 1 << 20, note.hasSuffix("\n"), let split = SignedNote.lastBlankLine(note),
            !note.unicodeScalars.contains(where: { $0.value < 0x20 && $0 != "\n" })
        else { return nil }
        text = String(note[..<split]) + "\n"
        let lines = note[split...].dropFirst(2).dropLast().split(separator: "\n", omittingEmptySubsequences: false)
        var signatures: [Signature] = []
        for line in lines {
            guard let signature = Signature(line) else { return nil }
            signatures.append(signature)
        }
        guard !signatures.isEmpty, signatures.count <= 100 else { return nil }
        self.signatures = signatures
    }

    package init(text: String, signatures: [Signature]) {
        self.text = text
        self.signatures = signatures
    }

    /// Where the two newlines that end the text begin.
    private static func lastBlankLine(_ note: String) -> String.Index? {
        let bytes = note.utf8
        var index = bytes.endIndex
        while index > bytes.startIndex {
            index = bytes.index(before: index)
            guard bytes[index] == 10, index > bytes.startIndex else { continue }
            let before = bytes.index(before: index)
            if bytes[before] == 10 { return before }
        }
        return nil
    }

    package var encoded: String { text + "\n" + signatures.map(\.line).joined() }

    /// Whether the note carries a valid signature by this key. Lines of other keys say nothing.
    package func isSigned(by key: VerifierKey) -> Bool {
        signatures.contains { signature in
            signature.name == key.name && signature.keyID == key.keyID
                && Ed25519.verify([UInt8](text.utf8), signature.bytes, publicKey: key.publicKey)
        }
    }
}

extension SignedNote.Signature {
    init?(_ line: Substring) {
        let parts = line.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "—", VerifierKey.isName(parts[1]),
            let bytes = Base64.decode(String(parts[2])), bytes.count > 4
        else { return nil }
        name = String(parts[1])
        keyID = Array(bytes.prefix(4))
        self.bytes = Array(bytes.dropFirst(4))
    }

    var line: String { "— \(name) \(Base64.encode(keyID + bytes))\n" }
}

/// The public half of a note's key, written `name+hex(key id)+base64(0x01 ‖ public key)`.
package struct VerifierKey: Sendable, Equatable, CustomStringConvertible {
    package let name: String
    package let publicKey: [UInt8]

    package init?(name: String, publicKey: [UInt8]) {
        guard VerifierKey.isName(name), publicKey.count == 32 else { return nil }
        self.name = name
        self.publicKey = publicKey
    }

    package init?(_ text: String) {
        let parts = text.split(separator: "+", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let typed = Base64.decode(String(parts[2])), typed.count == 33, typed[0] == 1 else {
            return nil
        }
        self.init(name: String(parts[0]), publicKey: Array(typed.dropFirst()))
        guard Hex.decode(String(parts[1])) == keyID else { return nil }
    }

    /// First 4 bytes of `SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)`.
    package var keyID: [UInt8] { Array(Crypto.sha256([UInt8](name.utf8) + [0x0A, 0x01] + publicKey).prefix(4)) }

    package var description: String { "\(name)+\(Hex.encode(keyID))+\(Base64.encode([1] + publicKey))" }

    /// Not empty, no space, no plus.
    package static func isName(_ name: some StringProtocol) -> Bool {
        !name.isEmpty && !name.contains { $0.isWhitespace || $0 == "+" || $0.isNewline }
    }
}

/// Signs notes under one name.
package struct NoteSigner: Sendable {
    package let verifierKey: VerifierKey
    private let seed: [UInt8]

    /// - Parameter seed: the 32 bytes of an Ed25519 private key (RFC 8032).
    package init?(name: String, seed: [UInt8]) {
        guard let key = VerifierKey(name: name, publicKey: Ed25519.publicKey(seed: seed)) else { return nil }
        verifierKey = key
        self.seed = seed
    }

    /// - Parameter text: ends with a newline.
    package func sign(_ text: String) -> SignedNote {
        let signature = SignedNote.Signature(
            name: verifierKey.name,
            keyID: verifierKey.keyID,
            bytes: Ed25519.sign([UInt8](text.utf8), seed: seed)
        )
        return SignedNote(text: text, signatures: [signature])
    }
}
