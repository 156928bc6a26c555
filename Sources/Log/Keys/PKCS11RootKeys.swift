import CPKCS11
import CWaybill
import Glibc
import Synchronization

/// Root keys in a PKCS #11 token, where they are used and which they never leave. Each generation is one AES-256 key
/// object; its CKA_LABEL is the URI's `object`, its CKA_ID the generation in 8 bytes, highest first.
///
/// Durable means what the token means by it: a new key is there for good when the token says that it made it, and a
/// destroyed one is gone when the token says so. Every method blocks for as long as the token takes, which may be a
/// round trip over a network. All errors are `keyUnavailable`; those of the token name the call and its CKR code.
package final class PKCS11RootKeys: RootKeyHolder {
    private let uri: PKCS11URI
    /// Opened at the first use and kept. The lock is held for a whole operation: a session knows only one at a time.
    private let session = Mutex<PKCS11Session?>(nil)

    /// Touches nothing yet: the module is loaded and the PIN read when a key is first needed.
    package init(_ uri: PKCS11URI) { self.uri = uri }

    package func generations() throws(LogError) -> [UInt64] {
        let found = try perform { (session: PKCS11Session) throws(PKCS11Failure) -> [UInt64] in
            try session.generations()
        }
        return Set(found).sorted()
    }

    /// Throws when the generation has a key already: one that is replaced takes everything sealed under it along.
    package func create(_ generation: UInt64) throws(LogError) {
        var wasTried = false
        let isNew = try perform { (session: PKCS11Session) throws(PKCS11Failure) -> Bool in
            // The second time round, after the session was lost, the key is the one that was made the first time.
            if try session.findKey(generation) != nil { return wasTried }
            wasTried = true
            try session.createKey(generation)
            return true
        }
        guard isNew else {
            throw LogError(.keyUnavailable, "\(place) has a key of generation \(generation) already")
        }
    }

    package func destroy(_ generation: UInt64) throws(LogError) {
        let isGone = try perform { (session: PKCS11Session) throws(PKCS11Failure) -> Bool in
            try session.destroyKeys(generation)
            return try session.findKey(generation) == nil
        }
        // A purge is called completed on this word, so it is not taken unseen.
        guard isGone else {
            throw LogError(.keyUnavailable, "\(place) still has the key of generation \(generation)")
        }
    }

    package func seal(
        _ plaintext: [UInt8],
        generation: UInt64,
        authenticated: [UInt8]
    ) throws(LogError) -> [UInt8] {
        let sealed = try perform { (session: PKCS11Session) throws(PKCS11Failure) -> [UInt8]? in
            guard let key = try session.findKey(generation) else { return nil }
            return try session.seal(plaintext, key: key, authenticated: authenticated)
        }
        guard let box = sealed else { throw missing(generation) }
        return box
    }

    /// A generation that has no key is an error and not nil: the box may be as it should be.
    package func open(
        _ box: [UInt8],
        generation: UInt64,
        authenticated: [UInt8]
    ) throws(LogError) -> [UInt8]? {
        guard box.count >= AEAD.overhead else { return nil }
        let opened = try perform { (session: PKCS11Session) throws(PKCS11Failure) -> Opened in
            guard let key = try session.findKey(generation) else { return .noKey }
            guard let plaintext = try session.open(box, key: key, authenticated: authenticated) else {
                return .wrongBox
            }
            return .plaintext(plaintext)
        }
        switch opened {
        case .plaintext(let plaintext): return plaintext
        case .wrongBox: return nil
        case .noKey: throw missing(generation)
        }
    }

    private enum Opened: Sendable {
        case plaintext([UInt8])
        case wrongBox
        case noKey
    }

    /// What errors call the place of the keys.
    private var place: String { "the token pkcs11:\(uri.tokenName);object=\(uri.object)" }

    private func missing(_ generation: UInt64) -> LogError {
        LogError(.keyUnavailable, "\(place) has no root key of generation \(generation)")
    }

    private func perform<Value: Sendable>(
        _ body: (PKCS11Session) throws(PKCS11Failure) -> Value
    ) throws(LogError) -> Value {
        let result = session.withLock { current -> Result<Value, LogError> in
            Result { () throws(LogError) -> Value in try perform(body, on: &current) }
        }
        return try result.get()
    }

    /// Runs `body` on the open session, or on a new one. Only one that was open before may turn out to be lost: it is
    /// opened again, once.
    private func perform<Value>(
        _ body: (PKCS11Session) throws(PKCS11Failure) -> Value,
        on current: inout PKCS11Session?
    ) throws(LogError) -> Value {
        var mayReopen = current != nil
        while true {
            do throws(PKCS11Failure) {
                let session: PKCS11Session
                if let current { session = current } else { session = try openSession() }
                current = session
                return try body(session)
            } catch {
                if error.meansSessionLost { current = nil }
                guard error.meansSessionLost, mayReopen else { throw explained(error) }
                mayReopen = false
            }
        }
    }

    private func openSession() throws(PKCS11Failure) -> PKCS11Session {
        let session = try PKCS11Session(modulePath: uri.modulePath, label: uri.object)
        let slot = try session.findToken(uri)
        var pin = try readPIN()
        defer { Crypto.erase(&pin) }
        try session.logIn(slot: slot, pin: pin)
        return session
    }

    private func readPIN() throws(PKCS11Failure) -> [UInt8] {
        switch uri.pin {
        case .value(let text): return [UInt8](text.utf8)
        case .file(let path): return try readPINFile(path)
        }
    }

    private func explained(_ failure: PKCS11Failure) -> LogError {
        switch failure {
        case .refused(let error): error
        case .call(let name, let value, let detail):
            LogError(
                .keyUnavailable,
                "\(name) failed: \(detail ?? PKCS11Failure.name(value)); the root key is to be in \(place)"
            )
        }
    }
}

