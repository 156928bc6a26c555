import COpenSSL

/// An incremental SHA-256 on the stack: no allocation, so that hashing every record costs only the hash.
package struct SHA256Stream: ~Copyable {
    private var context = SHA256_CTX()

    package init() { SHA256_Init(&context) }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
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

    /// SHA-256 of a message of at most 119 bytes, which `write` puts in place: padded here and compressed directly, because
    /// the buffering of a stream costs as much as such a short message itself.
    static func short(_ count: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) -> Digest {
        withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { message in
            precondition(count <= 119)
            let blocks = count + 9 > 64 ? 2 : 1
            message.initializeMemory(as: UInt8.self, repeating: 0)
            write(UnsafeMutableRawBufferPointer(rebasing: message[..<count]))
            message[count] = 0x80
            message.storeBytes(of: UInt64(count * 8).bigEndian, toByteOffset: blocks * 64 - 8, as: UInt64.self)
            var context = SHA256_CTX()
            SHA256_Init(&context)
            let bytes = message.baseAddress?.assumingMemoryBound(to: UInt8.self)
            for block in 0..<blocks { SHA256_Transform(&context, bytes.map { $0 + block * 64 }) }
            // Keys are hashed here too, and the stack keeps what nobody overwrites.
            OPENSSL_cleanse(message.baseAddress, message.count)
            return Digest(bigEndian: context.h)
        }
    }

    package consuming func finish() -> Digest {
        var digest = Digest.zero
        withUnsafeMutableBytes(of: &digest) {
            _ = SHA256_Final($0.baseAddress?.assumingMemoryBound(to: UInt8.self), &context)
        }
        return digest
    }
}
