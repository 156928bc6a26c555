/// Chooses where root keys are kept by what the setting `key_root` says.
package enum RootKeys {
    /// - Parameter place: the path of a file, or a PKCS #11 URI (RFC 7512).
    package static func holder(_ place: String) throws(LogError) -> any RootKeyHolder {
        PKCS11URI.isOne(place) ? PKCS11RootKeys(try PKCS11URI(place)) : RootKeyFile(path: place)
    }

    /// The place as it may be shown: without a PIN.
    package static func shown(_ place: String) -> String { PKCS11URI.isOne(place) ? PKCS11URI.masked(place) : place }
}
