package import Log
package import Projections

/// Where a provider has one file of a message, as the message's content says.
package struct MediaSource: Sendable, Equatable {
    package var platform: Platform
    /// `image`, `video`, `audio`, `document`, `sticker`.
    package var type: String
    /// As the provider said; empty when it did not.
    package var mimeType = ""
    package var filename = ""
    /// WhatsApp's id of the file, to ask for its URL.
    package var providerID = ""
    package var url = ""
    /// As the provider wrote it, hexadecimal or Base64; empty when it said nothing.
    package var sha256 = ""

    package init(platform: Platform, type: String) {
        self.platform = platform
        self.type = type
    }

    /// - Parameter content: the sealed content of the message. Nil when it has no such file.
    init?(_ content: [UInt8], index: Int, _ platform: Platform) {
        let media = ProviderJSON(content)?["media"]?.elements ?? []
        guard media.indices.contains(index) else { return nil }
        let item = media[index]
        self.init(platform: platform, type: item["type"]?.text ?? "")
        mimeType = item["mime_type"]?.text ?? ""
        filename = item["filename"]?.text ?? ""
        providerID = item["_provider_id"]?.text ?? ""
        url = item["_source_url"]?.text ?? ""
        sha256 = item["_sha256"]?.text ?? ""
    }

    /// Whether the provider is asked for a URL first. Messenger's ids of stickers are no ids of files.
    package var isLookedUp: Bool { platform == .whatsapp && !providerID.isEmpty }

    /// The longest file that is kept, in bytes: above what any provider lets customers send.
    package var bytesMax: Int {
        switch type {
        case "sticker": 2 << 20
        case "image", "audio": 32 << 20
        case "video": 64 << 20
        default: 128 << 20
        }
    }

    /// Whether a digest is the one that somebody wrote, hexadecimal or Base64; also true for none and for what is neither.
    package static func agrees(_ digest: Digest, with written: String) -> Bool {
        let isHex = written.utf8.count == 2 * Digest.size
        let bytes = isHex ? Hex.decode(written.lowercased()) : Base64.decode(written)
        guard let bytes, bytes.count == Digest.size else { return true }
        return bytes == digest.bytes
    }
}
