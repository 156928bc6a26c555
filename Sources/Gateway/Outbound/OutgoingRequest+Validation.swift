extension OutgoingRequest {
    /// What makes this request impossible to send, or nil.
    ///
    /// libcurl writes header lines as it gets them, so a line break inside one would begin a header, or a request, of
    /// someone else's making; and C strings end at a NUL, so that something other than what was checked would be sent.
    func defect() -> TransferError? {
        if url.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) {
            return Self.refusal(.invalidURL, "the URL contains a space or a control character")
        }
        switch (method, body.isEmpty) {
        case ("POST", _), ("GET", true): break
        case ("GET", false): return Self.refusal(.protocolError, "a GET request carries no body")
        default: return Self.refusal(.protocolError, "the method is neither GET nor POST")
        }
        if headers.contains(where: { !Self.isToken($0.name) }) {
            return Self.refusal(.protocolError, "a header name contains a character that names cannot have")
        }
        if headers.contains(where: { !Self.isFieldValue($0.value) }) {
            return Self.refusal(.protocolError, "a header value contains a control character")
        }
        return nil
    }

    private static func refusal(_ failure: TransferFailure, _ detail: String) -> TransferError {
        TransferError(failure, requestBytesSent: false, detail: detail)
    }

    /// RFC 9110, section 5.6.2.
    private static func isToken(_ name: String) -> Bool {
        !name.isEmpty
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
                case UInt8(ascii: "0")...UInt8(ascii: "9"): true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
    }

    private static func isFieldValue(_ value: String) -> Bool {
        value.utf8.allSatisfy { ($0 >= 0x20 && $0 != 0x7F) || $0 == UInt8(ascii: "\t") }
    }
}
