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

    /// The longest message that `short` takes, which with its padding fills 1 KiB.
    package static let shortMax = 1024 - 9

    /// SHA-256 of a message of at most `shortMax` bytes, which `write` puts in place: padded here and compressed in one go,
    /// because the buffering of a stream costs as much as half of such a message.
    ///
    /// - Parameter isPublic: whether a copy of the message may stay on the stack, which keeps what nobody overwrites.
    package static func short(
        _ count: Int,
        isPublic: Bool = false,
        _ write: (UnsafeMutableRawBufferPointer) -> Void
    ) -> Digest {
        var context = SHA256_CTX()
        SHA256_Init(&context)
        return finish(&context, rest: count, whole: count, isPublic: isPublic, write)
    }

    /// SHA-256 of bytes that lie together.
    package static func hash(_ bytes: UnsafeRawBufferPointer) -> Digest {
        var context = SHA256_CTX()
        SHA256_Init(&context)
        let blocks = bytes.count & ~63
        SHA256_Update(&context, bytes.baseAddress, blocks)
        return finish(&context, rest: bytes.count - blocks, whole: bytes.count, isPublic: true) { rest in
            rest.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[blocks...]))
        }
    }

    /// Compresses the last `rest` of `whole` bytes, which `write` puts in place, with the padding of FIPS 180-4, section 5.1.1.
    private static func finish(
        _ context: inout SHA256_CTX,
        rest: Int,
        whole: Int,
        isPublic: Bool,
        _ write: (UnsafeMutableRawBufferPointer) -> Void
    ) -> Digest {
        precondition(rest <= shortMax)
        let size = (rest + 9 + 63) & ~63
        return withUnsafeTemporaryAllocation(byteCount: size, alignment: 8) { message in
            write(UnsafeMutableRawBufferPointer(rebasing: message[..<rest]))
            UnsafeMutableRawBufferPointer(rebasing: message[rest...]).initializeMemory(as: UInt8.self, repeating: 0)
            message[rest] = 0x80
            message.storeBytes(of: UInt64(whole * 8).bigEndian, toByteOffset: size - 8, as: UInt64.self)
            SHA256_Update(&context, message.baseAddress, size)
            if !isPublic { OPENSSL_cleanse(message.baseAddress, message.count) }
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
