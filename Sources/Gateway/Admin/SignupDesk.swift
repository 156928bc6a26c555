import Log
import Projections
import Synchronization

/// Carries out Embedded Signups: asks Meta, step after step, at most one signup at a time for a client and for a number.
///
/// A code is good for one token. When a later step fails, the token is kept in memory for ten minutes, so that the same
/// request can be repeated; it is not written down, and a restart forgets it.
package final class SignupDesk: Sendable {
    package typealias Perform = @Sendable (OutgoingRequest) async -> Result<OutgoingResponse, TransferError>

    /// How many may run at once. Each has one call under way, for which the driver needs a place of its own: waiting for
    /// one would not count as part of the time.
    package static let runningMax = 8
    private static let callTime = Duration.seconds(15)
    /// For all calls together.
    private static let totalTime = Duration.seconds(30)
    private static let keptTime = Duration.seconds(600)
    private static let keptMax = 256

    private struct Kept {
        let token: String
        let until: BootTime
    }

    private struct State {
        /// The numbers that are being connected, by client.
        var running: [LogPosition: LookupHash] = [:]
        /// Tokens by the hash of the request that they were bought for.
        var kept: [[UInt8]: Kept] = [:]
    }

    /// What a signup gave.
    struct Grant: Sendable {
        let token: String
        /// What the number is registered with; empty where it was registered before.
        let pin: String
    }

    private let appID: String
    private let live: LiveSettings
    private let baseURL: String
    private let perform: Perform
    private let state = Mutex(State())

    package init(_ live: LiveSettings, perform: @escaping Perform) {
        self.live = live
        appID = live[\.metaAppID]
        baseURL = live[\.graphBaseURL]
        self.perform = perform
    }

    // MARK: Before Meta is asked

    /// - Throws: `configuration_invalid` when the settings name no app.
    func requireApp() throws(GatewayError) -> MetaApp {
        let appSecret = live[\.metaAppSecrets].first ?? ""
        var missing: [String] = []
        if appID.isEmpty { missing.append("meta.app_id") }
        if appSecret.isEmpty { missing.append("meta.app_secrets") }
        guard missing.isEmpty else {
            let names = missing.joined(separator: " and ")
            throw GatewayError(
                .configuration,
                "Embedded Signup needs the setting \(names): id and secret of the app at Meta; or give access_token"
            )
        }
        return MetaApp(id: appID, secret: appSecret)
    }

    /// Takes a place, which must be given back with `end`.
    func begin(_ client: LogPosition, _ number: LookupHash) throws(GatewayError) {
        let refusal: GatewayError? = state.withLock { state in
            if state.running[client] != nil || state.running.values.contains(number) {
                return GatewayError(
                    .signupInProgress,
                    "a signup of this client or this number is under way; its code is not touched by this request"
                )
            }
            guard state.running.count < SignupDesk.runningMax else {
                return GatewayError(.unavailable, "many signups are under way; the code was not used, repeat at once")
            }
            state.running[client] = number
            return nil
        }
        if let refusal { throw refusal }
    }

    /// A token that was kept is forgotten when its time is over, also if nobody asks for another.
    func end(_ client: LogPosition) {
        state.withLock { state in state.running[client] = nil }
        Task.detached { [weak self] in
            try? await Task.sleep(for: SignupDesk.keptTime)
            self?.sweep()
        }
    }

    private func sweep() {
        let now = BootTime.now
        state.withLock { state in state.kept = state.kept.filter { $0.value.until > now } }
    }

    // MARK: Asking Meta

    /// - Parameter pin: what to register the number with.
    func carryOut(_ signup: EmbeddedSignup, for client: LogPosition, pin: String) async throws -> Grant {
        let app = try requireApp()
        let deadline = BootTime.now.advanced(by: SignupDesk.totalTime)
        let bought = try await buyToken(signup, client, app, deadline)
        let subscribed = await ask(deadline) { signup.subscribe(bought, baseURL: baseURL, timeout: $0) }
        try EmbeddedSignup.check(.subscribe, subscribed)
        if !signup.registers { return Grant(token: bought, pin: "") }
        let registered = await ask(deadline) { signup.register(bought, pin: pin, baseURL: baseURL, timeout: $0) }
        do throws(SignupFailure) {
            try EmbeddedSignup.check(.register, registered)
            return Grant(token: bought, pin: pin)
        } catch {
            guard error.kind == .refused || error.kind == .later else { throw error }
            // A number that works already need not be registered, whoever knows its PIN.
            let number = await ask(deadline) { signup.number(bought, baseURL: baseURL, timeout: $0) }
            guard EmbeddedSignup.isConnected(number) else { throw error }
            return Grant(token: bought, pin: "")
        }
    }

    private func buyToken(
        _ signup: EmbeddedSignup,
        _ client: LogPosition,
        _ app: MetaApp,
        _ deadline: BootTime
    ) async throws -> String {
        let key = SignupDesk.key(signup, client)
        if let token = keptToken(key) { return token }
        let answer = await ask(deadline) { signup.exchange(app, baseURL: baseURL, timeout: $0) }
        let token = try EmbeddedSignup.token(answer)
        keep(token, key)
        return token
    }

    private func ask(
        _ deadline: BootTime,
        _ request: (Duration) -> OutgoingRequest
    ) async -> Result<OutgoingResponse, TransferError> {
        let rest = deadline.since(BootTime.now)
        guard rest > .zero else {
            return .failure(TransferError(.timedOut, requestBytesSent: false, detail: "the time was up"))
        }
        return await perform(request(min(rest, SignupDesk.callTime)))
    }

    // MARK: Tokens that were bought and not yet stored

    /// The token is stored: nothing needs to be repeated.
    func forget(_ signup: EmbeddedSignup, of client: LogPosition) {
        let key = SignupDesk.key(signup, client)
        state.withLock { state in state.kept[key] = nil }
    }

    /// The code alone bought it; ids and PIN may be what has to change.
    private static func key(_ signup: EmbeddedSignup, _ client: LogPosition) -> [UInt8] {
        Crypto.sha256([UInt8]("\(client)\n\(signup.code)".utf8))
    }

    private func keptToken(_ key: [UInt8]) -> String? {
        let now = BootTime.now
        return state.withLock { state in
            guard let kept = state.kept[key], kept.until > now else { return nil }
            return kept.token
        }
    }

    private func keep(_ token: String, _ key: [UInt8]) {
        let now = BootTime.now
        state.withLock { state in
            if state.kept.count >= SignupDesk.keptMax,
                let oldest = state.kept.min(by: { $0.value.until < $1.value.until })?.key
            {
                state.kept[oldest] = nil
            }
            state.kept[key] = Kept(token: token, until: now.advanced(by: SignupDesk.keptTime))
        }
    }
}
