import COpenSSL

/// A keyed permutation of 16-byte blocks: AES-256 on exactly one block (FIPS 197).
///
/// Used for ids only: distinct inputs give distinct, unguessable outputs, and the inverse needs no table.
package struct BlockPermutation: Sendable {
    private let key: [UInt8]

    package init(key: [UInt8]) {
        precondition(key.count == 32)
        self.key = key
    }

    package func encrypt(_ block: [UInt8]) -> [UInt8] { run(block, direction: 1) }
    package func decrypt(_ block: [UInt8]) -> [UInt8] { run(block, direction: 0) }

    private func run(_ block: [UInt8], direction: Int32) -> [UInt8] {
        precondition(block.count == 16)
        return [UInt8](unsafeUninitializedCapacity: 16) { output, count in
            let context = EVP_CIPHER_CTX_new()
            defer { EVP_CIPHER_CTX_free(context) }
            var written: Int32 = 0
            let done =
                EVP_CipherInit_ex(context, EVP_aes_256_ecb(), nil, key, nil, direction) == 1
                && EVP_CIPHER_CTX_set_padding(context, 0) == 1
                && EVP_CipherUpdate(context, output.baseAddress, &written, block, 16) == 1
            precondition(done && written == 16, "OpenSSL could not run AES on one block")
            count = 16
        }
    }
}
