/// A media type that may be repeated in a header and a record (RFC 9110, section 8.3.1).
package struct MediaType {
    package let text: String

    /// What is none becomes `application/octet-stream`, as RFC 2046 has it for the unknown.
    package init(_ said: String) {
        let isPlain = said.utf8.allSatisfy { (0x20...0x7E).contains($0) }
        let type = said.prefix { $0 != ";" }.split(separator: "/", omittingEmptySubsequences: false)
        let isType = type.count == 2 && type.allSatisfy { !$0.isEmpty && $0 != " " }
        text = isPlain && isType && said.utf8.count <= 127 ? said : "application/octet-stream"
    }
}
