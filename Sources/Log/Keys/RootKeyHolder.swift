/// Where root keys are kept, one for each generation: a file, a token, a service.
///
/// Every change of the key state that destroys something begins a new generation, so a holder must be able to destroy.
package protocol RootKeyHolder: Sendable {
    /// The generations whose key exists, ascending; empty when none was ever made.
    func generations() throws(LogError) -> [UInt64]
    /// Makes a new random key; durable when this returns.
    func create(_ generation: UInt64) throws(LogError)
    /// Destroys a key for good; no error when it is gone already.
    func destroy(_ generation: UInt64) throws(LogError)
    /// AES-256-GCM: nonce (12), ciphertext, tag (16).
    func seal(_ plaintext: [UInt8], generation: UInt64, authenticated: [UInt8]) throws(LogError) -> [UInt8]
    /// Nil when key, authenticated data or any bit of the box is wrong.
    func open(_ box: [UInt8], generation: UInt64, authenticated: [UInt8]) throws(LogError) -> [UInt8]?
}
