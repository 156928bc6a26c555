import COpenSSL

/// Ed25519 (RFC 8032).
package enum Ed25519 {
    /// The public key, 32 bytes, of a private key of 32 bytes.
    package static func publicKey(seed: [UInt8]) -> [UInt8] {
        withPrivateKey(seed) { key in
            var count = 32
            return [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
                let done = EVP_PKEY_get_raw_public_key(key, output.baseAddress, &count)
                precondition(done == 1 && count == 32, "OpenSSL could not derive an Ed25519 key")
                initialized = count
            }
        }
    }

    /// 64 bytes.
    package static func sign(_ message: [UInt8], seed: [UInt8]) -> [UInt8] {
        withPrivateKey(seed) { key in
            let context = EVP_MD_CTX_new()
            defer { EVP_MD_CTX_free(context) }
            var count = 64
            return [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
                let done =
                    EVP_DigestSignInit(context, nil, nil, nil, key) == 1
                    && EVP_DigestSign(context, output.baseAddress, &count, message, message.count) == 1
                precondition(done && count == 64, "OpenSSL could not sign")
                initialized = count
            }
        }
    }

    package static func verify(_ message: [UInt8], _ signature: [UInt8], publicKey: [UInt8]) -> Bool {
        guard publicKey.count == 32, signature.count == 64 else { return false }
        let key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, publicKey, publicKey.count)
        defer { EVP_PKEY_free(key) }
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        return key != nil && EVP_DigestVerifyInit(context, nil, nil, nil, key) == 1
            && EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    }

    private static func withPrivateKey<T>(_ seed: [UInt8], _ body: (OpaquePointer?) -> T) -> T {
        precondition(seed.count == 32)
        let key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, seed.count)
        defer { EVP_PKEY_free(key) }
        precondition(key != nil, "OpenSSL has no Ed25519")
        return body(key)
    }
}
