import HTTPTypes
import Hummingbird
import Log
import Projections

/// What the Graph reads of a send, and what it answers.
extension SimulatedGraph {
    /// Instagram's own messages go to `me`.
    static func platform(of account: String, isWhatsApp: Bool) -> Platform {
        if isWhatsApp { return .whatsapp }
        return account == "me" ? .instagram : .facebook
    }

    static func recipient(_ body: ProviderJSON, isWhatsApp: Bool) -> String? {
        if !isWhatsApp { return body["recipient"]?["id"]?.text }
        // Typing is shown by marking a message as read, which names no one.
        return body["to"]?.text ?? body["recipient"]?.text ?? body["message_id"]?.text
    }

    static func accepted(_ id: String, _ recipient: String, isWhatsApp: Bool, isMessage: Bool) -> Response {
        Answer.json { json in
            if !isWhatsApp {
                json.string("recipient_id", recipient)
                if isMessage { json.string("message_id", id) }
                return
            }
            guard isMessage else { return json.bool("success", true) }
            json.string("messaging_product", "whatsapp")
            json.array("contacts") { json in
                json.element { json in
                    json.object { json in
                        json.string("input", recipient)
                        json.string("wa_id", recipient)
                    }
                }
            }
            json.array("messages") { json in json.element { $0.object { $0.string("id", id) } } }
        }
    }

    static func error(
        _ status: HTTPResponse.Status,
        _ code: Int,
        _ message: String,
        subcode: Int? = nil
    ) -> Response {
        Answer.json(status) { json in
            json.object("error") { json in
                json.string("message", message)
                json.string("type", "OAuthException")
                json.number("code", code)
                if let subcode { json.number("error_subcode", subcode) }
                json.string("fbtrace_id", Hex.encode(Crypto.randomBytes(8)))
            }
        }
    }

    static var unauthorized: Response { error(.unauthorized, 190, "Invalid OAuth access token.") }

    static func failed(_ failure: SandboxFailure) -> Response {
        error(failure.status, failure.code, "(#\(failure.code)) Asked for in the sandbox")
    }
}
