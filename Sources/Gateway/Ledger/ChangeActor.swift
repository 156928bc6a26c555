package import Log
package import Projections

/// Who makes a change, for the history: a kind and an id, nothing personal.
package enum ChangeActor: Sendable, Equatable {
    /// Nobody has come in.
    case nobody
    /// A command of `waybill`, on the data directory or through its socket.
    case cli
    /// The gateway itself, which makes a token when it has none.
    case firstStart
    case sandbox
    case token(TokenRole, LogPosition)
    case apiKey(LogPosition)

    package func name(_ ids: OpaqueID) -> String {
        switch self {
        case .nobody: ""
        case .cli: "cli"
        case .firstStart: "first_start"
        case .sandbox: "sandbox"
        case .token(let role, let position): "\(role.name):\(ids.encode(.token, position))"
        case .apiKey(let position): "client:\(ids.encode(.apiKey, position))"
        }
    }
}

extension ChangeActor {
    /// For what makes credentials, at the moment of the decision: what let the caller in may have ended since.
    func requireRights(over client: LogPosition, _ state: borrowing LogState, _ now: Timestamp) throws(GatewayError) {
        let isValid =
            switch self {
            case .nobody: false
            case .cli, .firstStart, .sandbox: true
            case .token(_, let position): state.tokens.rows[position]?.isValid(at: now) ?? false
            case .apiKey(let position):
                state.clients[client]?.apiKeys.contains { $0.position == position && now < $0.expiresAt } ?? false
            }
        guard isValid else { throw GatewayError(.unauthorized, "the key or token of this request has ended") }
    }
}

extension Ledger {
    func name(_ actor: ChangeActor) -> String { actor.name(ids) }

    /// Puts on record that a token was used; nobody waits until that is on disk. What cannot be recorded now is with the next use.
    func noteUse(of token: LogPosition) {
        _ = try? append { state, context -> ([NewEvent], Void) in
            let isNews = state.tokens.rows[token]?.isUseNews(at: context.now) ?? false
            return (isNews ? [NewEvent(.tokenUsed(TokenUsed()), subject: token)] : [], ())
        }
    }
}
