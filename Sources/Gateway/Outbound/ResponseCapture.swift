/// Collects what a server answers, within bounds that the server cannot move.
package struct ResponseCapture {
    /// Names and values together; what comes after is dropped.
    package static let headerBytesMax = 64 << 10
    /// How much body is read and thrown away behind the captured part, so that the connection stays usable.
    package static let discardedBytesMax = 256 << 10

    package private(set) var headers: [(name: String, value: String)] = []
    package private(set) var body: [UInt8] = []
    package private(set) var bodyTruncated = false
    /// Whether reading was given up because the body is longer than is worth reading.
    package private(set) var stoppedReading = false

    private let bodyBytesMax: Int
    private var headerBytes = 0
    private var headersEnded = false
    private var discardedBytes = 0

    package init(bodyBytesMax: Int) {
        self.bodyBytesMax = max(0, bodyBytesMax)
    }

    /// Takes one line as libcurl hands it out: status lines, headers, the empty line after them, and trailers.
    package mutating func takeHeader(line: UnsafeRawBufferPointer) {
        let text = line.trimming(Self.isLineEnd)
        if text.isEmpty {
            headersEnded = true
        } else if headersEnded, text.starts(with: "HTTP/".utf8) {
            // What came before was an interim response (1xx), or one that libcurl repeated the request after.
            headers.removeAll(keepingCapacity: true)
            headersEnded = false
        } else if !headersEnded {
            // Behind the end there are only trailers, which a response's meaning must not hang on.
            addHeader(text)
        }
    }

    /// Takes a part of the body and says whether more is wanted.
    package mutating func takeBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let captured = bytes.prefix(bodyBytesMax - body.count)
        body.append(contentsOf: captured)
        discardedBytes += bytes.count - captured.count
        bodyTruncated = discardedBytes > 0
        stoppedReading = discardedBytes > Self.discardedBytesMax
        return !stoppedReading
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
