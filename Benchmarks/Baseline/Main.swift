import Hummingbird
import NIOCore

/// The peer of `/v1/send`: the same framework, the same request, decoded and answered, and nothing else.
@main
struct Baseline {
    struct Send: Decodable {
        let to_phone: String
        let text: String
        let metadata: [String: String]?
    }

    struct Accepted: ResponseEncodable {
        let message_id: String
        let conversation_id: String
        let platform: String
        let status: String
        let idempotency_key: String
        let created_at: String
        let position: Int
    }

    static func main() async throws {
        let port = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 18_090
        let router = Router()
        router.post("/v1/send") { request, context -> EditedResponse<Accepted> in
            let send = try await request.decode(as: Send.self, context: context)
            let accepted = Accepted(
                message_id: "msg_fy7m148w102g25wk070tvqdz0m",
                conversation_id: "conv_spjdnpbgw9aqdpkn08674ed7sm",
                platform: "sms",
                status: "queued",
                idempotency_key: "auto-cx4c6h074y0n7rm7b5amnpvzv4",
                created_at: "2026-11-22T20:41:37.372Z",
                position: send.text.utf8.count
            )
            return EditedResponse(status: .accepted, response: accepted)
        }
        let application = Application(
            router: router,
            configuration: .init(address: .hostname("127.0.0.1", port: port))
        )
        try await application.runService()
    }
}
