import COpenSSL
import CWaybill
import Synchronization

/// The cryptographic primitives of the project, each a thin call into OpenSSL.
///
/// Nothing here keeps state, so every function may be called from any thread.
package enum Crypto {
    /// SHA-256 (FIPS 180-4) of `bytes`, 32 bytes.
    package static func sha256(_ bytes: [UInt8]) -> [UInt8] {
        bytes.withUnsafeBytes { sha256($0) }
    }

    package static func sha256(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 32) { output, count in
            _ = SHA256(bytes.baseAddress, bytes.count, output.baseAddress)
            count = 32
        }
    }

    /// HMAC-SHA-256 (RFC 2104), 32 bytes.
    package static func hmacSHA256(key: [UInt8], message: [UInt8]) -> [UInt8] {
        if key.count > 64 { return hmac(EVP_sha256(), key: key, message: message, size: 32) }
        // Look-ups take several of these for each request, and OpenSSL's set-up costs more than their four blocks.
        var inner = SHA256Stream()
        inner.update(padded: key, with: 0x36)
        message.withUnsafeBytes { inner.update($0) }
        var outer = SHA256Stream()
        outer.update(padded: key, with: 0x5C)
        outer.update(inner.finish())
        return outer.finish().bytes
    }

    /// HMAC-SHA-1, 20 bytes. Only for Twilio's request signatures, which are defined with it.
    package static func hmacSHA1(key: [UInt8], message: [UInt8]) -> [UInt8] {
        hmac(EVP_sha1(), key: key, message: message, size: 20)
    }

    private static func hmac(_ algorithm: OpaquePointer?, key: [UInt8], message: [UInt8], size: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: size) { output, count in
            // An empty key is legal for HMAC, but OpenSSL reads a null key pointer as "reuse the last key".
            let keyBytes = key.isEmpty ? [0] : key
            _ = HMAC(algorithm, keyBytes, Int32(key.count), message, message.count, output.baseAddress, nil)
            count = size
        }
    }

    /// Compares without leaking where the first difference is. Lengths are not secret.
    package static func equalConstantTime(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        a.count == b.count && CRYPTO_memcmp(a, b, a.count) == 0
    }

    /// Bytes from OpenSSL's seeded generator. A machine without entropy cannot keep a secret, so this traps.
    package static func randomBytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
            fillRandom(UnsafeMutableRawBufferPointer(output))
            initialized = count
        }
    }

    /// As `randomBytes`, into memory of the caller.
    static func fillRandom(_ output: UnsafeMutableRawBufferPointer) {
        let filled = RAND_bytes(output.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(output.count))
        precondition(filled == 1, "the system's random number generator failed; refusing to make weak keys")
    }

    /// Random bytes that nobody keeps secret: nonces and ids. They come from the same generator, some thousand at a time,
    /// because every call to it costs a system call.
    package static func publicRandomBytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
            fillPublicRandom(UnsafeMutableRawBufferPointer(output))
            initialized = count
        }
    }

    /// As `publicRandomBytes`, into memory of the caller, at most 64 bytes.
    static func fillPublicRandom(_ output: UnsafeMutableRawBufferPointer) {
        precondition(output.count <= 64)
        publicPool.withLock { pool in
            if pool.count < output.count { pool = randomBytes(4096) }
            output.copyBytes(from: pool.suffix(output.count))
            pool.removeLast(output.count)
        }
    }

    private static let publicPool = Mutex<[UInt8]>([])

    /// Overwrites what functions that have returned left on this thread's stack: keys and plaintexts pass through it.
    ///
    /// - Parameter bytes: how deep they went.
    package static func eraseStack(_ bytes: Int = 16 << 10) { waybill_clear_stack(bytes) }

    /// Keeps this process out of core dumps, and its memory away from other processes of the same user.
    package static func forbidDumps() { waybill_forbid_dumps() }

    /// Overwrites key material in place; the compiler may not remove it (OPENSSL_cleanse).
    package static func erase(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { erase($0) }
    }

    /// The same for memory that is no array.
    static func erase(_ memory: UnsafeMutableRawBufferPointer) { OPENSSL_cleanse(memory.baseAddress, memory.count) }
}
