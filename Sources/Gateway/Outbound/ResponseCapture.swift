/// Collects what a server answers, within bounds that the server cannot move.
package struct ResponseCapture {
    /// Names and values together; what comes after is dropped.
    package static let headerBytesMax = 64 << 10
    /// How much body is read and thrown away behind the captured part, so that the connection stays usable.
    package static let discardedBytesMax = 256 << 10
    /// How much of header lines and trailers is read. libcurl bounds what stands before a body, and keeps all trailers in memory.
    package static let linesBytesMax = 512 << 10

    /// The code of the final response, from its status line on; interim responses (1xx) are none.
    package private(set) var status: Int?
    package private(set) var headers: [(name: String, value: String)] = []
    package private(set) var body: [UInt8] = []
    package private(set) var bodyTruncated = false
    /// Whether reading was given up because the body, or what follows it, is longer than is worth reading.
    package private(set) var stoppedReading = false

    /// Whether the final response's status line and all of its headers came: before that nobody has answered.
    var hasHead: Bool { headersEnded && status != nil }

    private let bodyBytesMax: Int
    private var headerBytes = 0
    private var linesBytes = 0
    private var headersEnded = false
    /// Whether anything came that reads like HTTP.
    private(set) var hasBegun = false
    private var discardedBytes = 0

    package init(bodyBytesMax: Int) {
        self.bodyBytesMax = max(0, bodyBytesMax)
    }

    /// Takes one line as libcurl hands it out: status lines, headers, the empty line after them, and trailers. Says whether more
    /// is wanted.
    package mutating func takeHeader(line: UnsafeRawBufferPointer) -> Bool {
        linesBytes += line.count
        guard linesBytes <= Self.linesBytesMax else {
            // Trailers follow a whole body.
            stoppedReading = headersEnded && status != nil
            return false
        }
        let text = line.trimming(Self.isLineEnd)
        hasBegun = true
        if text.isEmpty {
            headersEnded = true
        } else if status == nil, text.starts(with: "HTTP/".utf8) {
            // What came before was an interim response.
            headers.removeAll(keepingCapacity: true)
            headerBytes = 0
            headersEnded = false
            status = Self.status(text)
        } else if !headersEnded {
            // Behind the end there are only trailers, which a response's meaning must not hang on.
            addHeader(text)
        }
        return true
    }

    /// Takes a part of the body and says whether more is wanted.
    package mutating func takeBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        hasBegun = true
        let captured = bytes.prefix(bodyBytesMax - body.count)
        body.append(contentsOf: captured)
        discardedBytes += bytes.count - captured.count
        bodyTruncated = discardedBytes > 0
        stoppedReading = discardedBytes > Self.discardedBytesMax
        return !stoppedReading
    }

    /// The final code that a status line says: three digits behind its first space.
    private static func status(_ line: Slice<UnsafeRawBufferPointer>) -> Int? {
        let digits = line.drop { !isBlank($0) }.drop { isBlank($0) }.prefix { !isBlank($0) }
        guard digits.count == 3, digits.allSatisfy({ (48...57).contains($0) }) else { return nil }
        let code = digits.reduce(0) { $0 * 10 + Int($1 - 48) }
        return code >= 200 ? code : nil
    }

    /// The status line has no colon before its first space, and folded lines start with one: both fall out here.
    private mutating func addHeader(_ line: Slice<UnsafeRawBufferPointer>) {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return }
        let name = line[..<colon]
        guard !name.isEmpty, !name.contains(where: Self.isBlank) else { return }
        let value = line[line.index(after: colon)...].trimming(Self.isBlank)
        headerBytes += name.count + value.count
        guard headerBytes <= Self.headerBytesMax else { return }
        headers.append((String(decoding: name, as: UTF8.self).lowercased(), String(decoding: value, as: UTF8.self)))
    }

    private static func isLineEnd(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "\r") || byte == UInt8(ascii: "\n")
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
    }
}

extension BidirectionalCollection where SubSequence == Slice<UnsafeRawBufferPointer>, Element == UInt8 {
    /// Without the bytes at both ends that match.
    fileprivate func trimming(_ isTrimmed: (UInt8) -> Bool) -> Slice<UnsafeRawBufferPointer> {
        var rest = self[...]
        while let first = rest.first, isTrimmed(first) { rest.removeFirst() }
        while let last = rest.last, isTrimmed(last) { rest.removeLast() }
        return rest
    }
}
