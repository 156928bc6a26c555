import Log
import Projections

/// Webhook bodies as Meta writes them: what is not ASCII as `\u` with four hex digits, and `/` as `\/`.
enum MetaWire {
    /// Where Meta has a file: WhatsApp tells the id, the others the URL.
    struct Place: Sendable {
        let id: String
        let url: String
    }

    /// What one webhook may hold several of: a whole entry of Messenger or Instagram, a change of WhatsApp.
    struct Item: Sendable {
        fileprivate let object: String
        fileprivate let json: [UInt8]
    }

    /// - Parameter items: of one object.
    static func webhook(_ items: [Item]) -> [UInt8] {
        let object = items.first?.object ?? pages
        return escaped(
            JSONWriter.object { json in
                json.string("object", object)
                json.array("entry") { json in
                    guard object == businessAccounts else { return elements(items, &json) }
                    json.element { json in
                        json.object { json in
                            json.string("id", SimulatedGraph.businessAccount)
                            json.array("changes") { elements(items, &$0) }
                        }
                    }
                }
            }
        )
    }

    private static func elements(_ items: [Item], _ json: inout JSONWriter) {
        for item in items { json.element { $0.raw(item.json) } }
    }

    private static let pages = "page"
    private static let businessAccounts = "whatsapp_business_account"

    /// - Parameter place: of the message's file, where it has one.
    static func message(_ message: CustomerMessage, _ place: Place?, at time: Timestamp) -> Item {
        let id = Hex.encode(Crypto.randomBytes(16))
        switch message.platform {
        case .facebook, .instagram:
            return direct(message.platform, message.account, from: message.from, at: time) { json in
                json.object("message") { json in
                    json.string("mid", "m_" + id)
                    if !message.text.isEmpty { json.string("text", message.text) }
                    if let file = message.file, let place { attachments(file, place, &json) }
                }
            }
        case .whatsapp, .sms:
            return whatsApp(message.account) { json in
                json.array("contacts") { json in
                    json.element { json in
                        json.object { json in
                            json.object("profile") { $0.string("name", "Sandbox customer") }
                            json.string("wa_id", message.from)
                        }
                    }
                }
                json.array("messages") { json in
                    json.element { json in
                        json.object { json in
                            json.string("from", message.from)
                            json.string("id", "wamid." + id)
                            json.string("timestamp", String(time.wholeSeconds))
                            content(of: message, place, &json)
                        }
                    }
                }
            }
        }
    }

    private static func attachments(_ file: SandboxFile, _ place: Place, _ json: inout JSONWriter) {
        json.array("attachments") { json in
            json.element { json in
                json.object { json in
                    json.string("type", file.type == "document" ? "file" : file.type)
                    json.object("payload") { $0.string("url", place.url) }
                }
            }
        }
    }

    private static func content(of message: CustomerMessage, _ place: Place?, _ json: inout JSONWriter) {
        guard let file = message.file, let place else {
            json.string("type", "text")
            return json.object("text") { $0.string("body", message.text) }
        }
        json.string("type", file.type)
        json.key(dynamic: file.type)
        json.object { json in
            let hasCaption = file.type != "audio" && file.type != "sticker"
            if hasCaption, !file.caption.isEmpty { json.string("caption", file.caption) }
            if file.type == "document", !file.filename.isEmpty { json.string("filename", file.filename) }
            json.string("mime_type", file.mimeType)
            json.string("sha256", Base64.encode(Crypto.sha256(file.content)))
            json.string("id", place.id)
            // What is recorded in WhatsApp itself is Opus in Ogg.
            if file.type == "audio" { json.bool("voice", file.mimeType.hasPrefix("audio/ogg")) }
        }
    }

    static func status(
        _ id: String,
        _ status: String,
        ours: String,
        account: String,
        to: String,
        at time: Timestamp
    ) -> Item {
        whatsApp(account) { json in
            json.array("statuses") { json in
                json.element { json in
                    json.object { json in
                        json.string("id", id)
                        json.string("status", status)
                        json.string("timestamp", String(time.wholeSeconds))
                        json.string("recipient_id", to)
                        if !ours.isEmpty { json.string("biz_opaque_callback_data", ours) }
                    }
                }
            }
        }
    }

    static func read(account: String, by customer: String, at time: Timestamp) -> Item {
        direct(.facebook, account, from: customer, at: time) { json in
            json.object("read") { $0.number("watermark", time.nanoseconds / 1_000_000) }
        }
    }

    static func seen(_ id: String, account: String, by customer: String, at time: Timestamp) -> Item {
        direct(.instagram, account, from: customer, at: time) { json in
            json.object("read") { $0.string("mid", id) }
        }
    }

    private static func direct(
        _ platform: Platform,
        _ account: String,
        from: String,
        at time: Timestamp,
        _ event: (inout JSONWriter) -> Void
    ) -> Item {
        let entry = JSONWriter.object { json in
            json.string("id", account)
            json.number("time", time.nanoseconds / 1_000_000)
            json.array("messaging") { json in
                json.element { json in
                    json.object { json in
                        json.object("sender") { $0.string("id", from) }
                        json.object("recipient") { $0.string("id", account) }
                        json.number("timestamp", time.nanoseconds / 1_000_000)
                        event(&json)
                    }
                }
            }
        }
        return Item(object: platform == .facebook ? pages : "instagram", json: entry)
    }

    private static func whatsApp(_ account: String, _ value: (inout JSONWriter) -> Void) -> Item {
        let change = JSONWriter.object { json in
            json.string("field", "messages")
            json.object("value") { json in
                json.string("messaging_product", "whatsapp")
                json.object("metadata") { json in
                    json.string("display_phone_number", String(SimulatedGraph.ourNumber.dropFirst()))
                    json.string("phone_number_id", account)
                }
                value(&json)
            }
        }
        return Item(object: businessAccounts, json: change)
    }

    /// A slash is never part of an escape, and stands in strings only.
    private static func escaped(_ json: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        for unit in String(decoding: json, as: UTF8.self).utf16 {
            switch unit {
            case 0x2F: bytes += [0x5C, 0x2F]
            case 0..<0x80: bytes.append(UInt8(unit))
            default:
                bytes += [0x5C, 0x75]
                bytes += Hex.encode([UInt8(unit >> 8), UInt8(unit & 0xFF)]).utf8
            }
        }
        return bytes
    }
}
