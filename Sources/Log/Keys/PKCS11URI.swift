/// Names the root keys of a log in a PKCS #11 token (RFC 7512):
///
///     pkcs11:token=waybill;object=waybill-root?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin
///
/// The path says which token (`token`, `serial`, `slot-id`, narrowed by `manufacturer` and `model`) and under which
/// label the keys are kept (`object`); the query says which module speaks to it and where the PIN is. Attributes of
/// vendors are ignored. Those of the standard that Waybill cannot match are refused: ignoring one could choose another
/// token than was meant.
package struct PKCS11URI: Sendable, Equatable {
    /// Where the PIN comes from.
    package enum PIN: Sendable, Equatable {
        /// A file that holds it, and at most a newline behind it.
        case file(String)
        /// The PIN itself. It is then as public as the command line or the settings file that it stands in.
        case value(String)
    }

    private static let scheme = "pkcs11:"
    private static let tokenNames = ["token", "serial", "slot-id", "manufacturer", "model"]
    private static let pathNames = Set(tokenNames + ["object", "type"])
    private static let queryNames: Set<String> = ["module-path", "module-name", "pin-source", "pin-value"]
    private static let refusedNames: Set<String> = [
        "id", "slot-description", "slot-manufacturer", "library-description", "library-manufacturer", "library-version",
    ]

    /// What the token must be; nil is any.
    package let token: String?
    package let serial: String?
    package let manufacturer: String?
    package let model: String?
    package let slot: UInt?
    /// CKA_LABEL of the keys; they differ in CKA_ID, which is the generation.
    package let object: String
    package let modulePath: String
    package let pin: PIN

    /// Whether `text` is meant as such a URI and not as the path of a file, however oddly it is written.
    package static func isOne(_ text: String) -> Bool { SecretMask.plain(text[...]).hasPrefix(scheme) }

    /// `text` with the value of every `pin-value` replaced, for people to see, also when it is no right URI. What is
    /// not meant as one comes back as it is.
    package static func masked(_ text: String) -> String {
        guard isOne(text) else { return text }
        guard text.lowercased().hasPrefix(scheme) else { return SecretMask.attributes(text[...], separator: ";") }
        let parts = split(text)
        let path = SecretMask.attributes(parts.path, separator: ";")
        return scheme + path + (parts.query.map { "?" + SecretMask.attributes($0, separator: "&") } ?? "")
    }

    private static func split(_ text: String) -> (path: Substring, query: Substring?) {
        let parts = text.dropFirst(scheme.count).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        return (parts[0], parts.count > 1 ? parts[1] : nil)
    }

    /// Throws `keyUnavailable`, naming the attribute that is wrong but never its value.
    package init(_ text: String) throws(LogError) {
        guard text.lowercased().hasPrefix(PKCS11URI.scheme) else {
            throw PKCS11URI.invalid("it does not begin with \(PKCS11URI.scheme)")
        }
        let parts = PKCS11URI.split(text)
        let path = try PKCS11URI.parsePath(parts.path)
        let query = try PKCS11URI.parseQuery(parts.query ?? "")
        token = path["token"]
        serial = path["serial"]
        manufacturer = path["manufacturer"]
        model = path["model"]
        slot = try PKCS11URI.parseSlot(path["slot-id"])
        guard let object = path["object"], !object.isEmpty else {
            throw PKCS11URI.invalid("object, the label of this log's keys, is missing")
        }
        guard let modulePath = query["module-path"], !modulePath.isEmpty else {
            throw PKCS11URI.invalid("module-path, the token's library, is missing")
        }
        self.object = object
        self.modulePath = modulePath
        pin = try PKCS11URI.parsePIN(source: query["pin-source"], value: query["pin-value"])
    }

    /// What errors call the token: `token=waybill;slot-id=3`, without PIN and module.
    package var tokenName: String {
        let values = [token, serial, slot.map { String($0) }, manufacturer, model]
        return zip(PKCS11URI.tokenNames, values)
            .compactMap { name, value in value.map { "\(name)=\($0)" } }
            .joined(separator: ";")
    }

    private static func invalid(_ reason: String) -> LogError {
        LogError(.keyUnavailable, "the PKCS #11 URI of the root key is not right: \(reason)")
    }

    private static func parsePath(_ text: Substring) throws(LogError) -> [String: String] {
        var values: [String: String] = [:]
        for (name, value) in try attributes(text, separator: ";") {
            if refusedNames.contains(name) { throw invalid("Waybill does not choose by \(name)") }
            if queryNames.contains(name) { throw invalid("\(name) belongs behind the question mark") }
            guard values.updateValue(value, forKey: name) == nil else { throw invalid("\(name) is given twice") }
        }
        guard values["type", default: "secret-key"] == "secret-key" else {
            throw invalid("type can only be secret-key")
        }
        guard ["token", "serial", "slot-id"].contains(where: { values[$0] != nil }) else {
            throw invalid("it names no token, serial or slot-id")
        }
        return values
    }

    private static func parseQuery(_ text: Substring) throws(LogError) -> [String: String] {
        var values: [String: String] = [:]
        for (name, value) in try attributes(text, separator: "&") {
            if pathNames.contains(name) { throw invalid("\(name) belongs before the question mark") }
            // Only here may an attribute of a vendor be repeated.
            guard queryNames.contains(name) else { continue }
            guard values.updateValue(value, forKey: name) == nil else { throw invalid("\(name) is given twice") }
        }
        return values
    }

    private static func attributes(
        _ text: Substring,
        separator: Character
    ) throws(LogError) -> [(name: String, value: String)] {
        var attributes: [(name: String, value: String)] = []
        for attribute in text.split(separator: separator, omittingEmptySubsequences: text.isEmpty) {
            let pair = attribute.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(pair[0])
            guard pair.count == 2, isName(name) else {
                throw invalid("what stands between two \"\(separator)\" must have the form name=value")
            }
            guard let value = decoded(pair[1]) else { throw invalid("\(name) is not percent-encoded UTF-8") }
            attributes.append((name, value))
        }
        return attributes
    }

    /// Letters, digits, "-" and "_", as in RFC 7512 section 2.3.
    private static func isName(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"): true
                default: false
                }
            }
    }

    /// Nil for a wrong escape, bytes that are not UTF-8, and a zero byte, at which C would cut the text off.
    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = [UInt8](text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = digit(rest.popFirst()), let low = digit(rest.popFirst()) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes.contains(0) ? nil : String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8?) -> UInt8? {
        guard let byte, byte < 0x80 else { return nil }
        return Character(Unicode.Scalar(byte)).hexDigitValue.map { UInt8($0) }
    }

    private static func parseSlot(_ text: String?) throws(LogError) -> UInt? {
        guard let text else { return nil }
        // The initializer would also take a sign.
        guard let slot = UInt(text), text.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }) else {
            throw invalid("slot-id is not a number")
        }
        return slot
    }

    private static func parsePIN(source: String?, value: String?) throws(LogError) -> PIN {
        switch (source, value) {
        case (nil, nil): throw invalid("pin-source, the file of the PIN, is missing")
        case (nil, let value?): return .value(value)
        case (let source?, nil): return .file(try path(ofPINSource: source))
        default: throw invalid("pin-source and pin-value cannot both be given")
        }
    }

    /// The path of `file:/etc/pin`, `file:///etc/pin`, `file://localhost/etc/pin` or `/etc/pin`.
    private static func path(ofPINSource source: String) throws(LogError) -> String {
        var path = source[...]
        if path.hasPrefix("file:") {
            path = path.dropFirst("file:".count)
            if path.hasPrefix("//localhost/") { path = path.dropFirst("//localhost".count) }
            if path.hasPrefix("///") { path = path.dropFirst("//".count) }
        }
        // A host, a program to run ("|…") and other schemes are what a source could be besides; relative paths are not
        // worth telling apart from them.
        guard path.hasPrefix("/"), !path.hasPrefix("//") else {
            throw invalid("pin-source must be the absolute path of a file, as file:/etc/waybill/pin")
        }
        return String(path)
    }
}
