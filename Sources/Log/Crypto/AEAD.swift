import COpenSSL

/// AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce stored in front of the ciphertext.
///
/// Layout of a sealed box: nonce 12 bytes, ciphertext as long as the plaintext, tag 16 bytes. Each key seals few boxes
/// (one message's parts, or the chunks of one file), far below the 2^32 limit at which random nonces would have to worry
/// anyone.
package enum AEAD {
    package static let nonceSize = 12
    package static let tagSize = 16
    package static let overhead = nonceSize + tagSize
    fileprivate static let cipher = FetchedCipher("AES-256-GCM")

    /// Seals `plaintext`; `authenticated` is bound to the box but not stored in it.
    package static func seal(_ plaintext: [UInt8], key: [UInt8], authenticated: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: plaintext.count + overhead) { output, count in
            plaintext.withUnsafeBytes { plaintext in
                key.withUnsafeBytes { key in
                    authenticated.withUnsafeBytes { authenticated in
                        let box = UnsafeMutableRawBufferPointer(output)
                        BoxSealer().seal(plaintext, key: key, authenticated: authenticated, into: box)
                    }
                }
            }
            count = plaintext.count + overhead
        }
    }

    /// Opens a box, or returns nil when key, authenticated data or any bit of the box is wrong.
    package static func open(_ box: [UInt8], key: [UInt8], authenticated: [UInt8]) -> [UInt8]? {
        box.withUnsafeBytes { box in
            key.withUnsafeBytes { key in
                authenticated.withUnsafeBytes { open(box, key: key, authenticated: $0) }
            }
        }
    }

    /// The same for bytes that lie elsewhere.
    static func open(
        _ box: UnsafeRawBufferPointer,
        key: UnsafeRawBufferPointer,
        authenticated: UnsafeRawBufferPointer
    ) -> [UInt8]? {
        guard box.count >= overhead, key.count == 32 else { return nil }
        let length = box.count - overhead
        var opened = false
        let plaintext = [UInt8](unsafeUninitializedCapacity: max(length, 1)) { output, count in
            opened = decrypt(box, length: length, key: key, authenticated: authenticated, into: output)
            count = opened ? length : 0
        }
        return opened ? plaintext : nil
    }

    private static func decrypt(
        _ box: UnsafeRawBufferPointer,
        length: Int,
        key: UnsafeRawBufferPointer,
        authenticated: UnsafeRawBufferPointer,
        into output: UnsafeMutableBufferPointer<UInt8>
    ) -> Bool {
        guard let base = box.bytes else { return false }
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        var written: Int32 = 0
        let tag = UnsafeMutableRawPointer(mutating: base + nonceSize + length)
        return EVP_DecryptInit_ex(context, cipher.pointer, nil, key.bytes, base) == 1
            && EVP_DecryptUpdate(context, nil, &written, authenticated.bytes, Int32(authenticated.count)) == 1
            && EVP_DecryptUpdate(context, output.baseAddress, &written, base + nonceSize, Int32(length)) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(tagSize), tag) == 1
            && EVP_DecryptFinal_ex(context, output.baseAddress.map { $0 + length }, &written) == 1
    }
}

/// Seals boxes one after the other, each under a key of its own. What OpenSSL needs for it is made once and, with the last
/// key in it, overwritten when this goes.
package struct BoxSealer: ~Copyable {
    private let context = EVP_CIPHER_CTX_new()

    package init() {}

    deinit { EVP_CIPHER_CTX_free(context) }

    /// Fills the first bytes of `box`, `AEAD.overhead` more than `plaintext` has.
    func seal(
        _ plaintext: UnsafeRawBufferPointer,
        key: UnsafeRawBufferPointer,
        authenticated: UnsafeRawBufferPointer,
        into box: UnsafeMutableRawBufferPointer
    ) {
        precondition(key.count == 32 && box.count >= plaintext.count + AEAD.overhead)
        guard let base = box.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
        Crypto.fillPublicRandom(UnsafeMutableRawBufferPointer(rebasing: box[..<AEAD.nonceSize]))
        var written: Int32 = 0
        let text = base + AEAD.nonceSize
        let tag = text + plaintext.count
        // Naming the cipher again would make OpenSSL build everything anew.
        let cipher = EVP_CIPHER_CTX_get0_cipher(context) == nil ? AEAD.cipher.pointer : nil
        let sealed =
            EVP_EncryptInit_ex2(context, cipher, key.bytes, base, nil) == 1
            && EVP_EncryptUpdate(context, nil, &written, authenticated.bytes, Int32(authenticated.count)) == 1
            && EVP_EncryptUpdate(context, text, &written, plaintext.bytes, Int32(plaintext.count)) == 1
            && EVP_EncryptFinal_ex(context, tag, &written) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(AEAD.tagSize), tag) == 1
        // Encrypting bytes in memory has no failure a caller could handle; going on would store nothing or plaintext.
        precondition(sealed, "OpenSSL could not seal; refusing to go on")
    }
}

/// An algorithm looked up once: OpenSSL 3 searches its providers by name on every use of the older getters.
///
/// `@unchecked Sendable`: the object is never changed after it was fetched, and is kept for the life of the process.
private struct FetchedCipher: @unchecked Sendable {
    let pointer: OpaquePointer?

    init(_ name: String) {
        pointer = EVP_CIPHER_fetch(nil, name, nil)
        precondition(pointer != nil, "OpenSSL has no \(name)")
    }
}

extension UnsafeRawBufferPointer {
    fileprivate var bytes: UnsafePointer<UInt8>? { baseAddress?.assumingMemoryBound(to: UInt8.self) }
}
