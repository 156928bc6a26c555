import Gateway
import HTTPTypes
import Log
import Projections
import Testing

/// Nobody can find out whether an id exists that is not his: on every route that takes one, it answers as one that never was.
@Suite struct ForeignIDTests {
    private struct Answer: Equatable {
        let status: Int
        let code: String?
        let detail: String?

        init(_ reply: Reply) {
            status = reply.status
            code = reply.code
            detail = try? reply.fields().string("detail")
        }
    }

    /// Ids of a client that is not asking, and that was deleted for the operator's part.
    private struct Ids {
        var named: [String: String] = [:]
        /// Of what there is nothing.
        var unknown: [String] = []
        var deletedClient = ""
        var client = ""
    }

    @Test func anIdOfAnotherClientAnswersAsAnInvalidOne() async throws {
        try await GatewayProbe.with { probe in
            let ids = try await ForeignIDTests.make(probe)
            let other = try await probe.smsAccount()
            let routes = probe.routes.filter { $0.path.contains("/:") }
            #expect(routes.count > 25, "the walk has something to walk")
            for route in routes {
                let token = route.path.hasPrefix("/v1/") ? other.key : probe.operatorToken
                let expected = try await ForeignIDTests.ask(probe, route, "x", token)
                #expect((400..<500).contains(expected.status), "\(route.method) \(route.path)")
                for id in ForeignIDTests.candidates(route.path, ids) {
                    let got = try await ForeignIDTests.ask(probe, route, id, token)
                    #expect(got == expected, "\(route.method) \(route.path) with \(id)")
                }
            }
        }
    }

    private static func ask(
        _ probe: GatewayProbe,
        _ route: Route,
        _ id: String,
        _ token: String
    ) async throws -> Answer {
        let path = route.path.split(separator: "/")
            .map { $0 == ":platform" ? "sms" : $0.hasPrefix(":") ? id[...] : $0 }
            .reduce("") { $0 + "/" + $1 }
        let body = [.get, .head, .delete].contains(route.method) ? nil : "{}"
        return Answer(try await probe.ask(route.method, path, token: token, headers: [], body: body))
    }

    private static func candidates(_ path: String, _ ids: Ids) -> [String] {
        if path.hasPrefix("/v1/") { return ids.unknown + ids.named.values }
        // A provider's path says nothing about who is a client.
        if path.hasPrefix("/channels/") { return ids.unknown + ids.named.values + [ids.deletedClient, ids.client] }
        // The operator may know all that there is.
        return ids.unknown + [ids.deletedClient] + ids.named.filter { $0.key != "message" }.values
    }

    private static func make(_ probe: GatewayProbe) async throws -> Ids {
        let owner = try await probe.smsAccount()
        let hook = #"{"url":"https://hooks.example.com/in","enabled":true}"#
        #expect(try await probe.ask(.put, "/v1/webhook", token: owner.key, body: hook).status == 200)
        #expect(try await probe.twilio(owner, GatewayProbe.message("SM1")).status == 200)
        var ids = Ids()
        ids.client = owner.id
        let conversations = try await probe.ask(.get, "/v1/conversations", token: owner.key).data()
        let conversation = try #require(conversations.first?["id"] as? String)
        let path = "/v1/conversations/\(conversation)/messages"
        let messages = try await probe.ask(.get, path, token: owner.key).data()
        let message = try #require(messages.first?["id"] as? String)
        let deliveries = try await probe.ask(.get, "/v1/deliveries", token: owner.key).data()
        let delivery = try #require(deliveries.first?["id"] as? String)
        let codec = probe.ledger.ids
        let position = try #require(codec.decode(.message, message))
        ids.named = [
            "conversation": conversation, "message": message, "delivery": delivery,
            "media": codec.encode(.media, position),
        ]
        let nowhere = LogPosition(1 << 40)
        ids.unknown = OpaqueID.Kind.allCases.map { codec.encode($0, nowhere) }
        ids.unknown += ["msg_", "conv_0", message + "0"]
        let deleted = try await probe.account()
        ids.deletedClient = deleted.id
        let place = "/admin/v1/clients/\(deleted.id)"
        let gone = try await probe.ask(.delete, place, token: probe.operatorToken, headers: [])
        #expect((200..<300).contains(gone.status))
        return ids
    }
}
