import Gateway
import Synchronization

/// Meta as Embedded Signup meets it: each call gets what stands next in the script of its edge, and then success.
final class ScriptedGraph: Sendable {
    typealias Answer = Result<OutgoingResponse, TransferError>

    static let exchange = "access_token"
    static let subscribe = "subscribed_apps"
    static let register = "register"
    static let secret = "app-secret-0815"

    private struct State {
        var asked: [OutgoingRequest] = []
        var scripts: [String: [Answer]] = [:]
    }

    private let state = Mutex(State())

    /// All calls so far.
    var asked: [OutgoingRequest] { state.withLock { $0.asked } }

    /// The last component of each call's path.
    var edges: [String] { asked.map(ScriptedGraph.edge) }

    func script(_ edge: String, _ answers: Answer...) {
        state.withLock { state in state.scripts[edge] = answers }
    }

    func desk(appID: String = "236484624622562", secrets: [String] = [ScriptedGraph.secret, "other"]) -> SignupDesk {
        var settings = GatewayConfiguration()
        settings.graphBaseURL = "https://graph.example"
        settings.metaAppID = appID
        settings.metaAppSecrets = secrets
        return SignupDesk(LiveSettings(settings)) { request in self.answer(request) }
    }

    static func answer(_ status: Int, _ body: String) -> Answer {
        let response = OutgoingResponse(
            status: status,
            headers: [],
            body: [UInt8](body.utf8),
            bodyTruncated: false,
            duration: .zero
        )
        return .success(response)
    }

    static func error(_ code: Int) -> Answer {
        answer(400, #"{"error":{"message":"refused","type":"OAuthException","code":\#(code)}}"#)
    }

    private static func edge(_ request: OutgoingRequest) -> String {
        let path = request.url.prefix { $0 != "?" }
        return path.split(separator: "/").last.map { String($0) } ?? ""
    }

    private func answer(_ request: OutgoingRequest) -> Answer {
        state.withLock { state in
            state.asked.append(request)
            let edge = ScriptedGraph.edge(request)
            var rest = state.scripts[edge] ?? []
            if rest.isEmpty { return ScriptedGraph.success(edge) }
            let next = rest.removeFirst()
            state.scripts[edge] = rest
            return next
        }
    }

    private static func success(_ edge: String) -> Answer {
        switch edge {
        case exchange: answer(200, #"{"access_token":"EAAfresh","token_type":"bearer"}"#)
        case subscribe, register: answer(200, #"{"success":true}"#)
        default: answer(200, #"{"status":"PENDING","platform_type":"NOT_APPLICABLE","id":"\#(edge)"}"#)
        }
    }
}
