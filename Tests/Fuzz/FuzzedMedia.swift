import Gateway
import Log
import Projections
import TestSupport

// Files of messages: what lies on the disk, and what providers and clients say of them.

private let media = "/media"
private let leaf = LeafKey(.zero)
private let reference = KeyReference(client: 3, leaf: 9, epoch: 2, keyClass: .message)

/// A sealed file with some of its bytes changed, and perhaps cut: three bytes place and change, as often as there are some.
@Sendable func mediaFile(_ bytes: UnsafeRawBufferPointer) {
    let storage = SimulatedStorage(directory: media)
    let plaintext = [UInt8](repeating: 7, count: 70_000)
    guard
        let writer = try? SealedFileWriter(
            media + "/1.part",
            storage: storage,
            reference: reference,
            leaf: leaf,
            message: LogPosition(1),
            index: 0
        ), (try? plaintext.withUnsafeBytes { try writer.append($0) }) != nil,
        (try? writer.finish(as: media + "/1")) != nil, var file = try? storage.readAll(media + "/1")
    else { return }
    var isChanged = false
    for start in stride(from: 0, to: bytes.count - 2, by: 3) where bytes[start + 2] != 0 {
        let place = (Int(bytes[start]) << 8 | Int(bytes[start + 1])) * 17 % file.count
        file[place] ^= bytes[start + 2]
        isChanged = true
    }
    let original = (try? storage.readAll(media + "/1")) ?? []
    isChanged = isChanged && file != original
    if let first = bytes.first, first & 1 == 1 {
        file.removeLast(min(file.count, Int(first) << 8))
        isChanged = true
    }
    guard (try? storage.replaceFile(media + "/1", with: file)) != nil else { return }
    let read = try? { () throws -> [UInt8] in
        let reader = try SealedFileReader(media + "/1", storage: storage, message: LogPosition(1), index: 0) { _ in leaf
        }
        return try (0..<reader.chunkCount).flatMap { try reader.chunk($0) }
    }()
    precondition(read == nil || read == plaintext, "what is damaged is never read as something else")
    precondition(isChanged || read == plaintext, "what is whole is read")
}

/// Answers of Meta's about files, URLs in them, ranges, names and types.
@Sendable func mediaAnswers(_ bytes: UnsafeRawBufferPointer) {
    let body = [UInt8](bytes)
    let text = String(decoding: body, as: UTF8.self)
    let response = OutgoingResponse(status: 200, headers: [], body: body, bodyTruncated: false, duration: .zero)
    _ = MediaLookup.answer(.success(response))
    var source = MediaSource(platform: .sms, type: "image")
    source.url = text
    let access = MediaAccess(
        twilio: "https://api.twilio.com",
        graph: "https://graph.facebook.com",
        instagram: "https://graph.instagram.com",
        allowsHTTP: false
    )
    var download = MediaDownload(source, access)
    if case .fetch(let url, let way, let isAuthorized) = download.first() {
        precondition(url.lowercased().hasPrefix("https:"), "nothing else is fetched")
        precondition(!isAuthorized || way == .configured, "a credential goes to its provider only")
    }
    if let range = ByteRange.parse(text, length: 1000).range {
        precondition(range.lowerBound >= 0 && range.upperBound <= 1000, "a part of the file")
    }
    let disposition = ContentDisposition.attachment(text)
    precondition(disposition.utf8.allSatisfy { (0x20...0x7E).contains($0) }, "a header's value")
    precondition(MediaType(text).text.utf8.allSatisfy { (0x20...0x7E).contains($0) }, "a header's value")
    _ = MediaPlaces.fill(body) { _ in .omitted("unavailable") }
    _ = MediaFiles.parse(text)
}
