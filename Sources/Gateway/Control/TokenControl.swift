import Log
package import Projections

/// Operator and auditor tokens: the same operations whether asked through the socket or on a closed data directory.
package struct TokenControl: Sendable {
    private static let labelBytesMax = 200
    private let ledger: Ledger

    package init(_ ledger: Ledger) { self.ledger = ledger }

    /// `{"id","role","token"}`; the token is never shown again.
    ///
    /// - Parameter expiresAt: Nil: it does not expire.
    package func create(
        role: TokenRole,
        label: String,
        expiresAt: Timestamp? = nil,
        by actor: ChangeActor = .cli
    ) async throws -> [UInt8] {
        guard label.utf8.count <= TokenControl.labelBytesMax else {
            throw GatewayError(
                .invalidRequest,
                "label must be at most \(TokenControl.labelBytesMax) bytes long",
                field: "label"
            )
        }
        let actor = ledger.name(actor)
        let (token, hash) = Credential.make(role == .operator ? Credential.operatorToken : Credential.auditorToken)
        let committed = try await ledger.commit(edge: false) { _, context in
            if let expiresAt, expiresAt <= context.now {
                throw GatewayError(.invalidRequest, "expires_at must be in the future", field: "expires_at")
            }
            var event = TokenCreated()
            event.role = role
            event.hash = hash
            event.label = label
            event.expiresAt = expiresAt ?? Timestamp(0)
            event.actor = actor
            return ([NewEvent(.tokenCreated(event))], ())
        }
        return JSONWriter.object { json in
            json.string("id", ledger.ids.encode(.token, committed.position))
            json.string("role", role.name)
            json.time("expires_at", expiresAt)
            json.string("token", token)
        }
    }

    /// The moment that a person's words mean now.
    package func end(_ text: String) -> Timestamp? { TokenExpiry.parse(text, now: ledger.now) }

    package func list() async throws -> [UInt8] {
        let rows = try await ledger.read { $0.tokens.rows.values.sorted { $0.position < $1.position } }
        var json = JSONWriter()
        json.array { json in
            for row in rows {
                json.element { json in
                    json.object { json in
                        json.string("id", ledger.ids.encode(.token, row.position))
                        json.string("role", row.role.name)
                        json.string("label", row.label)
                        json.time("created_at", row.created)
                        json.time("expires_at", row.expiresAt)
                        json.time("last_used_at", row.lastUsed)
                    }
                }
            }
        }
        return json.bytes
    }

    package func revoke(_ id: String) async throws -> [UInt8] {
        guard let position = ledger.ids.decode(.token, id) else {
            throw GatewayError(.notFound, "there is no token with this id")
        }
        let actor = ledger.name(.cli)
        _ = try await ledger.commit(edge: false) { state, _ in
            guard state.tokens.rows[position] != nil else { throw Refusal(.notFound, "there is no token with this id") }
            var event = TokenRevoked()
            event.actor = actor
            return ([NewEvent(.tokenRevoked(event), subject: position)], ())
        }
        return JSONWriter.object { $0.string("revoked", id) }
    }

    /// Whether any operator can log in; a first start makes a token when not.
    package func hasOperator() async throws -> Bool {
        let now = ledger.now
        return try await ledger.read { state in
            let now = max(now, state.time)
            return state.tokens.rows.values.contains { $0.role == .operator && $0.isValid(at: now) }
        }
    }
}
