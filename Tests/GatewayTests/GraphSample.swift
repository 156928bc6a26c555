import Gateway
import Projections
import Testing

/// Messages as tests of the Graph API send them, and the bodies that they become.
enum GraphSample {
    static let baseURL = "https://graph.example"

    static var credentials: MetaCredentials {
        var credentials = MetaCredentials()
        credentials.accountID = "1001"
        credentials.businessAccountID = "2002"
        credentials.accessToken = "EAAtoken"
        return credentials
    }

    static func message(_ content: OutgoingMessage.Content, to recipient: String = "9001") -> OutgoingMessage {
        OutgoingMessage(recipient: recipient, content: content, ourID: "msg_1")
    }

    static func media(_ type: String, caption: String = "", filename: String = "") -> OutgoingMessage {
        var media = OutgoingMessage.Media(url: "https://files.example/a?b=1", type: type)
        media.caption = caption
        media.filename = filename
        return message(.media(media))
    }

    static func template(_ components: String, to recipient: String = "9001") -> OutgoingMessage {
        let bytes = [UInt8](components.utf8)
        let template = OutgoingMessage.Template(name: "hello", language: "en_US", components: bytes)
        return message(.template(template), to: recipient)
    }

    static func hasCall(_ platform: Platform, _ message: OutgoingMessage) -> Bool {
        GraphRequest.request(platform, credentials, message, baseURL: baseURL) != nil
    }

    static func body(_ platform: Platform, _ message: OutgoingMessage) throws -> ProviderJSON {
        let call = try #require(GraphRequest.request(platform, credentials, message, baseURL: baseURL))
        return try #require(ProviderJSON(call.body))
    }

    /// Checks that the body of a message's call says this, and nothing else.
    static func expect(_ platform: Platform, _ message: OutgoingMessage, sends json: String) throws {
        let wanted = try #require(ProviderJSON([UInt8](json.utf8)))
        let sent = try body(platform, message)
        #expect(Tree(sent) == Tree(wanted))
    }

    /// JSON without the order of its members, to compare with.
    enum Tree: Equatable {
        case object([String: Tree])
        case array([Tree])
        case value([UInt8])

        init(_ json: ProviderJSON) {
            if json.isObject {
                var members: [String: Tree] = [:]
                for name in json.names { members[name] = json[name].map { Tree($0) } ?? Tree.value([]) }
                self = .object(members)
            } else if json.isArray {
                self = .array(json.elements.map { Tree($0) })
            } else {
                self = .value(json.raw)
            }
        }
    }

    /// A message and the body of its call.
    struct Row: Sendable, CustomTestStringConvertible {
        let message: OutgoingMessage
        let json: String

        init(_ message: OutgoingMessage, _ json: String) {
            self.message = message
            self.json = json
        }

        var testDescription: String { json }
    }
}
