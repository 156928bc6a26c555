import Log

/// What a webhook says of a file where it is yet to be fetched: its id and URL, and a place for what is known when the event is
/// delivered.
///
/// A place is three bytes between the members of the file's object: 0x1A, the file's index, and what is wanted there. JSON text
/// holds no control characters (RFC 8259, section 7), so nothing that anyone wrote can look like one.
package struct MediaPlaces: Sendable {
    package struct Place: Sendable, Equatable {
        package let index: Int
        /// Whether the provider did not say of what type it is.
        package let wantsMimeType: Bool
        /// Whether the file itself goes there.
        package let isInline: Bool
    }

    /// What is filled in.
    package enum Filling: Sendable {
        /// Not here when the event was first delivered.
        case unknown
        case size(UInt64, mimeType: String)
        /// As Base64.
        case content([UInt8], size: UInt64, mimeType: String)
        /// Why the file is not in the one place where it would be.
        case omitted(StaticString)
    }

    private static let mark: UInt8 = 0x1A
    private static let wantsMimeType: UInt8 = 1
    private static let isInline: UInt8 = 2

    private let ids: OpaqueID
    private let message: LogPosition
    private let isInline: Bool

    init(ids: OpaqueID, message: LogPosition, isInline: Bool) {
        self.ids = ids
        self.message = message
        self.isInline = isInline
    }

    /// The path of a file in the API.
    package static func path(_ id: String) -> String { "/v1/media/\(id)" }

    func writeID(_ index: Int, _ json: inout JSONWriter) {
        guard index < MediaBook.filesMax else { return }
        json.string("id", id(index))
    }

    /// After the members of the file that are known.
    func writeRest(_ index: Int, hasMimeType: Bool, _ json: inout JSONWriter) {
        if index < MediaBook.filesMax {
            if !isInline { json.string("url", MediaPlaces.path(id(index))) }
            let wants = (hasMimeType ? 0 : MediaPlaces.wantsMimeType) | (isInline ? MediaPlaces.isInline : 0)
            json.raw([MediaPlaces.mark, UInt8(index), wants])
        } else if !hasMimeType {
            json.string("mime_type", nil)
        }
    }

    private func id(_ index: Int) -> String { ids.encode(.media, message, part: UInt8(index)) }

    /// Whether there is any place in a text.
    package static func areIn(_ text: [UInt8]) -> Bool { text.contains(mark) }

    /// The text with every place filled.
    package static func fill(_ text: [UInt8], _ filling: (Place) throws -> Filling) rethrows -> [UInt8] {
        guard var next = text.firstIndex(of: mark) else { return text }
        var filled: [UInt8] = []
        filled.reserveCapacity(text.count + 64)
        var start = 0
        while next + 2 < text.count {
            filled += text[start..<next]
            let place = Place(
                index: Int(text[next + 1]),
                wantsMimeType: text[next + 2] & wantsMimeType != 0,
                isInline: text[next + 2] & isInline != 0
            )
            append(try filling(place), place, to: &filled)
            start = next + 3
            guard let further = text[start...].firstIndex(of: mark) else { break }
            next = further
        }
        filled += text[start...]
        return filled
    }

    /// Members after others, so each with its comma.
    private static func append(_ filling: Filling, _ place: Place, to text: inout [UInt8]) {
        switch filling {
        case .unknown: appendMimeType("", place, to: &text)
        case .size(let size, let mimeType):
            appendMimeType(mimeType, place, to: &text)
            text += ",\"size\":\(size)".utf8
        case .content(let base64, let size, let mimeType):
            appendMimeType(mimeType, place, to: &text)
            text += ",\"size\":\(size),\"content\":\"".utf8
            text += base64
            text.append(UInt8(ascii: "\""))
        case .omitted(let why):
            appendMimeType("", place, to: &text)
            text += ",\"omitted\":\"\(why)\"".utf8
        }
    }

    private static func appendMimeType(_ mimeType: String, _ place: Place, to text: inout [UInt8]) {
        guard place.wantsMimeType else { return }
        var json = JSONWriter()
        if mimeType.isEmpty { json.null() } else { json.string(mimeType) }
        text += ",\"mime_type\":".utf8
        text += json.bytes
    }
}
