/// 32 bytes of SHA-256, held inline so that arrays of them are one block of memory.
package struct Digest: Equatable, Hashable, Sendable {
    package var word0: UInt64
    package var word1: UInt64
    package var word2: UInt64
    package var word3: UInt64

    package static let zero = Digest(word0: 0, word1: 0, word2: 0, word3: 0)
    package static let size = 32

    private init(word0: UInt64, word1: UInt64, word2: UInt64, word3: UInt64) {
        self.word0 = word0
        self.word1 = word1
        self.word2 = word2
        self.word3 = word3
    }

    /// Takes 32 bytes at `offset`. The caller has checked that they are there.
    package init(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
        precondition(offset >= 0 && bytes.count - offset >= Digest.size)
        self.init(
            word0: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self),
            word1: bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self),
            word2: bytes.loadUnaligned(fromByteOffset: offset + 16, as: UInt64.self),
            word3: bytes.loadUnaligned(fromByteOffset: offset + 24, as: UInt64.self)
        )
    }

    /// The state of SHA-256, which is written with the highest byte of each word first.
    init(bigEndian words: (UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32)) {
        func pair(_ first: UInt32, _ second: UInt32) -> UInt64 {
            UInt64(littleEndian: UInt64(first.byteSwapped) | UInt64(second.byteSwapped) << 32)
        }
        self.init(
            word0: pair(words.0, words.1),
            word1: pair(words.2, words.3),
            word2: pair(words.4, words.5),
            word3: pair(words.6, words.7)
        )
    }

    package init?(_ bytes: [UInt8]) {
        guard bytes.count == Digest.size else { return nil }
        self = bytes.withUnsafeBytes { Digest($0) }
    }

    package var bytes: [UInt8] { withUnsafeBytes(of: self) { [UInt8]($0) } }

    /// A new secret of this size.
    static func random() -> Digest {
        var digest = Digest.zero
        withUnsafeMutableBytes(of: &digest) { Crypto.fillRandom($0) }
        return digest
    }
}
