import COpenSSL

/// An incremental SHA-256 on the stack: no allocation, so that hashing every record costs only the hash.
struct SHA256Stream: ~Copyable {
    private var context = SHA256_CTX()

    init() { SHA256_Init(&context) }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        SHA256_Update(&context, bytes.baseAddress, bytes.count)
    }

    mutating func update(byte: UInt8) {
        withUnsafePointer(to: byte) { _ = SHA256_Update(&context, $0, 1) }
    }

    /// One block of an HMAC key: the key, zeros to 64 bytes, each byte xored with `pad`.
    mutating func update(padded key: [UInt8], with pad: UInt8) {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { block in
            for index in 0..<64 { block[index] = (index < key.count ? key[index] : 0) ^ pad }
            update(UnsafeRawBufferPointer(block))
        }
    }

    mutating func update(_ digest: Digest) {
        withUnsafeBytes(of: digest) { update($0) }
    }

    consuming func finish() -> Digest {
        var digest = Digest.zero
        withUnsafeMutableBytes(of: &digest) {
            _ = SHA256_Final($0.baseAddress?.assumingMemoryBound(to: UInt8.self), &context)
        }
        return digest
    }
}