/// The bytes of the PIN, which the caller erases. They are read straight into the array that is returned: a buffer in
/// between would keep them.
private func readPINFile(_ path: String) throws(PKCS11Failure) -> [UInt8] {
    let descriptor = waybill_open(path, O_RDONLY | O_CLOEXEC, 0)
    guard descriptor >= 0 else { throw PKCS11Failure.because("could not open the PIN file \(path)", errno: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
        throw PKCS11Failure.because("could not inspect the PIN file \(path)", errno: errno)
    }
    guard status.st_mode & 0o077 == 0 else {
        throw PKCS11Failure.because("the PIN file \(path) is open to other users; run chmod 600 on it")
    }
    var pin = [UInt8](repeating: 0, count: 1024)
    let count = read(descriptor, &pin, pin.count)
    guard count >= 0, count < pin.count else {
        Crypto.erase(&pin)
        throw PKCS11Failure.because("the PIN file \(path) could not be read, or is too long for a PIN")
    }
    pin.removeLast(pin.count - count)
    if pin.last == UInt8(ascii: "\n") { pin.removeLast() }
    guard !pin.isEmpty else { throw PKCS11Failure.because("the PIN file \(path) is empty") }
    return pin
}

/// Why a token did not do what it was asked for.
private enum PKCS11Failure: Error {
    /// A function of the module, the CK_RV it returned, and what the system said where there is no such value.
    case call(String, UInt, String?)
    /// What was found out on this side.
    case refused(LogError)

    static func because(_ message: String, errno: Int32? = nil) -> PKCS11Failure {
        .refused(LogError(.keyUnavailable, message, errno: errno))
    }

    /// "CKR_PIN_INCORRECT", or the number where the standard has no name for it.
    static func name(_ value: UInt) -> String {
        guard let name = waybill_pkcs11_name(value) else { return "CKR 0x" + String(value, radix: 16) }
        return String(cString: name)
    }

    init?(_ result: waybill_pkcs11_result) {
        guard let call = result.call else { return nil }
        self = .call(String(cString: call), result.value, result.detail.map { String(cString: $0) })
    }

    /// Whether a new session may do better: the token was unplugged and put back, another part of the process logged
    /// out, or the session hangs in an operation that was not finished.
    var meansSessionLost: Bool {
        guard case .call(_, let value, _) = self else { return false }
        return [
            UInt(waybill_ckr_device_removed), UInt(waybill_ckr_operation_active), UInt(waybill_ckr_session_closed),
            UInt(waybill_ckr_session_handle_invalid), UInt(waybill_ckr_token_not_present),
            UInt(waybill_ckr_user_not_logged_in), UInt(waybill_ckr_cryptoki_not_initialized),
        ].contains(value)
    }

    /// Whether decryption says that this is not what was sealed with this key.
    var meansWrongBox: Bool {
        guard case .call("C_Decrypt", let value, _) = self else { return false }
        return [
            UInt(waybill_ckr_data_invalid), UInt(waybill_ckr_aead_decrypt_failed),
            UInt(waybill_ckr_encrypted_data_invalid), UInt(waybill_ckr_encrypted_data_len_range),
        ].contains(value)
    }

    /// Whether decryption says so little that it may be the box or the token.
    var mayMeanWrongBox: Bool {
        guard case .call("C_Decrypt", let value, _) = self else { return false }
        return value == UInt(waybill_ckr_general_error) || value == UInt(waybill_ckr_function_failed)
    }
}

private func check(_ result: waybill_pkcs11_result) throws(PKCS11Failure) {
    if let failure = PKCS11Failure(result) { throw failure }
}

/// One module and its session: the only owner of the C handle.
///
/// `@unchecked Sendable`: nothing here changes after `init`, and what is behind the handle is used only under the lock
/// of the `PKCS11RootKeys` that keeps the session.
private final class PKCS11Session: @unchecked Sendable {
    private let handle: OpaquePointer
    private let label: String

    init(modulePath: String, label: String) throws(PKCS11Failure) {
        var loaded: OpaquePointer?
        try check(waybill_pkcs11_load(modulePath, &loaded))
        guard let handle = loaded else {
            throw PKCS11Failure.because("the PKCS #11 module \(modulePath) gave no handle")
        }
        self.handle = handle
        self.label = label
    }

    deinit { waybill_pkcs11_close(handle) }

    /// The slot of the one token that is meant.
    func findToken(_ uri: PKCS11URI) throws(PKCS11Failure) -> UInt {
        var slot: UInt = 0
        var matches = 0
        try check(
            waybill_pkcs11_find_token(
                handle,
                uri.token,
                uri.serial,
                uri.manufacturer,
                uri.model,
                uri.slot == nil ? 1 : 0,
                uri.slot ?? 0,
                &slot,
                &matches
            )
        )
        guard matches == 1 else {
            let found = matches == 0 ? "no token" : "\(matches) tokens"
            throw PKCS11Failure.because("the PKCS #11 module \(uri.modulePath) has \(found) with \(uri.tokenName)")
        }
        return slot
    }

    func logIn(slot: UInt, pin: [UInt8]) throws(PKCS11Failure) {
        try check(waybill_pkcs11_log_in(handle, slot, pin, pin.count))
    }

    /// In no order; one twice when its key was copied.
    func generations() throws(PKCS11Failure) -> [UInt64] {
        var found = [UInt64](repeating: 0, count: 16)
        while true {
            var count = 0
            try check(waybill_pkcs11_generations(handle, label, &found, found.count, &count))
            if count <= found.count { return Array(found.prefix(count)) }
            found = [UInt64](repeating: 0, count: count)
        }
    }

    /// The object of the one key of that generation, or nil when there is none.
    func findKey(_ generation: UInt64) throws(PKCS11Failure) -> UInt? {
        var key: UInt = 0
        var matches = 0
        try check(waybill_pkcs11_find_key(handle, label, generation, &key, &matches))
        guard matches <= 1 else {
            throw PKCS11Failure.because(
                "the PKCS #11 token has \(matches) keys of generation \(generation) and object=\(label)"
            )
        }
        return matches == 1 ? key : nil
    }

    func createKey(_ generation: UInt64) throws(PKCS11Failure) {
        try check(waybill_pkcs11_create_key(handle, label, generation))
    }

    /// All of them, should there be copies.
    func destroyKeys(_ generation: UInt64) throws(PKCS11Failure) {
        try check(waybill_pkcs11_destroy_keys(handle, label, generation))
    }

    /// A box as `AEAD` makes it.
    func seal(_ plaintext: [UInt8], key: UInt, authenticated: [UInt8]) throws(PKCS11Failure) -> [UInt8] {
        var nonce = Crypto.publicRandomBytes(AEAD.nonceSize)
        var sealed = [UInt8](repeating: 0, count: plaintext.count + AEAD.tagSize)
        var count = sealed.count
        try check(
            waybill_pkcs11_encrypt(
                handle,
                key,
                &nonce,
                authenticated,
                authenticated.count,
                plaintext,
                plaintext.count,
                &sealed,
                &count
            )
        )
        guard count == sealed.count else {
            throw PKCS11Failure.because(
                "the PKCS #11 token sealed \(plaintext.count) bytes as \(count), which is not AES-GCM"
            )
        }
        return nonce + sealed
    }

    /// Nil when the box is not what was sealed with this key.
    func open(_ box: [UInt8], key: UInt, authenticated: [UInt8]) throws(PKCS11Failure) -> [UInt8]? {
        switch decrypt(box, key: key, authenticated: authenticated) {
        case .success(let plaintext): return plaintext
        case .failure(let failure) where failure.meansWrongBox: return nil
        case .failure(let failure) where failure.mayMeanWrongBox:
            // SoftHSM says CKR_GENERAL_ERROR for a wrong tag. A key that still opens what it seals leaves only the box.
            let probe = try seal([0], key: key, authenticated: [])
            guard case .success = decrypt(probe, key: key, authenticated: []) else { throw failure }
            return nil
        case .failure(let failure): throw failure
        }
    }

    private func decrypt(_ box: [UInt8], key: UInt, authenticated: [UInt8]) -> Result<[UInt8], PKCS11Failure> {
        let nonce = Array(box.prefix(AEAD.nonceSize))
        let sealed = Array(box.dropFirst(AEAD.nonceSize))
        var plaintext = [UInt8](repeating: 0, count: sealed.count)
        var count = plaintext.count
        let result = waybill_pkcs11_decrypt(
            handle,
            key,
            nonce,
            authenticated,
            authenticated.count,
            sealed,
            sealed.count,
            &plaintext,
            &count
        )
        if let failure = PKCS11Failure(result) { return .failure(failure) }
        guard count == sealed.count - AEAD.tagSize else {
            return .failure(
                .because("the PKCS #11 token opened \(sealed.count) bytes as \(count), which is not AES-GCM")
            )
        }
        plaintext.removeLast(plaintext.count - count)
        return .success(plaintext)
    }
}
