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

    /// SHA-256 of one byte and one or two digests, which is what a Merkle tree consists of: padded here and compressed
    /// directly, because the buffering of a stream costs as much as such a short message itself.
    static func tree(_ prefix: UInt8, _ first: Digest, _ second: Digest? = nil) -> Digest {
        withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { message in
            let count = 1 + Digest.size * (second == nil ? 1 : 2)
            let blocks = count + 9 > 64 ? 2 : 1
            message.initializeMemory(as: UInt8.self, repeating: 0)
            message[0] = prefix
            message.storeBytes(of: first, toByteOffset: 1, as: Digest.self)
            if let second { message.storeBytes(of: second, toByteOffset: 1 + Digest.size, as: Digest.self) }
            message[count] = 0x80
            message.storeBytes(of: UInt64(count * 8).bigEndian, toByteOffset: blocks * 64 - 8, as: UInt64.self)
            var context = SHA256_CTX()
            SHA256_Init(&context)
            let bytes = message.baseAddress?.assumingMemoryBound(to: UInt8.self)
            for block in 0..<blocks { SHA256_Transform(&context, bytes.map { $0 + block * 64 }) }
            let words = context.h
            return Digest(bigEndian: words)
        }
    }

    consuming func finish() -> Digest {
        var digest = Digest.zero
        withUnsafeMutableBytes(of: &digest) {
            _ = SHA256_Final($0.baseAddress?.assumingMemoryBound(to: UInt8.self), &context)
        }
        return digest
    }
}
