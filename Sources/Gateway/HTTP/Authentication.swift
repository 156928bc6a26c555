import HTTPTypes
import Hummingbird
import Log
import Projections

/// Kinds of bearer tokens, told apart by their prefix.
enum Credential {
    static let live = "wb_live_"
    static let test = "wb_test_"
    static let operatorToken = "wb_op_"
    static let auditorToken = "wb_aud_"

    /// 256 random bits after the prefix; only the SHA-256 is kept.
    static func make(_ prefix: String) -> (text: String, hash: Digest) {
        let text = prefix + Base32.encode(Crypto.randomBytes(32))
        return (text, hash(text))
    }

    /// Looking up the hash of what was presented takes the same time whatever it shares with a real token.
    static func hash(_ text: String) -> Digest { Digest(Crypto.sha256([UInt8](text.utf8))) ?? .zero }

    static func bearer(_ request: Request) -> String? {
        guard let header = request.headers[.authorization] else { return nil }
        let scheme = "bearer "
        let bytes = header.utf8
        guard bytes.count > scheme.utf8.count,
            zip(bytes, scheme.utf8).allSatisfy({ $0 == $1 || ($0 | 0x20 == $1 && $1 != 0x20) })
        else { return nil }
        return String(header.dropFirst(scheme.utf8.count)).trimmingSpaces
    }
}

extension String {
    var trimmingSpaces: String {
        var slice = self[...]
        while slice.first == " " { slice = slice.dropFirst() }
        while slice.last == " " { slice = slice.dropLast() }
        return String(slice)
    }
}

/// Lets a client's API key through and looks up whose it is.
struct ClientAuthentication: RouterMiddleware {
    let ledger: Ledger

    func handle(
        _ request: Request,
        context: GatewayContext,
        next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        guard let token = Credential.bearer(request) else {
            throw GatewayError(.unauthorized, "send the API key as Authorization: Bearer …")
        }
        let hash = Credential.hash(token)
        var request = request
        var (client, key) = try admit(hash)
        context.memory?.belongs(to: client.id)
        if try await request.takeBody() { (client, key) = try admit(hash) }
        var context = context
        context.client = client
        context.actor = .apiKey(key)
        context.stillAdmitted = {
            try admit(hash).client.apiKeys.first { $0.hash == hash }?.expiresAt ?? Timestamp(.max)
        }
        return try await next(request, context)
    }

    private func admit(_ hash: Digest) throws -> (client: ClientRow, key: LogPosition) {
        let (found, other) = ledger.recognize { [now = ledger.now] access in
            let now = max(now, access.time)
            return (access.clients.client(forKey: hash, at: now), access.tokens.token(forHash: hash, at: now))
        }
        if other != nil { throw GatewayError(.forbidden, "this path takes a client's API key") }
        guard let client = found, let key = client.apiKeys.first(where: { $0.hash == hash }) else {
            throw GatewayError(.unauthorized, "the API key is not valid")
        }
        return (client, key.position)
    }
}

extension Request {
    /// The most that a body of the API has.
    fileprivate static let bodyBytesMax = 256 << 10

    /// Waits for the body, where there may be one. Who sends it takes as long as he likes: what let him in is asked for once
    /// more after that, for a stolen key that has ended meanwhile could still make itself a new one.
    ///
    /// - Returns: whether it may have waited.
    fileprivate mutating func takeBody() async throws -> Bool {
        guard method != .get, method != .head else { return false }
        body = RequestBody(buffer: try await buffer(limit: Request.bodyBytesMax))
        return true
    }
}

/// Lets tokens of the operator's people through.
struct TokenAuthentication: RouterMiddleware {
    let ledger: Ledger
    let roles: Set<TokenRole>

    func handle(
        _ request: Request,
        context: GatewayContext,
        next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        guard let text = Credential.bearer(request) else {
            throw GatewayError(.unauthorized, "send the operator token as Authorization: Bearer …")
        }
        let hash = Credential.hash(text)
        var request = request
        var token = try admit(hash)
        if try await request.takeBody() { token = try admit(hash) }
        var context = context
        context.actor = .token(token.role, token.position)
        return try await next(request, context)
    }

    private func admit(_ hash: Digest) throws -> TokenRegistry.Row {
        let (found, client, now) = ledger.recognize { [now = ledger.now] access in
            let now = max(now, access.time)
            return (access.tokens.token(forHash: hash, at: now), access.clients.client(forKey: hash, at: now)?.id, now)
        }
        if client != nil { throw GatewayError(.forbidden, "this path takes an operator token") }
        guard let token = found else { throw GatewayError(.unauthorized, "the operator token is not valid") }
        if token.isUseNews(at: now) { ledger.noteUse(of: token.position) }
        guard roles.contains(token.role) else { throw GatewayError(.forbidden, "an auditor's token cannot do this") }
        return token
    }
}
