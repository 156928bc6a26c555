import COpenSSL
import Synchronization

/// A keyed permutation of 16-byte blocks: AES-256 on exactly one block (FIPS 197).
///
/// Used for ids only: distinct inputs give distinct, unguessable outputs, and the inverse needs no table. The cipher stays
/// set up between calls, because setting it up costs more than ten blocks.
///
/// `@unchecked Sendable`: the contexts are touched only with `lock` held.
package final class BlockPermutation: @unchecked Sendable {
    private let lock = Mutex(())
    private let encryption: OpaquePointer?
    private let decryption: OpaquePointer?

    package init(key: [UInt8]) {
        precondition(key.count == 32)
        encryption = BlockPermutation.context(key, direction: 1)
        decryption = BlockPermutation.context(key, direction: 0)
    }

    deinit {
        EVP_CIPHER_CTX_free(encryption)
        EVP_CIPHER_CTX_free(decryption)
    }

    package func encrypt(_ block: [UInt8]) -> [UInt8] { run(block, encryption) }
    package func decrypt(_ block: [UInt8]) -> [UInt8] { run(block, decryption) }

    private static func context(_ key: [UInt8], direction: Int32) -> OpaquePointer? {
        let context = EVP_CIPHER_CTX_new()
        let done =
            EVP_CipherInit_ex(context, EVP_aes_256_ecb(), nil, key, nil, direction) == 1
            && EVP_CIPHER_CTX_set_padding(context, 0) == 1
        precondition(done, "OpenSSL has no AES")
        return context
    }

    private func run(_ block: [UInt8], _ context: OpaquePointer?) -> [UInt8] {
        precondition(block.count == 16)
        return [UInt8](unsafeUninitializedCapacity: 16) { output, count in
            var written: Int32 = 0
            // Without padding a whole block leaves nothing behind in the context, so the next call starts clean.
            let result = lock.withLock { _ in EVP_CipherUpdate(context, output.baseAddress, &written, block, 16) }
            precondition(result == 1 && written == 16, "OpenSSL could not run AES on one block")
            count = 16
        }
    }
}
